// Ask a yes-or-no question.
import { byId } from "./elements.js";

export function sure(question, yes) {
  const box = byId("sure");
  byId("sure-title").textContent = question;
  byId("sure-yes").textContent = yes;
  box.returnValue = "";
  byId("sure-yes").onclick = () => box.close("yes");
  byId("sure-no").onclick = () => box.close("");
  box.showModal();
  byId("sure-no").focus();
  return new Promise((done) => {
    box.addEventListener("close", () => done(box.returnValue === "yes"), { once: true });
  });
}
