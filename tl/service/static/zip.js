// Pack a folder of photos as a zip without compression, which refers to the files instead of copying them.
const MOST = 0xffffffff;
const FILES = 0xffff;
const UTF8 = 0x0800;
const TABLE = Uint32Array.from({ length: 256 }, (_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

export const fits = (found) =>
  found.length < FILES && found.reduce((sum, { file, path }) => sum + file.size + 2 * path.length + 200, 0) < MOST;

// What all paths begin with, where it is more than a class: `pets` of `pets/cat/1.jpg`.
export function commonFolder(found) {
  const parts = found.map(({ path }) => path.split("/"));
  const [first] = parts[0] ?? [""];
  return parts.every((path) => path.length > 2 && path[0] === first) ? first : "";
}

export async function pack(found, signal, onProgress) {
  const common = commonFolder(found);
  const pieces = [];
  const entries = [];
  let at = 0;
  for (const [number, { file, path }] of found.entries()) {
    signal.throwIfAborted();
    const name = new TextEncoder().encode(common ? path.slice(common.length + 1) : path);
    const fields = head(await checksum(file), file.size, name.length);
    const local = joined([0x50, 0x4b, 3, 4], fields, name);
    entries.push(joined([0x50, 0x4b, 1, 2, 20, 0], fields, numbers([0, 2], [0, 2], [0, 2], [0, 4], [at, 4]), name));
    pieces.push(local, file);
    at += local.length + file.size;
    onProgress((number + 1) / found.length);
  }
  const size = entries.reduce((sum, entry) => sum + entry.length, 0);
  const end = numbers([0, 4], [found.length, 2], [found.length, 2], [size, 4], [at, 4], [0, 2]);
  return new Blob([...pieces, ...entries, joined([0x50, 0x4b, 5, 6], end)], { type: "application/zip" });
}

const head = (sum, size, name) =>
  numbers([20, 2], [UTF8, 2], [0, 2], [0, 2], [0x21, 2], [sum, 4], [size, 4], [size, 4], [name, 2], [0, 2]);

function numbers(...fields) {
  return fields.flatMap(([value, bytes]) => Array.from({ length: bytes }, (_, at) => (value / 256 ** at) & 255));
}

function joined(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

async function checksum(file) {
  let sum = 0xffffffff;
  const reader = file.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return (sum ^ 0xffffffff) >>> 0;
    for (let at = 0; at < value.length; at += 1) sum = TABLE[(sum ^ value[at]) & 255] ^ (sum >>> 8);
  }
}
