// Send requests to the service; a refusal is an error with a sentence to show, and for a missing key there is a dialog.
import { askForKey, keyNow } from "./session.js";
import { say } from "./texts.js";

export class Refusal extends Error {
  constructor(status, sentence, wait = 0) {
    super(sentence);
    this.name = "Refusal";
    this.status = status;
    this.sentence = sentence;
    this.wait = wait; // seconds until the next try
  }
}

export async function ask(path, { method = "GET", body, json, signal, headers = {} } = {}) {
  const given = { ...headers };
  if (json !== undefined) given["Content-Type"] = "application/json";
  const content = json === undefined ? body : JSON.stringify(json);
  for (;;) {
    const key = keyNow();
    if (key) given.Authorization = `Bearer ${key}`;
    const answer = await sent(path, { method, body: content, signal, headers: given });
    if (answer.ok) return answer;
    const refusal = await refused(answer);
    if (answer.status !== 401) throw refusal;
    if (!(await askForKey(key))) throw new Refusal(401, say("key.needed"));
  }
}

export async function get(path, signal) {
  return (await ask(path, { signal })).json();
}

export async function post(path, json) {
  return (await ask(path, { method: "POST", json })).json();
}

// Upload an archive; `onProgress(share)` is called as it goes up, which fetch does not report.
export function upload(path, body, { signal, onProgress, type }) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    const unreachable = () => failed(new Refusal(0, say("unreachable")));
    request.open("POST", path);
    if (keyNow()) request.setRequestHeader("Authorization", `Bearer ${keyNow()}`);
    request.setRequestHeader("Content-Type", type);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / (event.total || 1)));
    request.addEventListener("load", () => {
      const reply = parsed(request.responseText);
      if (request.status < 300) return done(reply);
      failed(new Refusal(request.status, sentence(request.status, reply), waiting(request.getResponseHeader("Retry-After"))));
    });
    request.addEventListener("error", unreachable);
    request.addEventListener("timeout", unreachable);
    request.addEventListener("abort", () => failed(new DOMException("put off", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

async function sent(path, request) {
  try {
    return await fetch(path, { credentials: "omit", cache: "no-store", ...request });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, say("unreachable"), 2);
  }
}

async function refused(answer) {
  const reply = parsed(await answer.text().catch(() => ""));
  return new Refusal(answer.status, sentence(answer.status, reply), waiting(answer.headers.get("Retry-After")));
}

function sentence(status, reply) {
  const detail = typeof reply?.detail === "string" && reply.detail ? reply.detail : say("refused", { status: String(status) });
  return detail.charAt(0).toUpperCase() + detail.slice(1);
}

const waiting = (header) => (/^\d+$/.test(header ?? "") ? Number(header) : 0);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
