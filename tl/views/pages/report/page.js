"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filter");
  const field = (name) => form.elements[name];

  // the photos that a reader asks for
  const tiles = [...document.querySelectorAll("#tiles > li")];
  const AT_ONCE = 60; // so that a telephone has not to draw hundreds
  const more = byId("more");
  let limit = AT_ONCE;
  function filter() {
    const [from, to] = [Number(field("from").value), Number(field("to").value)].sort((a, b) => a - b);
    byId("from-said").textContent = `${field("from").value}\u00a0%`;
    byId("to-said").textContent = `${field("to").value}\u00a0%`;
    const [truth, answer, verdict] = ["truth", "answer", "verdict"].map((name) => field(name).value);
    let found = 0;
    for (const tile of tiles) {
      const { t, a, v, u, c } = tile.dataset;
      const asked = (!truth || t === truth) && (!answer || a === answer) && Number(c) >= from && Number(c) <= to &&
        (!verdict || v === verdict || (verdict === "unknown" && u === "1"));
      found += asked;
      tile.hidden = !asked || found > limit;
    }
    more.hidden = found <= limit;
    more.textContent = `Show ${Math.min(AT_ONCE, found - limit)} more`;
    const first = found > limit ? `, the first ${limit} shown` : "";
    byId("found").textContent = found
      ? `${found} of ${tiles.length} photos${first}` : "No photo on this page is like that.";
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
  function ask(truth, answer) {
    field("verdict").value = "";
    field("from").value = 0;
    field("to").value = 100;
    field("truth").value = truth;
    field("answer").value = answer;
    again();
    byId("photos").scrollIntoView();
    field("truth").focus({ preventScroll: true });
  }
  for (const button of document.querySelectorAll("button[data-truth]")) {
    const there = ({ dataset: { t, a } }) => t === button.dataset.truth && a === button.dataset.answer;
    button.hidden = !tiles.some(there);
    button.addEventListener("click", () => ask(button.dataset.truth, button.dataset.answer));
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
    const at = { truth: 0, answer: 0 };
    const totals = cells.map((row) => row.reduce((sum, value, place) => sum + (place % 2 ? value : 0), 0));
    const counted = (truth, answer) => {
      for (let place = 0; place < cells[truth].length; place += 2) {
        if (cells[truth][place] === answer) return cells[truth][place + 1];
      }
      return 0;
    };
    const show = () => {
      const { truth, answer } = at;
      const photos = counted(truth, answer);
      const share = totals[truth] ? ` (${(100 * photos / totals[truth]).toFixed(1)}\u00a0%)` : "";
      const sign = truth === answer ? "✓ " : photos ? "✗ " : "";
      cursor.setAttribute("x", answer);
      cursor.setAttribute("y", truth);
      cursor.removeAttribute("hidden");
      byId("cell").textContent =
        `${sign}true: ${names[truth]}, answered: ${names[answer]} – ${photos} of ${totals[truth]} photos${share}`;
    };
    const point = (event) => {
      const box = map.getBoundingClientRect();
      const place = (from, length) => Math.min(names.length - 1, Math.max(0, Math.floor(names.length * from / length)));
      at.answer = place(event.clientX - box.left, box.width);
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
        at.answer = Math.min(last, Math.max(0, at.answer + step * across));
      } else if (event.key === "Home") {
        at.answer = at.truth;
      } else if (event.key === "Enter" && tiles.some(({ dataset: { t, a } }) => +t === at.truth && +a === at.answer)) {
        ask(String(at.truth), String(at.answer));
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
