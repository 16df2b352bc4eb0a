// The key that was entered and what it may do; it is kept until the tab is closed.
import { byId } from "./elements.js";
import { get } from "./service.js";
import { say, spoken } from "./texts.js";

const KEPT = "tl-key";
const ROLES = ["predict", "train", "admin"];
const listeners = new Set();
let key = kept();
let me = null;
let opened = null;

export const keyNow = () => key;
export const meNow = () => me;
export const may = (role) => me !== null && ROLES.indexOf(me.role) >= ROLES.indexOf(role);
export const visited = (listener) => listeners.add(listener);

// Whether there is another key than `refused` now. All callers wait for the same dialog.
export function askForKey(refused) {
  if (key !== refused) return Promise.resolve(true);
  opened ??= dialog(refused ? say("key.wrong") : "").finally(() => { opened = null; });
  return opened;
}

export async function meet() {
  me = await get("/v1/me");
  showKey();
  for (const listener of listeners) listener(me);
}

function dialog(why) {
  const box = byId("key-dialog");
  const field = byId("key-field");
  byId("key-why").textContent = why;
  field.value = "";
  box.returnValue = "";
  box.showModal();
  return new Promise((done) => {
    box.addEventListener("close", () => {
      if (box.returnValue === "use") keep(field.value.trim());
      field.value = "";
      done(box.returnValue === "use");
    }, { once: true });
  });
}

function keep(value) {
  const other = value !== key;
  key = value;
  try {
    if (value) sessionStorage.setItem(KEPT, value);
    else sessionStorage.removeItem(KEPT);
  } catch { /* then it is kept until the page is left */ }
  if (other && me) meet().catch(() => {});
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

function showKey() {
  const field = byId("key");
  field.hidden = !me?.keys;
  if (me?.keys) {
    field.textContent = say("key.held", { name: me.name });
    field.title = say("key.forget");
    field.setAttribute("aria-label", `${say("key.held", { name: me.name })}: ${say("key.forget")}`);
  }
}

export function startSession() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (byId("key-field").value.trim()) byId("key-dialog").close("use");
  });
  byId("key-leave").addEventListener("click", () => byId("key-dialog").close(""));
  byId("key").addEventListener("click", () => {
    keep("");
    location.reload();
  });
  spoken(showKey);
}
