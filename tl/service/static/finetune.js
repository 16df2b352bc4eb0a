// The form that starts a fine-tuning job.
import { byId, make } from "./elements.js";
import { complain, tell } from "./notices.js";
import { post } from "./service.js";
import { meNow } from "./session.js";
import { say, spoken } from "./texts.js";

const BUDGETS = ["", "2m", "10m", "30m", "1h", "4h"];
const UNFREEZE = ["none", "last", "half", "all", "auto"];
const WEIGHTS = ["imagenet", "none"];
let dataset = null;
let kept = {};

export function startTuning(started) {
  byId("tune-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(started).catch(complain);
  });
  byId("tune-form").addEventListener("input", dependent);
  spoken(drawForm);
}

export function tuneOn(chosen) {
  dataset = chosen;
  byId("tune").hidden = !chosen;
  drawForm();
}

function drawForm() {
  const form = byId("tune-form");
  if (form.elements.backbone) kept = Object.fromEntries(new FormData(form));
  const opened = form.querySelector("details")?.open ?? false;
  const backbones = meNow()?.backbones ?? ["resnet50"];
  form.replaceChildren(
    choice("backbone", backbones.map((name) => [name, name]), kept.backbone ?? "resnet50"),
    choice("unfreeze", UNFREEZE.map((name) => [name, say(`unfreeze.${name}`)]), kept.unfreeze ?? "none"),
    choice("budget", BUDGETS.map((name) => [name, name ? say(`budget.${name}`) : say("budget.any")]), kept.budget ?? ""),
    make("details", { class: "wide", open: opened }, make("summary", {}, say("tune.more")), make("div", { class: "fields" },
      choice("weights", WEIGHTS.map((name) => [name, say(`weights.${name}`)]), kept.weights ?? "imagenet"),
      number("epochs", { min: 1, max: 1000, placeholder: say("tune.auto") }),
      number("image_size", { min: 32, max: 1024, placeholder: say("tune.auto") }),
      field("run", make("input", { name: "run", id: "tune-run", maxlength: 80, autocomplete: "off", pattern: "[\\p{L}\\p{N}_][\\p{L}\\p{N}_.\\-]*", placeholder: say("tune.auto"), value: kept.run ?? "" })))),
    make("p", { class: "wide" }, make("button", { type: "submit", class: "main", id: "tune-start" }, say("tune.start")), " ", make("span", { class: "quiet", id: "tune-hint" })));
  dependent();
}

// A time budget, and epochs, are for training a part of the network; the head alone is fitted at once.
function dependent() {
  const form = byId("tune-form");
  const headOnly = form.elements.unfreeze.value === "none";
  for (const name of ["budget", "epochs"]) form.elements[name].disabled = headOnly;
  byId("tune-hint").textContent = say(headOnly ? "tune.headOnly" : "tune.curve");
}

const field = (name, control) => make("div", {}, make("label", { for: `tune-${name}` }, say(`tune.${name}`)), control);

function choice(name, options, value) {
  return field(name, make("select", { name, id: `tune-${name}` },
    options.map(([option, words]) => make("option", { value: option, selected: option === value }, words))));
}

function number(name, attributes) {
  return field(name, make("input", { type: "number", name, id: `tune-${name}`, value: kept[name] ?? "", ...attributes }));
}

async function begin(started) {
  const given = Object.fromEntries([...new FormData(byId("tune-form"))].filter(([, value]) => value !== ""));
  const { run, ...options } = given;
  for (const name of ["epochs", "image_size"]) if (name in options) options[name] = Number(options[name]);
  const press = byId("tune-start");
  press.disabled = true;
  try {
    const job = await post("/v1/jobs", { dataset: dataset.id, options, ...(run ? { run } : {}) });
    tell(say("tune.started", { run: job.run }));
    started(job);
  } finally {
    press.disabled = false;
  }
}
