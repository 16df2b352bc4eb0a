// Show jobs as cards: progress, learning curve, log and result.
import { chart } from "./curve.js";
import { byId, button, foreign, make, sign } from "./elements.js";
import { complain } from "./notices.js";
import { openReport } from "./reports.js";
import { activate, runsChanged, runsNow } from "./runs.js";
import { ask, get, post } from "./service.js";
import { may } from "./session.js";
import { events } from "./stream.js";
import { sure } from "./confirm.js";
import { confidence, duration, known, moment, percent, say, spoken } from "./texts.js";

const ENDED = ["succeeded", "failed", "cancelled"];
const SIGNS = { queued: "waiting", running: "waiting", succeeded: "right", failed: "wrong", cancelled: "open" };
const cards = new Map();
let ended = () => {};

export function startJobs(listener) {
  ended = listener;
  spoken(() => cards.forEach(show));
  runsChanged(() => cards.forEach(show));
}

export async function loadJobs() {
  const { jobs } = await get("/v1/jobs?most=20");
  for (const job of jobs.toReversed()) take(job);
  byId("jobs-part").hidden = !cards.size;
  const active = jobs.filter(({ state }) => !ENDED.includes(state));
  for (const { id } of active.length ? active : jobs.slice(0, 1)) cards.get(id).element.open = true;
}

export function addJob(job) {
  take(job);
  byId("jobs-part").hidden = false;
  const { element } = cards.get(job.id);
  element.open = true;
  element.querySelector("summary").focus();
  element.scrollIntoView({ block: "nearest" });
}

function take(job) {
  let card = cards.get(job.id);
  if (!card) {
    card = { job, steps: [], epochs: [], account: [], log: null, watching: null, progress: job.progress };
    card.element = make("details", { class: "card job" }, make("summary", {}), make("div", { class: "inside" }));
    card.element.addEventListener("toggle", () => { if (card.element.open) watch(card).catch(complain); });
    cards.set(job.id, card);
    byId("jobs").prepend(card.element);
  }
  card.job = job;
  show(card);
}

async function watch(card) {
  if (card.watching) return;
  card.watching = new AbortController();
  try {
    for await (const { name, data } of events(`/v1/jobs/${card.job.id}/events`, card.watching.signal)) learn(card, name, data);
  } catch (problem) {
    card.watching = null;
    throw problem;
  }
}

function learn(card, name, data) {
  if (name === "state" || name === "end") card.job = data;
  if (name === "progress") card.progress = data;
  if (name === "say") card.account.push([data.topic, data.text]);
  if (name === "warn") card.account.push(["!", data.text]);
  if (name === "attempt") again(card, data);
  if (name === "figures") point("epoch" in data ? card.epochs : card.steps, data);
  if (name === "end" && card.seen && data.state === "succeeded") ended(data);
  if (!ENDED.includes(card.job.state)) card.seen = true; // its end is news
  card.pending ??= requestAnimationFrame(() => show(card));
}

// What goes on from a checkpoint tells the steps after it once more.
function point(points, data) {
  while (points.length && points.at(-1).step >= data.step) points.pop();
  points.push(data);
}

function again(card, { attempt, resumed }) {
  if (attempt > 1) card.account.push(["", say(resumed ? "jobs.resumed" : "jobs.again", { attempt })]);
  if (!resumed) Object.assign(card, { steps: [], epochs: [] });
}

function show(card) {
  card.pending = null;
  const { job, element } = card;
  const [summary, inside] = element.children;
  summary.replaceChildren(sign(SIGNS[job.state], job.state), make("strong", {}, foreign(job.run)),
    make("span", { class: "state" }, stateWords(job)), make("span", { class: "quiet" }, moment(job.created)));
  const focused = inside.contains(document.activeElement) ? document.activeElement.dataset.does : "";
  const log = inside.querySelector("pre");
  const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
  inside.replaceChildren(...[progress(card), result(job), curves(card), account(card), buttons(card), logOf(card)].flat().filter(Boolean));
  if (focused) inside.querySelector(`[data-does="${focused}"]`)?.focus();
  const now = inside.querySelector("pre");
  if (now && atEnd) now.scrollTop = now.scrollHeight;
}

function stateWords(job) {
  if (job.cancelling) return say("jobs.cancelling");
  if (job.state === "queued" && job.ahead) return say("jobs.ahead", { count: job.ahead });
  return say(`jobs.${job.state}`);
}

