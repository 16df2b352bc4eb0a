// List the runs, and choose the one that answers.
import { byId, button, foreign, make, sign } from "./elements.js";
import { complain, tell } from "./notices.js";
import { openReport } from "./reports.js";
import { get, post } from "./service.js";
import { may, meNow } from "./session.js";
import { confidence, moment, percent, say, spoken } from "./texts.js";

let state = { known: false, default: null, follows: false, runs: [] };
const listeners = new Set();

export const runsNow = () => state;
export const runsChanged = (listener) => listeners.add(listener);

export function startRuns() {
  spoken(show);
}

export async function loadRuns() {
  state = { known: true, ...(await get("/v1/runs")) };
  show();
  for (const listener of listeners) listener(state);
}

export async function activate(name) {
  try {
    await post(`/v1/runs/${encodeURIComponent(name)}/activate`, {});
    await loadRuns();
    tell(say("runs.activated", { run: state.default ?? name }));
  } catch (problem) {
    complain(problem);
  }
}

function show() {
  const now = byId("runs-now");
  now.replaceChildren(...(state.default
    ? [say(state.follows ? "runs.newest" : "runs.fixed"), " ", make("strong", {}, foreign(state.default))]
    : [say("runs.none")]));
  if (state.default && !state.follows && may("admin")) now.append(" ", button(say("runs.follow"), () => activate("latest")));
  byId("runs-may").hidden = meNow() === null || may("admin");
  byId("runs-may").textContent = say("runs.mayNot");
  byId("runs").replaceChildren(...state.runs.map(run));
}

function run(one) {
  const { name, created, backbone, images, classes, top1, top1_interval: interval, part, folds, note } = one;
  const judged = part === "test" ? "test" : folds ? "folds" : "validation";
  const figure = top1 === null ? "–" : percent(top1);
  const within = interval ? confidence(interval) : "";
  const facts = [backbone, images === null ? "" : say("data.photos", { count: images }), classes === null ? "" : say("data.classes", { count: classes }), created ? moment(created) : ""];
  const usable = one.state === "complete" || one.served;
  return make("li", { class: `card run${one.default ? " answers" : ""}` },
    make("div", { class: "words" },
      make("h2", {}, foreign(name)),
      one.default ? make("p", { class: "badge" }, sign("right"), say("runs.answers")) : null,
      make("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
      note ? make("p", { class: "quiet", lang: "en" }, note) : null),
    make("p", { class: "top1" }, make("strong", {}, figure), make("small", {}, top1 === null ? "" : `${say(`runs.${judged}`)} ${within}`)),
    make("p", { class: "choices" },
      usable && may("admin") && !one.default ? button(say("runs.activate"), () => activate(name), { "aria-label": `${say("runs.activate")}: ${name}` }) : null,
      usable ? button(say("report.open"), () => openReport(`/v1/runs/${encodeURIComponent(name)}/report/link`), { "aria-label": `${say("report.open")}: ${name}` }) : null));
}
