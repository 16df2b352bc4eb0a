// Start the page: views, drops, language and session.
import { startArchives } from "./archives.js";
import { dropped, holdsFiles } from "./drops.js";
import { loadDatasets, startDatasets } from "./datasets.js";
import { byId } from "./elements.js";
import { addJob, loadJobs, startJobs } from "./jobs.js";
import { complain, tell } from "./notices.js";
import { startClassifying, takePhotos } from "./classify.js";
import { loadRuns, startRuns } from "./runs.js";
import { may, meet, meNow, startSession, visited } from "./session.js";
import { startTuning, tuneOn } from "./finetune.js";
import { choose, otherLanguage, say, show, spoken } from "./texts.js";

const VIEWS = ["photos", "train", "runs"];
let takeArchive = () => {};
let loaded = false;

const viewNow = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "photos");

function showView() {
  const now = viewNow();
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== now;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${say(`view.${now}`)} · tl`;
  if (now === "train") openTraining();
  if (now === "runs" && meNow()) loadRuns().catch(complain);
}

function openTraining() {
  const me = meNow();
  if (!me) return;
  const refused = !me.jobs ? "train.noJobs" : !may("train") ? "train.mayNot" : "";
  byId("train-refused").hidden = !refused;
  byId("train-parts").hidden = Boolean(refused);
  if (refused) byId("train-refused").textContent = say(refused);
  else if (!loaded) {
    loaded = true;
    Promise.all([loadDatasets(), loadJobs()]).catch((problem) => { loaded = false; complain(problem); });
  }
}

function watchDrops() {
  let depth = 0;
  const zone = () => byId(viewNow() === "train" ? "drop-archive" : "drop");
  const leave = () => { for (const one of document.querySelectorAll(".drop")) one.classList.remove("over"); };
  document.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event.dataTransfer)) return;
    depth += 1;
    zone().classList.add("over");
  });
  document.addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; leave(); } });
  document.addEventListener("dragover", (event) => { if (holdsFiles(event.dataTransfer)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event.dataTransfer)) return;
    event.preventDefault();
    depth = 0;
    leave();
    take(event.dataTransfer).catch(complain);
  });
}

async function take(transfer) {
  if (viewNow() === "train") {
    if (!byId("train-parts").hidden) await takeArchive(transfer);
    return;
  }
  if (viewNow() === "runs") location.hash = "#photos";
  takePhotos(await dropped(transfer));
}

function startLanguage() {
  const press = byId("language");
  press.addEventListener("click", () => choose(otherLanguage()));
  spoken(() => {
    press.textContent = say("language.other");
    press.lang = otherLanguage();
    if (meNow()) byId("version").textContent = `tl ${meNow().version}`;
  });
}

startLanguage();
startSession();
startClassifying();
startDatasets(tuneOn);
takeArchive = startArchives((made) => loadDatasets(made.id).catch(complain));
startTuning(addJob);
startJobs((job) => {
  tell(say("jobs.ready", { run: job.run }));
  loadRuns().catch(complain);
});
startRuns();
spoken(showView);
watchDrops();
window.addEventListener("hashchange", showView);
byId("skip").addEventListener("click", (event) => { // the address says which view is open
  event.preventDefault();
  byId("main").focus();
});
visited(() => {
  loaded = false;
  loadRuns().catch(complain);
  show();
});
show();
meet().catch(complain);