function progress({ job, progress: now }) {
  if (job.state !== "running") return null;
  const { task = "", done = 0, total = null, seconds_left: left = null } = now ?? {};
  const name = known(`task.${task}`) ? say(`task.${task}`) : task || say("jobs.starting");
  const parts = [name, total ? `${done.toLocaleString()} / ${total.toLocaleString()}` : "", left === null ? "" : say("jobs.left", { time: duration(left) })];
  return make("div", { class: "doing" }, make("progress", { max: 1, value: total ? done / total : null, "aria-label": name }),
    make("p", { class: "quiet" }, parts.filter(Boolean).join(" · ")));
}

function result(job) {
  if (job.state === "failed") return make("p", { class: "verdict error", lang: "en" }, sign("error"), job.error || say("jobs.failed"));
  if (!job.result || job.result.top1 === null) return null;
  const { top1, top1_interval: interval, count, folds } = job.result;
  const within = interval ? confidence(interval) : "";
  return make("p", { class: "headline" }, make("strong", {}, percent(top1)), make("span", {}, `${say(folds ? "jobs.folds" : "jobs.right", { count: count ?? 0 })} ${within}`));
}

function curves({ steps, epochs }) {
  if (!steps.length && !epochs.length) return null;
  const held = epochs.filter((one) => Number.isFinite(one.held_out_log_loss));
  const losses = (some) => some.filter((one) => Number.isFinite(one.loss)).map(({ step, loss: value }) => [step, value]);
  const loss = [
    { name: say("curve.step"), style: "steps", points: losses(steps) },
    { name: say("curve.train"), style: "train", points: losses(epochs) },
    { name: say("curve.held"), style: "held", points: held.map(({ step, held_out_log_loss: value }) => [step, value]) },
  ];
  const right = [
    { name: say("curve.train"), style: "train", points: epochs.filter((one) => Number.isFinite(one.top1)).map(({ step, top1: value }) => [step, value]) },
    { name: say("curve.top1"), style: "held", points: held.map(({ step, held_out_top1: value }) => [step, value]) },
  ];
  return make("div", { class: "charts" },
    chart(say("curve.loss"), say("curve.steps"), loss, (value) => Number(value.toPrecision(3)).toString()),
    right.some(({ points }) => points.length) ? chart(say("curve.right"), say("curve.steps"), right, (value) => percent(value, 0), [0, 1]) : null);
}

function account({ account: lines }) {
  if (!lines.length) return null;
  return make("dl", { class: "account", lang: "en" }, lines.slice(-6).flatMap(([topic, text]) => [make("dt", {}, topic), make("dd", {}, text)]));
}

function buttons(card) {
  const { job } = card;
  const every = [];
  if (!ENDED.includes(job.state) && !job.cancelling) every.push(button(say("jobs.cancel"), () => cancel(card).catch(complain), { "data-does": "cancel" }));
  if (job.state === "succeeded") {
    every.push(button(say("report.open"), () => openReport(`/v1/runs/${encodeURIComponent(job.run)}/report/link`), { "data-does": "report" }));
    if (may("admin") && runsNow().default !== job.run) every.push(button(say("runs.activate"), () => activate(job.run), { "data-does": "activate" }));
  }
  every.push(button(say(card.log === null ? "jobs.log" : "jobs.logAway"), () => toggleLog(card).catch(complain), { "data-does": "log", "aria-expanded": String(card.log !== null) }));
  return make("p", { class: "choices" }, every);
}

const logOf = ({ log }) => (log === null ? null : make("pre", { class: "log", tabindex: 0, lang: "en", "aria-label": say("jobs.log") }, log.text || say("jobs.logEmpty")));

async function toggleLog(card) {
  if (card.log !== null) {
    card.log = null;
    return show(card);
  }
  const log = { text: "" };
  card.log = log;
  let at = 0;
  for (;;) { // until it is put away, or has ended
    const answer = await ask(`/v1/jobs/${card.job.id}/logs?offset=${at}`);
    const more = await answer.text();
    if (card.log !== log) return;
    const next = Number(answer.headers.get("X-Next-Offset") ?? at);
    log.text += more;
    if (more || !at) show(card);
    if (next === at && ENDED.includes(card.job.state)) return;
    at = next;
    if (!more) await new Promise((done) => setTimeout(done, 1500));
  }
}

async function cancel(card) {
  if (!(await sure(say("jobs.sure", { name: card.job.run }), say("jobs.cancel")))) return;
  take(await post(`/v1/jobs/${card.job.id}/cancel`, {}));
}
