// Texts in the language of the reader, which is remembered; numbers, sizes and times as text.
import english from "./english.js";
import korean from "./korean.js";

const ALL = { en: english, ko: korean };
const KEPT = "tl-language";
const listeners = new Set();
let language = remembered() ?? ((navigator.language || "").toLowerCase().startsWith("ko") ? "ko" : "en");

export const languageNow = () => language;
export const otherLanguage = () => (language === "en" ? "ko" : "en");

export function say(key, values = {}) {
  let text = ALL[language][key] ?? english[key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? count(value) : value ?? whole;
  });
}

export const known = (key) => key in english;
export const count = (number) => number.toLocaleString(language);
export const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)}%`;
export const confidence = ([low, high]) => say("jobs.interval", { low: (100 * low).toFixed(1), high: (100 * high).toFixed(1) });

export function bytes(size) {
  const [large, unit] = size >= 1e9 ? [size / 1e9, "GB"] : size >= 1e6 ? [size / 1e6, "MB"] : [size / 1e3, "kB"];
  return `${large.toLocaleString(language, { maximumFractionDigits: large < 10 ? 1 : 0 })}\u00a0${unit}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return say("seconds", { count: whole });
  if (whole < 3600) return say("minutes", { count: Math.round(whole / 60) });
  return say("hours", { hours: Math.floor(whole / 3600), minutes: Math.round((whole % 3600) / 60) });
}

export const moment = (text) =>
  new Date(text).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });

export function choose(chosen) {
  language = chosen;
  try {
    localStorage.setItem(KEPT, chosen);
  } catch { /* a browser that keeps nothing shows its own language the next time */ }
  show();
}

// Calls `listener` once at the beginning and whenever the language changes.
export function spoken(listener) {
  listeners.add(listener);
}

export function show() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
  }
  for (const listener of listeners) listener();
}

function remembered() {
  try {
    const found = localStorage.getItem(KEPT);
    return found in ALL ? found : undefined;
  } catch {
    return undefined;
  }
}
