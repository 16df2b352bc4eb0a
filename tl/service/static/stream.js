// Read server-sent events over fetch, which can send a key, across interruptions until `end`.
import { ask } from "./service.js";

export async function* events(path, signal) {
  let last = "";
  let pause = 1000;
  for (;;) {
    try {
      const answer = await ask(path, { signal, headers: last ? { "Last-Event-ID": last } : {} });
      for await (const event of parsed(answer.body)) {
        if (event.id) last = event.id;
        pause = 1000;
        yield event;
        if (event.name === "end") return;
      }
    } catch (problem) {
      if (problem.name === "AbortError" || [401, 403, 404, 422].includes(problem.status)) throw problem;
    }
    await new Promise((done) => setTimeout(done, pause));
    if (signal.aborted) return;
    pause = Math.min(15_000, 2 * pause);
  }
}

async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = one(block);
      if (event) yield event;
    }
  }
}

function one(block) {
  const found = { name: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === "event") found.name = value;
    if (field === "id") found.id = value;
    if (field === "data") found.data += value;
  }
  return found.data ? { ...found, data: JSON.parse(found.data) } : null;
}
