// Show photos as tiles with their labels; only those near the window are decoded.
import { byId, foreign, make, sign } from "./elements.js";
import { counts, everyRow, FILTERS, matches, truth, verdict } from "./photos.js";
import { percent, say } from "./texts.js";

const AT_ONCE = 300;
const GONE = "/static/gone.svg"; // what a browser cannot show
const SIGNS = { right: "right", wrong: "wrong", review: "review", open: "open", error: "error", waiting: "waiting" };
const tiles = new Map();
const selected = new Set();
let filter = "all";
let limit = AT_ONCE;
let shown = [];
let selecting = false;
let pending = null;
let stale = new Set();
let open = () => {};
let drawn = () => {};

export const shownRows = () => shown;
export const selectedRows = () => everyRow().filter((row) => selected.has(row.id));
export const tileOf = (row) => tiles.get(row.id);

// `opened(row)` is called for the photo that was clicked, `seen(counts)` after each drawing.
export function startGallery(opened, seen) {
  open = opened;
  drawn = seen;
  byId("more").addEventListener("click", () => {
    const next = byId("tiles").children.length;
    limit += AT_ONCE;
    drawNow();
    focusTile(byId("tiles").children[next]?.firstChild); // the keyboard goes on where the new ones begin
  });
  byId("tiles").addEventListener("keydown", walk);
}

export function select(on) {
  selecting = on;
  if (!on) selected.clear();
  refresh(everyRow());
}

export function selectShown() {
  const every = everyRow().filter((row) => matches(row, filter));
  const all = every.every((row) => selected.has(row.id));
  for (const row of every) selected[all ? "delete" : "add"](row.id);
  refresh(every);
}

// Draw these anew with the next frame, however often this is called.
export function refresh(rows) {
  for (const row of rows) stale.add(row.id);
  pending ??= requestAnimationFrame(drawNow);
}

function drawNow() {
  if (pending !== null) cancelAnimationFrame(pending);
  pending = null;
  const every = everyRow();
  const found = every.filter((row) => matches(row, filter));
  shown = found.slice(0, limit);
  forget(new Set(every.map((row) => row.id)));
  arrange(shown.map(tile));
  stale = new Set();
  byId("results").hidden = !every.length;
  byId("more").hidden = found.length <= limit;
  byId("more").textContent = say("photos.more", { count: Math.min(AT_ONCE, found.length - limit) });
  byId("nothing").hidden = found.length > 0;
  byId("nothing").textContent = say("photos.nothing");
  byId("selected").textContent = say("select.count", { count: selected.size });
  const all = counts();
  drawFilter(all);
  drawn(all);
}

function arrange(wanted) {
  const list = byId("tiles");
  wanted.forEach((one, at) => {
    if (list.children[at] !== one) list.insertBefore(one, list.children[at] ?? null);
  });
  while (list.children.length > wanted.length) list.lastChild.remove();
  const current = list.querySelector('button[tabindex="0"]');
  if (!current && list.firstChild) list.firstChild.firstChild.tabIndex = 0;
}

function forget(there) {
  for (const [id, element] of tiles) {
    if (there.has(id)) continue;
    release(element.querySelector("img"));
    watcher.unobserve(element);
    tiles.delete(id);
    selected.delete(id);
  }
}

function tile(row) {
  let element = tiles.get(row.id);
  if (!element) {
    const picture = make("img", { class: "photo", alt: "", width: 160, height: 160, decoding: "async" });
    picture.file = row.file;
    picture.addEventListener("error", () => { picture.src = GONE; });
    const press = () => (selecting ? toggle(row) : open(row));
    element = make("li", {}, make("button", { type: "button", class: "tile", tabindex: -1, onclick: press }, picture, make("span", { class: "words" })));
    element.row = row;
    tiles.set(row.id, element);
    watcher.observe(element);
    stale.add(row.id);
  }
  if (stale.has(row.id)) fill(element, row);
  return element;
}

function fill(element, row) {
  const face = element.firstChild;
  const state = verdict(row);
  face.className = `tile ${state}`;
  face.lastChild.replaceChildren(...caption(row, state));
  face.setAttribute("aria-label", spoken(row, state));
  if (selecting) face.setAttribute("aria-pressed", String(selected.has(row.id)));
  else face.removeAttribute("aria-pressed");
}

function caption(row, state) {
  const name = make("span", { class: "path" }, foreign(row.name));
  if (state === "waiting") return [line("waiting", make("span", {}, say("verdict.waiting"))), name];
  if (state === "error") return [line("error", make("strong", {}, say("verdict.error"))), make("span", { class: "reason" }, row.error), name];
  const { label, confidence, unknown } = row.answer;
  return [
    line(state, make("strong", {}, foreign(label))),
    make("span", { class: "prediction" }, make("span", { class: "sure" }, percent(confidence)), ` · ${say(`verdict.${state}`)}`),
    unknown ? make("span", { class: "strange" }, say("verdict.unknown")) : null,
    state === "wrong" ? make("span", { class: "truth" }, `${say("verdict.truth")} `, make("strong", {}, foreign(truth(row)))) : null,
    name,
  ].filter(Boolean);
}

const line = (state, ...words) => make("span", { class: "line" }, sign(SIGNS[state], state), ...words);

function spoken(row, state) {
  if (state === "waiting" || state === "error") return `${row.name}: ${say(`verdict.${state}`)} ${row.error}`;
  const { label, confidence, unknown } = row.answer;
  const more = [state === "wrong" ? `${say("verdict.truth")} ${truth(row)}` : "", unknown ? say("verdict.unknown") : ""];
  return [`${row.name}: ${label} ${percent(confidence)}`, say(`verdict.${state}`), ...more].filter(Boolean).join(", ");
}

function toggle(row) {
  selected[selected.has(row.id) ? "delete" : "add"](row.id);
  refresh([row]);
}

function drawFilter(found) {
  const place = byId("filter");
  const focused = document.activeElement?.dataset?.filter;
  place.replaceChildren(...FILTERS.filter((name) => name === "all" || name === filter || found[name]).map((name) =>
    make("button", { type: "button", class: "chip", "aria-pressed": String(name === filter), "data-filter": name, onclick: () => choose(name) },
      SIGNS[name] ? sign(SIGNS[name], name) : null, `${say(`filter.${name}`)} `, make("b", {}, found[name].toLocaleString()))));
  if (focused) place.querySelector(`[data-filter="${focused}"]`)?.focus();
}

function choose(name) {
  filter = name;
  limit = AT_ONCE;
  drawNow();
}

const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const picture = target.querySelector("img");
    if (isIntersecting && !picture.src) picture.src = URL.createObjectURL(picture.file);
    else if (!isIntersecting) release(picture);
  }
}, { rootMargin: "800px 0px" });

function release(picture) {
  if (!picture?.src) return;
  URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
}

// Arrows lead from tile to tile, so that Tab leads past all of them.
function walk(event) {
  const faces = [...byId("tiles").children].map((one) => one.firstChild);
  const at = faces.indexOf(event.target);
  if (at < 0) return;
  const across = faces.filter((face) => face.offsetTop === faces[0].offsetTop).length;
  const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + across, ArrowUp: at - across, Home: 0, End: faces.length - 1 };
  if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  focusTile(faces[Math.min(faces.length - 1, Math.max(0, steps[event.key]))]);
}

export function focusTile(face) {
  if (!face) return;
  for (const other of byId("tiles").querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
  face.tabIndex = 0;
  face.focus();
}
