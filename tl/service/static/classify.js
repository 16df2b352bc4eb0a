// The Photos view: photos are added, classified, filtered and saved.
import { PredictionQueue } from "./requests.js";
import { picked } from "./drops.js";
import { detailsChanged, showDetails, startDetails } from "./details.js";
import { byId, make, sign } from "./elements.js";
import { refresh, select, selectedRows, selectShown, startGallery } from "./gallery.js";
import { complain, tell } from "./notices.js";
import { add, changed, clear, everyRow, label, labelNames, setLabels, table, waiting } from "./photos.js";
import { runsChanged, runsNow } from "./runs.js";
import { get } from "./service.js";
import { percent, say, spoken } from "./texts.js";

const queue = new PredictionQueue(showProgress, (refusal) => { complain(refusal); byId("bound").value = queue.bound; });
const FIELDS = { "choose-photos": "files", "choose-folder": "folder", "take-photo": "camera" };
let run = ""; // the one that answers by default, whichever that is

export function startClassifying() {
  startGallery(showDetails, showScore);
  startDetails();
  for (const [press, field] of Object.entries(FIELDS)) {
    byId(press).addEventListener("click", () => byId(field).click());
    byId(field).addEventListener("change", () => {
      takePhotos(picked(byId(field).files));
      byId(field).value = "";
    });
  }
  byId("run").addEventListener("change", (event) => chooseRun(event.target.value));
  byId("bound").addEventListener("change", (event) => { queue.bound = event.target.value.trim(); showAgain(); });
  byId("ask-again").addEventListener("click", askAgain);
  byId("predicting-stop").addEventListener("click", () => queue.cancel());
  byId("save").addEventListener("click", save);
  byId("clear").addEventListener("click", empty);
  startSelecting();
  changed((rows) => { refresh(rows); detailsChanged(rows); });
  runsChanged(showRuns);
  spoken(() => { byId("bound").placeholder = say("photos.noBound"); showRuns(runsNow()); refresh(everyRow()); showProgress(); });
}

export function takePhotos({ photos, archives, others }) {
  if (archives.length) complain(say("photos.archive"));
  else if (!photos.length) return complain(say("photos.noneFound"));
  else if (others) tell(say("photos.others", { count: others }));
  if (photos.length) queue.add(add(photos), run);
}

function startSelecting() {
  const press = byId("select");
  press.addEventListener("click", () => {
    const on = press.getAttribute("aria-pressed") !== "true";
    press.setAttribute("aria-pressed", String(on));
    byId("labelling").hidden = !on;
    select(on);
  });
  byId("select-all").addEventListener("click", selectShown);
  byId("labelling").addEventListener("submit", (event) => {
    event.preventDefault();
    const rows = selectedRows();
    if (!rows.length) return tell(say("select.none"));
    label(rows, byId("label-selected").value);
    tell(say("select.done", { count: rows.length }));
  });
}

function empty() {
  queue.cancel();
  clear();
  if (byId("select").getAttribute("aria-pressed") === "true") byId("select").click();
  byId("choose-photos").focus();
}

function showRuns(state) {
  const served = state.runs.filter((one) => one.served);
  if (!served.some((one) => one.name === run)) run = "";
  byId("run").parentElement.hidden = !state.known;
  const usual = state.default ? say("photos.default", { run: state.default }) : say("runs.none");
  byId("run").replaceChildren(make("option", { value: "" }, usual),
    ...served.filter((one) => !one.default).map(({ name }) => make("option", { value: name, selected: name === run }, name)));
  byId("run").disabled = served.length < 2;
  learnLabels();
}

let labelsOf = "";
async function learnLabels() {
  const name = run || runsNow().default;
  if (!name || name === labelsOf) return showAgain();
  labelsOf = name;
  try {
    const { labels } = await get(`/v1/runs/${encodeURIComponent(name)}`);
    setLabels(labels ?? []);
    byId("labels").replaceChildren(...labelNames().map((value) => make("option", { value })));
  } catch (problem) {
    labelsOf = "";
    complain(problem);
  }
  showAgain();
}

function chooseRun(name) {
  run = name;
  learnLabels();
}

function showAgain() {
  const name = run || runsNow().default;
  byId("ask-again").hidden = queue.under || !everyRow().some((row) => row.run && (row.run !== name || row.bound !== queue.bound));
}

function askAgain() {
  const rows = [...everyRow()];
  waiting(rows);
  queue.add(rows, run);
}

function showProgress() {
  byId("predicting").hidden = !queue.under;
  byId("drop").classList.toggle("small", everyRow().length > 0);
  showAgain();
  if (!queue.under) return;
  byId("predicting-bar").value = queue.done / queue.total;
  const wait = Math.ceil((queue.until - Date.now()) / 1000);
  const text = say("photos.classified", { done: queue.done, total: queue.total });
  byId("predicting-text").textContent = wait > 0 ? `${text} ${say("photos.busy", { count: wait })}` : text;
}

function showScore(found) {
  const judged = found.right + found.wrong;
  byId("drop").classList.toggle("small", found.all > 0);
  const parts = ["right", "wrong", "review", "open", "error"].filter((name) => found[name] || (judged && ["right", "wrong"].includes(name)));
  byId("score").replaceChildren(found.waiting === found.all ? "" : make("div", {},
    make("p", { class: "headline" },
      make("strong", {}, judged ? percent(found.right / judged) : "–"),
      make("span", {}, judged ? say("score.accuracy", { count: judged }) : say("score.none"))),
    make("p", { class: "parts" }, parts.map((name) => make("span", {}, sign(name), ` ${say(`score.${name}`, { count: found[name] })}`)),
      found.unknown ? make("span", { class: "strange" }, say("score.unknown", { count: found.unknown })) : null)));
}

function save() {
  const address = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  make("a", { href: address, download: "predictions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
