// List the photos, with their paths, in what was dropped or chosen.
// Also `photo`, `a.jpg_large` and `a.jpg.1`: the server reads them by their content.
const PHOTO = /^[^.]+$|\.(jpe?g?|jfif|mpo|png|gif|bmp|webp|tiff?|avif|hei[cf]|hif|ppm|pgm)([^a-z0-9].*)?$/i;
const HELPER = /^(\..*|__MACOSX|@eaDir|#recycle|#snapshot|@Recycle|\$RECYCLE\.BIN|lost\+found|System Volume Information)$/i;
const ARCHIVE = /\.(zip|tar|tgz|tbz2|txz|tar\.(gz|bz2|xz))$/i;

export const isArchive = (file) => ARCHIVE.test(file.name);

// Files from a field that picks files or a folder.
export function picked(list) {
  return sorted([...list].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
}

// Files and folders, all that is in them, of a drop. What the event has must be taken before it has passed.
export async function dropped(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.length || entries.some((entry) => !entry)) return picked(transfer.files);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return sorted(found);
}

export const holdsFiles = (transfer) => [...(transfer?.types ?? [])].includes("Files");

function sorted(found) {
  const order = new Intl.Collator(undefined, { numeric: true });
  found.sort((one, other) => order.compare(one.path, other.path));
  const seen = found.filter(({ path }) => !path.split("/").some((part) => HELPER.test(part)));
  const isImage = (file) => PHOTO.test(file.name) || (file.type.startsWith("image/") && !file.type.includes("svg"));
  const isPhoto = ({ file }) => !isArchive(file) && isImage(file);
  return {
    photos: seen.filter(isPhoto),
    archives: seen.filter(({ file }) => isArchive(file)),
    others: seen.filter((one) => !isPhoto(one) && !isArchive(one.file)).length,
  };
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((done) => entry.file(done, () => done(null)));
    if (file) found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // it gives a hundred at a time
    const some = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (!some.length) return;
    for (const one of some) await walk(one, found);
  }
}
