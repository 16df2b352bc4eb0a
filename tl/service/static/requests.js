// Send photos to the service, a few requests at a time; wait while it is busy, and stop when cancelled.
import { answered, drop, failed } from "./photos.js";
import { ask, Refusal } from "./service.js";
import { meNow } from "./session.js";
import { bytes, say } from "./texts.js";

const REQUESTS = 3;
const PHOTOS = 8;
const BYTES = 12e6;
const TRIES = 4;
const DEADLINE = 30_000; // milliseconds

export class PredictionQueue {
  // `changed()` is called after each change, `gaveUp(refusal)` when the rest is given up.
  constructor(changed, gaveUp) {
    Object.assign(this, { changed, gaveUp, queue: [], total: 0, done: 0, busy: 0, until: 0, stop: new AbortController() });
    this.run = this.bound = ""; // bound: the most of the answers that may be wrong
  }

  get under() {
    return this.done < this.total;
  }

  add(rows, run) {
    if (!this.under) Object.assign(this, { total: 0, done: 0, stop: new AbortController() });
    this.run = run;
    this.total += rows.length;
    const most = meNow()?.image_bytes ?? Infinity;
    for (const row of rows) {
      if (row.file.size > most) this.fail(row, say("photos.tooLarge", { size: bytes(most) }));
      else this.queue.push({ rows: [row], tries: 0, fresh: true });
    }
    while (this.busy < REQUESTS && this.queue.length) this.work();
    this.changed();
  }

  cancel() {
    const left = this.queue.flatMap((order) => order.rows);
    this.queue = [];
    this.stop.abort();
    this.total -= left.length;
    this.until = 0;
    drop(left);
    this.changed();
  }

  async work() {
    this.busy += 1;
    const { signal } = this.stop;
    try {
      while (this.queue.length && !signal.aborted) {
        await this.patience(signal);
        const order = this.next();
        if (order) await this.answer(order, signal);
      }
    } finally {
      this.busy -= 1;
      this.changed();
    }
  }

  // Fresh photos go together, those that were refused go as they are.
  next() {
    const first = this.queue.shift();
    if (!first?.fresh) return first;
    const most = Math.min(PHOTOS, meNow()?.images ?? PHOTOS);
    let size = first.rows[0].file.size;
    const rows = [...first.rows];
    while (rows.length < most && this.queue[0]?.fresh && size + this.queue[0].rows[0].file.size < BYTES) {
      const [row] = this.queue.shift().rows;
      size += row.file.size;
      rows.push(row);
    }
    return { rows, tries: 0, fresh: false };
  }

  async answer(order, signal) {
    const form = new FormData();
    for (const row of order.rows) form.append("image", row.file, row.name);
    const query = new URLSearchParams({ deadline_ms: String(DEADLINE), top: "5" });
    const { run, bound } = this;
    if (run) query.set("run", run);
    if (bound) query.set("max_error", bound);
    try {
      const answer = await ask(`/v1/predict?${query}`, { method: "POST", body: form, signal });
      const reply = await answer.json();
      reply.predictions.forEach((one, at) => this.take(order.rows[at], one, reply.run, bound));
    } catch (problem) {
      this.refused(order, problem, bound);
    }
    this.changed();
  }

  take(row, one, run, bound) {
    if (one.error) return this.fail(row, one.error);
    this.done += 1;
    answered(row, one, run, bound);
  }

  fail(row, error) {
    this.done += 1;
    failed(row, error);
  }

  refused(order, problem, bound) {
    if (problem.name === "AbortError") {
      this.total -= order.rows.length;
      return drop(order.rows);
    }
    const refusal = problem instanceof Refusal ? problem : new Refusal(0, say("photos.changed"));
    const { status, wait, sentence } = refusal;
    if (status === 429 || status === 503) {
      this.until = Math.max(this.until, Date.now() + 1000 * Math.max(1, wait));
      return this.queue.unshift(order);
    }
    if (status === 400 && bound) { // it cannot be promised: all are answered
      this.queue.unshift(order);
      if (this.bound !== bound) return;
      this.bound = "";
      return this.gaveUp(refusal);
    }
    if (order.rows.length > 1 && [0, 413, 422, 504].includes(status)) { // one by one it is seen which it was
      return this.queue.unshift(...order.rows.map((row) => ({ rows: [row], tries: order.tries, fresh: false })));
    }
    if (status === 422 || status === 413) {
      return this.fail(order.rows[0], sentence.replace(/^The image cannot be used: /, "").replace(`${order.rows[0].name}: `, ""));
    }
    if ([0, 504, 500, 502, 408].includes(status) && order.tries + 1 < TRIES) {
      this.until = Math.max(this.until, Date.now() + 1000 * 2 ** order.tries);
      return this.queue.unshift({ ...order, tries: order.tries + 1 });
    }
    for (const row of order.rows) this.fail(row, sentence);
    if (status === 0 || status === 401 || status === 403 || status === 404) { // so it would be for all that are left
      for (const row of this.queue.flatMap((one) => one.rows)) this.fail(row, sentence);
      this.queue = [];
    }
    this.gaveUp(refusal);
  }

  async patience(signal) {
    while (Date.now() < this.until && !signal.aborted) {
      this.changed();
      await new Promise((done) => setTimeout(done, Math.min(500, this.until - Date.now())));
    }
  }
}
