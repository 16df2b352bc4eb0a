// Draw a learning curve as a chart with axes and a legend.
import { draw, make } from "./elements.js";
import { count } from "./texts.js";

const [WIDE, HIGH, LEFT, BELOW, ABOVE, RIGHT] = [480, 220, 62, 30, 12, 14];
const MOST = 400; // points of a line, beyond which neighbours are joined

// `lines` are { name, points: [[x, y]…], style }, `form` writes a value of the vertical axis.
export function chart(title, across, lines, form, limits) {
  const drawn = lines.filter(({ points }) => points.length).map((line) => ({ ...line, points: thinned(line.points) }));
  const every = drawn.flatMap(({ points }) => points);
  const last = Math.max(1, ...every.map(([x]) => x));
  const [low, high, marks] = scale(every.map(([, y]) => y), limits);
  const x = (value) => LEFT + (value / last) * (WIDE - LEFT - RIGHT);
  const y = (value) => HIGH - BELOW - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (HIGH - BELOW - ABOVE);
  const ends = drawn.map(({ name, points }) => `${name} ${form(points.at(-1)[1])}`).join(", ");
  return make("figure", { class: "chart" },
    make("figcaption", {}, make("strong", {}, title), ...drawn.map(legend(form))),
    draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", role: "img", "aria-label": `${title}: ${ends}` },
      marks.map((value) => [
        draw("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }),
        draw("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, form(value)),
      ]),
      draw("text", { x: LEFT, y: HIGH - 6 }, "0"),
      draw("text", { x: WIDE - RIGHT, y: HIGH - 6, "text-anchor": "end" }, `${count(last)} ${across}`),
      drawn.map(({ points, style }) => shape(points.map(([at, value]) => [x(at), y(value)]), style))));
}

const legend = (form) => ({ name, points, style }) => make("span", { class: "legend" },
  draw("svg", { class: "key", viewBox: "0 0 24 12", "aria-hidden": "true" },
    draw("path", { class: style, d: "M1 6H23" }), style === "held" ? draw("circle", { class: style, cx: 12, cy: 6, r: 4 }) : null),
  `${name} `, make("b", {}, form(points.at(-1)[1])));

function shape(points, style) {
  const dots = style === "held" && points.length < 60 ? points : points.slice(-1);
  return [
    draw("path", { class: style, d: `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` }),
    dots.map(([x, y]) => draw("circle", { class: style, cx: x.toFixed(1), cy: y.toFixed(1), r: 3.5 })),
  ];
}

function thinned(points) {
  const each = Math.ceil(points.length / MOST);
  if (each === 1) return points;
  const found = [];
  for (let at = 0; at < points.length; at += each) {
    const some = points.slice(at, at + each);
    found.push([some.at(-1)[0], some.reduce((sum, [, y]) => sum + y, 0) / some.length]);
  }
  return found;
}

// Round marks around the values; a few values far beyond the others are cut off.
function scale(values, limits) {
  const ordered = values.filter(Number.isFinite).sort((a, b) => a - b);
  let [low, high] = limits ?? [0, (ordered[Math.floor(0.98 * (ordered.length - 1))] ?? 1) * 1.1];
  if (!(high > low)) high = low + 1;
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough - 1e-12);
  high = low + Math.ceil((high - low) / step - 1e-9) * step;
  const marks = [];
  for (let at = 0; low + at * step <= high + step / 1e6; at += 1) marks.push(low + at * step);
  return [low, high, marks];
}
