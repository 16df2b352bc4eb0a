"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filter");
  const field = (name) => form.elements[name];

  // the filter of the images
  const tiles = [...document.querySelectorAll("#tiles > li")];
  const AT_ONCE = 60; // so that a phone need not draw hundreds
  const more = byId("more");
  let limit = AT_ONCE;
  function filter() {
    const [from, to] = [Number(field("from").value), Number(field("to").value)].sort((a, b) => a - b);
    byId("from-value").textContent = `${field("from").value}%`;
    byId("to-value").textContent = `${field("to").value}%`;
    const [truth, predicted, verdict] = ["truth", "predicted", "verdict"].map((name) => field(name).value);
    let matches = 0;
    for (const tile of tiles) {
      const { t, p, v, u, c } = tile.dataset;
      const matching = (!truth || t === truth) && (!predicted || p === predicted) && Number(c) >= from && Number(c) <= to &&
        (!verdict || v === verdict || (verdict === "unknown" && u === "1"));
      matches += matching;
      tile.hidden = !matching || matches > limit;
    }
    more.hidden = matches <= limit;
    more.textContent = `Show ${Math.min(AT_ONCE, matches - limit)} more`;
    const first = matches > limit ? `, the first ${limit} shown` : "";
    byId("shown").textContent = matches
      ? `${matches} of ${tiles.length} images${first}` : "No image on this page matches.";
  }
  function again() {
    limit = AT_ONCE;
    filter();
  }
  if (form) {
    form.hidden = false;
    form.addEventListener("input", again);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(again)); // after the fields are back
    more.addEventListener("click", () => {
      const next = tiles.filter((tile) => !tile.hidden).length;
      limit += AT_ONCE;
      filter();
      const [first] = tiles.filter((tile) => !tile.hidden).slice(next);
      first.tabIndex = -1; // the keyboard goes on where the new ones begin
      first.focus({ preventScroll: true });
    });
    filter();
  }
  function select(truth, predicted) {
    field("verdict").value = "";
    field("from").value = 0;
    field("to").value = 100;
    field("truth").value = truth;
    field("predicted").value = predicted;
    again();
    byId("photos").scrollIntoView();
    field("truth").focus({ preventScroll: true });
  }
  for (const button of document.querySelectorAll("button[data-truth]")) {
    const there = ({ dataset: { t, p } }) => t === button.dataset.truth && p === button.dataset.predicted;
    button.hidden = !tiles.some(there);
    button.addEventListener("click", () => select(button.dataset.truth, button.dataset.predicted));
  }

  // tables whose columns sort
  for (const head of document.querySelectorAll("table.sorts thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head));
  }
  function sort(head) {
    const heads = [...head.parentElement.children];
    const column = heads.indexOf(head);
    const numbers = head.dataset.kind === "number";
    const first = numbers && head.dataset.first !== "ascending" ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const next = !now ? first : now === "ascending" ? "descending" : "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
    const body = head.closest("table").tBodies[0];
    const sign = next === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const letters = new Intl.Collator("en", { numeric: true });
    body.append(...[...body.rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (!numbers) return sign * letters.compare(a, b);
      return (a === "") - (b === "") || sign * (a - b); // those without a figure stay last
    }));
  }

  // the map of a large confusion matrix
  const map = byId("map");
  if (map) {
    const { names, cells } = JSON.parse(byId("map-cells").textContent);
    const cursor = map.querySelector(".cursor");
    const at = { truth: 0, predicted: 0 };
    const totals = cells.map((row) => row.reduce((sum, value, place) => sum + (place % 2 ? value : 0), 0));
    const counted = (truth, predicted) => {
      for (let place = 0; place < cells[truth].length; place += 2) {
        if (cells[truth][place] === predicted) return cells[truth][place + 1];
      }
      return 0;
    };
    const show = () => {
      const { truth, predicted } = at;
      const images = counted(truth, predicted);
      const fraction = totals[truth] ? ` (${(100 * images / totals[truth]).toFixed(1)}%)` : "";
      const sign = truth === predicted ? "✓ " : images ? "✗ " : "";
      cursor.setAttribute("x", predicted);
      cursor.setAttribute("y", truth);
      cursor.removeAttribute("hidden");
      byId("cell").textContent =
        `${sign}true: ${names[truth]}, predicted: ${names[predicted]} – ${images} of ${totals[truth]} images${fraction}`;
    };
    const point = (event) => {
      const box = map.getBoundingClientRect();
      const place = (from, length) => Math.min(names.length - 1, Math.max(0, Math.floor(names.length * from / length)));
      at.predicted = place(event.clientX - box.left, box.width);
      at.truth = place(event.clientY - box.top, box.height);
      show();
    };
    map.addEventListener("pointermove", point);
    map.addEventListener("pointerdown", point);
    map.addEventListener("focus", show);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    map.addEventListener("keydown", (event) => {
      const last = names.length - 1;
      if (event.key in moves) {
        const step = event.shiftKey ? 10 : 1;
        const [down, across] = moves[event.key];
        at.truth = Math.min(last, Math.max(0, at.truth + step * down));
        at.predicted = Math.min(last, Math.max(0, at.predicted + step * across));
      } else if (event.key === "Home") {
        at.predicted = at.truth;
      } else if (event.key === "Enter" && tiles.some(({ dataset: { t, p } }) => +t === at.truth && +p === at.predicted)) {
        select(String(at.truth), String(at.predicted));
      } else {
        return;
      }
      event.preventDefault();
      show();
    });
    map.setAttribute("role", "application");
    map.setAttribute("tabindex", "0");
    byId("map-help").hidden = false;
  }
})();
