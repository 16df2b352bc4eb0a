// Upload an archive or a folder of photos as a data set, with progress and a way to cancel.
import { dropped, isArchive, picked } from "./drops.js";
import { byId } from "./elements.js";
import { complain, tell } from "./notices.js";
import { commonFolder, fits, pack } from "./zip.js";
import { upload } from "./service.js";
import { meNow } from "./session.js";
import { bytes, percent, say } from "./texts.js";

let stop = null;

export function startArchives(uploaded) {
  const take = (found) => send(found, uploaded).catch(complain);
  for (const [press, field] of [["choose-archive", "archive"], ["choose-data-folder", "data-folder"]]) {
    byId(press).addEventListener("click", () => byId(field).click());
    byId(field).addEventListener("change", () => {
      if (byId(field).files.length) take(picked(byId(field).files));
      byId(field).value = "";
    });
  }
  byId("sending-stop").addEventListener("click", () => stop?.abort());
  return async (transfer) => take(await dropped(transfer));
}

async function send({ photos, archives }, uploaded) {
  if (stop) return tell(say("data.busy"));
  if (archives.length > 1 || (archives.length && photos.length)) return complain(say("data.oneOnly"));
  if (!archives.length && !photos.length) return complain(say("data.neither"));
  stop = new AbortController();
  byId("sending").hidden = false;
  try {
    const [body, name] = archives.length ? [archives[0].file, archives[0].file.name] : await packed(photos, stop.signal);
    if (body.size > (meNow()?.upload_bytes ?? Infinity)) return complain(say("data.tooLarge", { size: bytes(meNow().upload_bytes) }));
    const query = new URLSearchParams({ name: plain(name) });
    const type = isArchive(body) && body.name.endsWith(".zip") ? "application/zip" : "application/octet-stream";
    const onProgress = (share) => progress(share, share < 1
      ? say("data.sending", { name, share: percent(share, 0), size: bytes(body.size) }) : say("data.unpacking", { name }));
    onProgress(0);
    const made = await upload(`/v1/datasets?${query}`, body, { signal: stop.signal, onProgress, type });
    tell(say("data.stored", { name: made.name, count: made.images }));
    uploaded(made);
  } finally {
    stop = null;
    byId("sending").hidden = true;
  }
}

async function packed(photos, signal) {
  if (!photos.some(({ path }) => path.includes("/"))) throw new Error(say("data.noFolders"));
  if (!fits(photos)) throw new Error(say("data.folderTooLarge"));
  const name = commonFolder(photos) || "photos";
  const body = await pack(photos, signal, (share) => progress(share, say("data.packing", { name, share: percent(share, 0) })));
  return [body, name];
}

function progress(share, text) {
  const bar = byId("sending-bar");
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
  byId("sending-text").textContent = text;
}

const plain = (name) => name.replace(/\.(zip|tar|tgz|tbz2|txz|tar\.(gz|bz2|xz))$/i, "").slice(0, 80);
