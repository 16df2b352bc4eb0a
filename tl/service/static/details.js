// The dialog of one photo: its most likely labels, the heat map, and a field for the true label.
import { byId, button, foreign, make, sign, width } from "./elements.js";
import { focusTile, shownRows, tileOf } from "./gallery.js";
import { label, truth, verdict } from "./photos.js";
import { ask } from "./service.js";
import { bytes, percent, say, spoken } from "./texts.js";

let row = null;
let stop = new AbortController();
let addresses = [];

export function startDetails() {
  const box = byId("details");
  box.addEventListener("close", closed);
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  box.addEventListener("keydown", (event) => {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  spoken(() => { if (row && box.open) fill(); });
}

export function showDetails(chosen) {
  row = chosen;
  fill();
  if (!byId("details").open) byId("details").showModal();
}

export function detailsChanged(rows) {
  if (row && byId("details").open && rows.includes(row)) drawVerdict();
}

function closed() {
  release();
  const tile = row && tileOf(row);
  row = null;
  if (tile?.isConnected) focusTile(tile.firstChild);
}

function step(by) {
  const every = shownRows();
  const next = every[every.indexOf(row) + by];
  if (next) showDetails(next);
}

function release() {
  stop.abort();
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
}

function shownAt(blob) {
  const address = URL.createObjectURL(blob);
  addresses.push(address);
  return address;
}

function fill() {
  release();
  stop = new AbortController();
  const at = shownRows().indexOf(row);
  const box = byId("details");
  const before = box.contains(document.activeElement) ? document.activeElement.id : "";
  box.replaceChildren(
    make("div", { class: "bar" },
      make("h2", { id: "details-title" }, foreign(row.name)),
      button("‹", () => step(-1), { id: "details-before", "aria-label": say("details.before"), disabled: at <= 0 }),
      button("›", () => step(1), { id: "details-next", "aria-label": say("details.next"), disabled: at < 0 || at + 1 >= shownRows().length }),
      button("×", () => box.close(), { id: "details-close", "aria-label": say("close") })),
    make("p", { class: "verdict", id: "details-verdict" }),
    pictures(),
    ...(row.answer ? [bars()] : []),
    truthField(),
    facts(),
  );
  drawVerdict();
  const wanted = byId(before);
  (wanted && !wanted.disabled ? wanted : byId("details-close")).focus();
  if (row.answer) explain(row.answer.label);
}

function drawVerdict() {
  const state = verdict(row);
  const parts = [sign(state), make("strong", {}, say(`verdict.${state}`))];
  if (row.error) parts.push(` – ${row.error}`);
  if (row.answer) parts.push(" – ", foreign(row.answer.label), ` ${percent(row.answer.confidence)}`);
  if (state === "wrong") parts.push(` – ${say("verdict.truth")} `, foreign(truth(row)));
  if (row.answer?.unknown) parts.push(make("span", { class: "strange" }, say("verdict.unknownLong")));
  const place = byId("details-verdict");
  place.className = `verdict ${state}`;
  place.replaceChildren(...parts);
}

function pictures() {
  const photo = make("img", { src: shownAt(row.file), alt: say("details.photo", { name: row.name }) });
  const gone = make("p", { class: "empty", hidden: true }, say("details.notShown"));
  photo.addEventListener("error", () => { photo.hidden = true; gone.hidden = false; });
  return make("div", { class: "pair" },
    make("figure", {}, photo, gone, make("figcaption", {}, say("details.given"))),
    row.answer ? make("figure", { id: "heat" }, make("p", { class: "empty" }), make("figcaption", {})) : null);
}

function bars() {
  const list = row.answer.top.map(({ label: name, confidence }) => make("li", {},
    make("button", { type: "button", class: "share", "data-label-name": name, onclick: () => explain(name), "aria-pressed": "false" },
      make("span", { class: "name" }, foreign(name)), make("span", { class: "figure" }, percent(confidence)),
      make("span", { class: "rail" }, width(make("span", { class: "value" }), confidence)))));
  return make("div", {}, make("h3", {}, say("details.top")), make("p", { class: "quiet" }, say("details.topMore")), make("ol", { class: "shares" }, list));
}

function truthField() {
  const field = make("input", { id: "details-truth", list: "labels", autocomplete: "off", maxlength: 200, value: truth(row) ?? "" });
  const kept = (event) => {
    event.preventDefault();
    label([row], field.value);
    field.value = truth(row) ?? "";
  };
  return make("form", { class: "labelling", onsubmit: kept },
    make("label", { for: "details-truth" }, say("details.truth")), field,
    make("button", { type: "submit", class: "main" }, say("details.keep")));
}

function facts() {
  const parts = [[say("details.path"), foreign(row.path)], [say("details.size"), bytes(row.file.size)]];
  if (row.run) parts.push([say("details.run"), foreign(row.run)]);
  return make("dl", {}, parts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

async function explain(name) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  const explained = row;
  const place = byId("heat");
  for (const one of byId("details").querySelectorAll(".share")) one.setAttribute("aria-pressed", String(one.dataset.labelName === name));
  place.replaceChildren(make("p", { class: "empty", role: "status" }, say("details.looking")), make("figcaption", {}, say("details.heat", { label: name })));
  try {
    const form = new FormData();
    form.append("image", row.file, row.name);
    const query = new URLSearchParams({ label: name, side: "512", run: row.run });
    const answer = await ask(`/v1/explain?${query}`, { method: "POST", body: form, signal });
    const picture = await answer.blob();
    if (signal.aborted || explained !== row) return;
    place.firstChild.replaceWith(make("img", { src: shownAt(picture), alt: say("details.heatAlt", { label: name }) }));
  } catch (problem) {
    if (problem.name === "AbortError" || explained !== row) return;
    place.firstChild.replaceWith(make("p", { class: "empty", role: "status" }, problem.sentence ?? problem.message));
  }
}
