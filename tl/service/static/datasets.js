// Choose a data set, and show its contents and its check.
import { byId, button, foreign, make, sign, width } from "./elements.js";
import { complain, tell } from "./notices.js";
import { openReport } from "./reports.js";
import { ask, get, post } from "./service.js";
import { sure } from "./confirm.js";
import { bytes, count, known, moment, say, spoken } from "./texts.js";

const CLASSES = 12;
const FINDINGS = 20;
const FILES = 4;
const POLL = 1500;
let sets = [];
let chosen = null;
let check = null;
let fixing = null; // the data set of which a cleaned copy is being made
let wholeList = false;
let timer = 0;
let onChoice = () => {};

export const chosenDataset = () => chosen;
export const datasetNames = () => sets;

export function startDatasets(listener) {
  onChoice = listener;
  byId("dataset").addEventListener("change", (event) => choose(event.target.value));
  spoken(show);
}

export async function loadDatasets(wanted = chosen?.id) {
  sets = (await get("/v1/datasets")).datasets;
  const found = sets.find(({ id }) => id === wanted) ?? sets[0] ?? null;
  if (found?.id !== chosen?.id) check = null;
  chosen = found;
  show();
  onChoice(chosen);
  follow();
}

function choose(id) {
  chosen = sets.find((one) => one.id === id) ?? null;
  check = null;
  wholeList = false;
  show();
  onChoice(chosen);
  follow();
}

async function follow() {
  clearTimeout(timer);
  const id = chosen?.id;
  if (!id || chosen.check.state === "none") return;
  try {
    const found = await get(`/v1/datasets/${id}/check?most=200`);
    if (id !== chosen?.id) return;
    check = found;
    show();
    if (["queued", "running"].includes(found.state)) timer = setTimeout(follow, POLL);
  } catch (problem) {
    if (id === chosen?.id) complain(problem);
  }
}

function show() {
  byId("picked").hidden = !sets.length;
  byId("drop-archive").classList.toggle("small", sets.length > 0);
  byId("dataset").replaceChildren(...sets.map(({ id, name, images, created }) =>
    make("option", { value: id, selected: id === chosen?.id }, `${name} · ${say("data.photos", { count: images })} · ${moment(created)}`)));
  byId("dataset-about").replaceChildren(...(chosen ? [about(), findings()] : []));
}

function about() {
  const { name, images, bytes: size, classes, parts, left_out: leftOut, notes } = chosen;
  const left = Object.entries(leftOut).map(([reason, number]) => `${count(number)} × ${reason}`).join("; ");
  const divided = Object.entries(parts).map(([part, number]) => `${part || say("data.rest")} ${count(number)}`).join(" · ");
  return make("div", { class: "card" },
    make("div", { class: "bar" }, make("h3", {}, foreign(name)),
      button(say("data.remove"), () => remove().catch(complain))),
    make("p", {}, `${say("data.photos", { count: images })} · ${say("data.classes", { count: classes.length })} · ${bytes(size)}`),
    divided ? make("p", { class: "quiet" }, divided) : null,
    left ? make("p", { class: "quiet" }, `${say("data.leftOut")} `, make("span", { lang: "en" }, left)) : null,
    notes.map((note) => make("p", { class: "quiet", lang: "en" }, note)),
    bars(classes));
}

function bars(classes) {
  const most = Math.max(...classes.map(({ images }) => images), 1);
  const seen = wholeList ? classes : classes.slice(0, CLASSES);
  const more = classes.length - seen.length;
  return make("div", {},
    make("ul", { class: "shares plainly" }, seen.map(({ name, images }) => make("li", {},
      make("span", { class: "name" }, foreign(name)), make("span", { class: "figure" }, count(images)),
      make("span", { class: "rail" }, width(make("span", { class: "value" }), images / most))))),
    more > 0 ? button(say("data.allClasses", { count: classes.length }), () => { wholeList = true; show(); }) : null);
}

