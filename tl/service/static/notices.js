// Show messages; errors stay until they are dismissed.
import { byId, button, make, sign } from "./elements.js";
import { say } from "./texts.js";

const MOST = 3;

export function tell(sentence) {
  note(sentence, "message");
}

export function complain(problem) {
  if (problem?.name === "AbortError") return;
  note(problem?.sentence ?? String(problem?.message ?? problem), "complaint");
}

function note(sentence, kind) {
  const place = byId("notices");
  for (const before of place.querySelectorAll(`.message${kind === "complaint" ? "" : ", .complaint"}`)) before.remove();
  for (const before of place.children) if (before.dataset.sentence === sentence) before.remove();
  while (place.children.length >= MOST) place.firstChild.remove();
  const made = make(
    "div", { class: `notice ${kind}`, "data-sentence": sentence, role: kind === "complaint" ? "alert" : null },
    sign(kind === "complaint" ? "error" : "right"), make("p", {}, sentence),
    button("×", () => made.remove(), { class: "away", "aria-label": say("away") }),
  );
  place.append(made);
  if (kind === "message") setTimeout(() => made.remove(), 8000);
}
