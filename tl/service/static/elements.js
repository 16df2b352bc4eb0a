// Create elements from tag, attributes and children; attributes that start with "on" are listeners.
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return finished(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return finished(document.createElementNS(SVG, tag), attributes, children);
}

export function sign(name, className = name) {
  return draw("svg", { class: `sign ${className}`, "aria-hidden": "true" }, draw("use", { href: `#sign-${name}` }));
}

export function button(words, press, attributes = {}) {
  return make("button", { type: "button", class: "plain", onclick: press, ...attributes }, words);
}

export const foreign = (text) => make("bdi", {}, text); // names may run from right to left

function finished(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function width(element, share) {
  element.style.inlineSize = `${Math.round(Math.min(1, Math.max(0, share)) * 1000) / 10}%`;
  return element;
}