function findings() {
  const state = check?.state ?? chosen.check.state;
  const title = make("h3", {}, say("check.title"));
  if (state === "queued" || state === "running") return make("div", { class: "card" }, title, underWay(state));
  if (state === "failed") return make("div", { class: "card" }, title, make("p", { class: "verdict error" }, sign("error"), make("span", { lang: "en" }, check?.error ?? chosen.check.error)), again());
  if (state !== "succeeded" || !check) return make("div", { class: "card" }, title, chosen.findings.map(finding), again());
  const seen = check.findings.slice(0, FINDINGS);
  const text = seen.length ? summary(check.counts) : say("check.nothing");
  return make("div", { class: "card" }, title,
    make("p", { class: "verdict" }, sign(!seen.length ? "right" : check.counts.error ? "wrong" : check.counts.warning ? "error" : "open"), text),
    seen.length ? make("ul", { class: "findings" }, seen.map(finding)) : null,
    check.findings.length > seen.length ? make("p", { class: "quiet" }, say("check.more", { count: check.findings.length - seen.length })) : null,
    seen.length ? make("p", { class: "quiet" }, say("fix.about")) : null,
    make("p", { class: "choices" },
      seen.length ? button(say(fixing ? "fix.running" : "fix.start"), () => fix().catch(complain), { class: "main", disabled: fixing !== null }) : null,
      button(say("check.page"), () => openReport(`/v1/datasets/${chosen.id}/check/link`)), again()));
}

function underWay(state) {
  const { task = "", done = 0, total = 0 } = check?.progress ?? {};
  const text = state === "queued" ? say("check.queued") : say("check.running", { task: taskName(task), done, total: total ?? 0 });
  return make("div", {}, make("progress", { max: 1, value: total ? done / total : null, "aria-label": say("check.title") }), make("p", { class: "quiet" }, text));
}

const taskName = (task) => (known(`task.${task}`) ? say(`task.${task}`) : task);
const again = () => button(say("check.again"), () => checkAgain().catch(complain));

const summary = (counts) => ["error", "warning", "note"].filter((name) => counts[name])
  .map((name) => say(`check.${name}`, { count: counts[name] })).join(" · ");

function finding({ severity, kind, evidence, mend, files }) {
  const name = { error: "wrong", warning: "error", note: "open" }[severity] ?? "open";
  return make("li", { class: `finding ${severity}` }, sign(name, severity),
    make("div", { lang: "en" },
      make("p", {}, make("strong", {}, kind), make("span", { class: "quiet" }, ` · ${severity}`)),
      make("p", {}, evidence), mend ? make("p", { class: "quiet" }, `→ ${mend}`) : null,
      files.length ? make("p", { class: "path" }, files.slice(0, FILES).join(", "), files.length > FILES ? ` + ${count(files.length - FILES)}` : "") : null));
}

// Makes a cleaned copy, and chooses it unless the reader went on to another data set meanwhile.
async function fix() {
  const { id, name } = chosen;
  const path = `/v1/datasets/${id}/fix`;
  fixing = id;
  show();
  try {
    let made = await post(`${path}?name=${encodeURIComponent(say("fix.name", { name }))}`, {});
    while (["queued", "running"].includes(made.state)) {
      await new Promise((done) => setTimeout(done, POLL));
      made = await get(path);
    }
    if (made.state !== "succeeded") throw new Error(made.error || say("fix.failed"));
    await loadDatasets(chosen?.id === id ? made.dataset : chosen?.id);
    tell(say("fix.done", { name }));
  } finally {
    fixing = null;
    show();
  }
}

async function checkAgain() {
  check = await post(`/v1/datasets/${chosen.id}/check`, {});
  chosen.check = check;
  show();
  follow();
}

async function remove() {
  if (!(await sure(say("data.sure", { name: chosen.name }), say("data.remove")))) return;
  await ask(`/v1/datasets/${chosen.id}`, { method: "DELETE" });
  await loadDatasets("");
}
