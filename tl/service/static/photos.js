// The photos with their predictions and true labels: verdicts, counts and the CSV table.
export const FILTERS = ["all", "right", "wrong", "review", "unknown", "open", "error"];

const rows = [];
const listeners = new Set();
let labels = new Map(); // as a label is compared -> as it is written
let last = 0;

export const everyRow = () => rows;
export const changed = (listener) => listeners.add(listener);
export const labelNames = () => [...labels.values()];

export function add(found) {
  const added = found.map(({ file, path }) => ({
    id: ++last, file, path, name: path.split("/").at(-1), typed: null, folder: undefined, state: "waiting", answer: null, error: "", run: "", bound: "",
  }));
  rows.push(...added);
  touched(added);
  return added;
}

export function clear() {
  rows.length = 0;
  touched([]);
}

export function answered(row, answer, run, bound) {
  Object.assign(row, { state: "done", answer, error: "", run, bound });
  touched([row]);
}

export function failed(row, error) {
  Object.assign(row, { state: "error", answer: null, error });
  touched([row]);
}

export function waiting(some) {
  for (const row of some) Object.assign(row, { state: "waiting", answer: null, error: "", run: "" });
  touched(some);
}

export function drop(some) {
  const gone = new Set(some);
  rows.splice(0, rows.length, ...rows.filter((row) => !gone.has(row)));
  touched([]);
}

export function label(some, truth) {
  for (const row of some) row.typed = truth.trim() === "" ? null : known(truth) ?? truth.trim();
  touched(some);
}

export function setLabels(names) {
  labels = new Map(names.map((name) => [plain(name), name]));
  for (const row of rows) row.folder = undefined;
  touched(rows);
}

// What was typed for it, or else the nearest folder that is called as a class is.
export function truth(row) {
  if (row.folder === undefined) row.folder = row.path.split("/").slice(0, -1).reverse().map(known).find(Boolean) ?? null;
  return row.typed ?? row.folder;
}

export function verdict(row) {
  if (row.state !== "done") return row.state;
  if (row.answer.review) return "review";
  const real = truth(row);
  if (real === null) return "open";
  return plain(real) === plain(row.answer.label) ? "right" : "wrong";
}

export function matches(row, filter) {
  if (filter === "all") return true;
  if (filter === "unknown") return row.state === "done" && row.answer.unknown;
  return verdict(row) === filter;
}

export function counts() {
  const found = Object.fromEntries([...FILTERS, "waiting"].map((name) => [name, 0]));
  for (const row of rows) {
    found[verdict(row)] += 1;
    if (row.state === "done" && row.answer.unknown) found.unknown += 1;
  }
  return { ...found, all: rows.length };
}

export function table() {
  const head = ["path", "label", "confidence", "unknown", "review", "truth", "verdict", "run", "error"];
  const lines = rows.map((row) => {
    const { label: answer = "", confidence = "", unknown = "", review = "" } = row.answer ?? {};
    return [row.path, answer, confidence, unknown, review ?? "", truth(row) ?? "", verdict(row), row.run, row.error].map(cell).join(",");
  });
  return `\ufeff${[head.join(","), ...lines].join("\r\n")}\r\n`;
}

// Disks write 가 in one letter or in two, and folders in capitals or not.
const plain = (name) => name.normalize("NFC").trim().toLowerCase();
const known = (name) => labels.get(plain(name));

function cell(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`; // no formula for a spreadsheet
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function touched(some) {
  for (const listener of listeners) listener(some);
}
