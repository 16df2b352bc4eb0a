"""An architecture becomes a drawing: from the image at the top to the classes, skips as arcs, repeats written once.

Each block is a row with its name on the left, the shape of what it gives and its parameters on the right; rows of the
same image size share a band. A long network goes on in further columns, as many as let it print largest on one page.

Parts are laid out from the inside: each knows how far it reaches to the left and the right of its line, how high it is,
and how to draw itself.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tl.errors import StorageError
from tl.views.pictures.model_graph import Architecture, Chain, Item, Junction, Repeat, Step
from tl.views.pictures.svg import Page, shortened, width
from tl.views.terminal.layers import sides

GAP = 14.0  # between what follows each other, room for an arrowhead
_BOX, _PAD, _PARTS_LANE, _FORK, _JOIN = 22.0, 10.0, 14.0, 8.0, 18.0
_SIGNS = {"add": "+", "multiply": "×"}
_ADDING = (*_SIGNS, "scale and add")


@dataclass(frozen=True)
class Part:
    """Drawn by `paint(page, x, y)` around a line at x, from y down; where `open`, no arrowhead ends at its top."""

    left: float
    right: float
    height: float
    paint: Callable[[Page, float, float], None]
    open: bool = False


def parts(items: Chain) -> list[Part]:
    """Blocks that stand for themselves: what branches or repeats has a frame around it, boxes are equally wide."""
    widest = _widest(items)
    return [_framed(_junction(item), 1) if isinstance(item, Junction) else _part(item, widest) for item in items]


def _part(item: Item, widest: float) -> Part:
    if isinstance(item, Step):
        return _step(item, widest)
    if isinstance(item, Junction):
        return _junction(item)
    if len(item.body) == 1 and isinstance(item.body[0], Step):
        return _step(item.body[0], widest, item.times)
    return _framed(_chain(item.body), item.times)


def _widest(items: Chain) -> float:
    alone = [item.body[0] if isinstance(item, Repeat) and len(item.body) == 1 else item for item in items]
    return max((_length(item) for item in alone if isinstance(item, Step)), default=0.0)


def _chain(items: Chain) -> Part:
    widest = _widest(items)
    inner = [_part(item, widest) for item in items]

    def paint(page: Page, x: float, y: float) -> None:
        for at, part in enumerate(inner):
            if at:
                page.wire([(x, y), (x, y + GAP)], head=not part.open)
                y += GAP
            part.paint(page, x, y)
            y += part.height

    height = sum(part.height for part in inner) + GAP * (len(inner) - 1)
    return Part(max(part.left for part in inner), max(part.right for part in inner), height, paint, inner[0].open)


def _step(step: Step, widest: float, times: int = 1) -> Part:
    half = max(widest, 60.0) / 2 + 10
    badge = f"× {times}"
    beside = width(badge, "small") + 22 if times > 1 else 0.0
    before, notes = _notes(step)

    def paint(page: Page, x: float, y: float) -> None:
        middle, start, end = y + _BOX / 2, x - half + 10, x + half - 10
        with page.group("step", ", ".join(step.layers)):
            if times > 1:
                _stack(page, x - half, y, 2 * half, _BOX, 3.0)
            page.box(step.kind, x - half, y, 2 * half, _BOX)
            page.words(start, middle, before, "muted", "start", "small")
            page.words(start + width(before, "small"), middle, step.text, anchor="start")
            page.words(end, middle, notes, "muted", "end", "small")
        if times > 1:
            _badge(page, x + half + beside - 4, middle, badge)

    return Part(half, half + beside, _BOX, paint)


def _notes(step: Step) -> tuple[str, str]:
    return f"{' · '.join(step.before)} →  " if step.before else "", " · ".join(step.notes)


def _length(step: Step) -> float:
    before, notes = _notes(step)
    return width(before, "small") + width(step.text) + (width(notes, "small") + 12 if notes else 0.0)


def _framed(inner: Part, times: int) -> Part:
    height = inner.height + 2 * _PAD
    left, right = inner.left + _PAD, inner.right + _PAD
    badge = f"× {times}"

    def paint(page: Page, x: float, y: float) -> None:
        if times > 1:
            _stack(page, x - left, y, left + right, height, 4.0)
        page.box("frame", x - left, y, left + right, height, 8)
        page.wire([(x, y), (x, y + _PAD)], head=not inner.open)
        inner.paint(page, x, y + _PAD)
        page.wire([(x, y + _PAD + inner.height), (x, y + height)], head=False)
        if times > 1:
            _badge(page, x + right - 8, y, badge)

    return Part(left, right + (4 if times > 1 else 0), height, paint, open=True)


def _stack(page: Page, x: float, y: float, across: float, down: float, shift: float) -> None:
    """The edges of another one behind a box."""
    corner = [(x + across + shift, y + 2 * shift), (x + across + shift, y + down + shift)]
    page.wire([*corner, (x + 2 * shift, y + down + shift)], "frame", head=False)


def _badge(page: Page, right: float, middle: float, text: str) -> None:
    across = width(text, "small") + 12
    page.box("tag", right - across, middle - 8, across, 16, 8)
    page.words(right - across / 2, middle, text, "tagged", size="small")


def _junction(item: Junction) -> Part:
    branches = [branch for branch in item.branches if branch]
    skips = len(branches) < len(item.branches)
    if item.join in _ADDING and len(branches) == 2 and not skips:
        branches.sort(key=len, reverse=True)
        return _beside(item, _chain(branches[0]), _chain(branches[1]))
    if len(branches) == 1:
        return _beside(item, _chain(branches[0]), None)
    return _fan(item, [_chain(branch) for branch in branches], skips)


def _beside(item: Junction, main: Part, other: Part | None) -> Part:
    """A branch on the line and a shortcut on its right, through `other` or, without it, as an arc."""
    join, reach, into = _joint(item, main.left, main.right)
    lane = main.right + _PARTS_LANE + (other.left if other else 0.0)
    top = _FORK + GAP
    level = top + main.height + GAP + _JOIN / 2

    def paint(page: Page, x: float, y: float) -> None:
        page.wire([(x, y), (x, y + top)], head=not main.open)
        main.paint(page, x, y + top)
        page.wire([(x, y + top + main.height), (x, y + level - _JOIN / 2)])
        fork, end = (x, y + _FORK / 2), (x + into, y + level)
        if other is None:
            page.wire([fork, (x + lane, fork[1]), (x + lane, end[1]), end], "skip")
        else:
            above = y + top + (main.height - other.height) / 2
            page.wire([fork, (x + lane, fork[1]), (x + lane, above)], "skip", head=not other.open)
            other.paint(page, x + lane, above)
            page.wire([(x + lane, above + other.height), (x + lane, end[1]), end], "skip")
        join(page, x, y + level)

    right = lane + (other.right if other else 2.0)
    return Part(max(main.left, reach), right, level + _JOIN / 2, paint, open=True)


def _fan(item: Junction, columns: list[Part], skips: bool) -> Part:
    """Branches side by side, brought together by a bar below them."""
    across = sum(column.left + column.right for column in columns) + _PARTS_LANE * (len(columns) - 1)
    places: list[float] = []
    at = -across / 2
    for column in columns:
        places.append(at + column.left)
        at += column.left + column.right + _PARTS_LANE
    join, reach, into = _joint(item, across / 2, across / 2, bar=True)
    top = _FORK + GAP
    level = top + max(column.height for column in columns) + GAP + _JOIN / 2

    def paint(page: Page, x: float, y: float) -> None:
        fork, upper = (x, y + _FORK / 2), y + level - _JOIN / 2
        page.wire([(x, y), fork], head=False)
        for place, column in zip(places, columns, strict=True):
            first = [fork, (x + place, fork[1])] if abs(place) > 1 else [fork]
            page.wire([*first, (x + place, y + top)], head=not column.open)
            column.paint(page, x + place, y + top)
            page.wire([(x + place, y + top + column.height), (x + place, upper)])
        if skips:
            lane = x + across / 2 + _PARTS_LANE
            page.wire([fork, (lane, fork[1]), (lane, y + level), (x + into, y + level)], "skip")
        join(page, x, y + level)

    right = across / 2 + (_PARTS_LANE + 2 if skips else 0.0)
    return Part(max(across / 2, reach), right, level + _JOIN / 2, paint, open=True)


def _joint(
    item: Junction, left: float, right: float, bar: bool = False
) -> tuple[Callable[[Page, float, float], None], float, float]:
    """The sign of a join, how far it reaches to the left, and where on its right a shortcut comes in."""
    notes = " · ".join(item.notes)
    sign = None if bar else _SIGNS.get(item.join)

    def circle(page: Page, x: float, y: float) -> None:
        page.circle("join", x, y, _JOIN / 2)
        page.words(x, y, str(sign))
        page.words(x - _JOIN / 2 - 6, y, notes, "muted", "end", "small")

    def across(page: Page, x: float, y: float) -> None:
        page.box("join", x - left, y - _JOIN / 2, left + right, _JOIN, _JOIN / 2)
        page.words(x + (right - left) / 2, y, " · ".join((item.join, *item.notes)), size="small")

    return (across, left, right) if sign is None else (circle, _JOIN / 2 + 6 + width(notes, "small"), _JOIN / 2)


_MARGIN, _GUTTER, _HEADER, _LEGEND = 24.0, 44.0, 100.0, 44.0
_LONGEST_NAME = 180.0
_LANE = 9.0  # room for a skip over a row; two that overlap take one each
_MOST_COLUMNS = 5
_PAPER = (190.0, 277.0)  # a page of A4 without its margins, in millimetres
_LEGEND_WORDS = {
    "convolution": "convolution",
    "pooling": "pooling",
    "dense": "dense",
    "gate": "squeeze and excitation",
    "cell": "cell: what it holds",
    "other": "other",
}


@dataclass(frozen=True)
class _Row:
    name: str
    shape: tuple[int | None, ...]
    parameters: str
    title: str
    part: Part
    skips: bool


@dataclass(frozen=True)
class _Column:
    """Rows below each other, and the room that the widest of each of their parts takes."""

    rows: tuple[_Row, ...]
    names: float
    left: float
    right: float
    shapes: float
    parameters: float

    @property
    def width(self) -> float:
        return self.names + self.left + self.right + self.shapes + self.parameters

    @property
    def height(self) -> float:
        return sum(row.part.height + GAP for row in self.rows) - GAP


def draw(network: Architecture) -> str:
    """The network as an SVG document, with a title and a description for those who do not see it."""
    fixed = f", of them {network.fixed:,} not trainable" if network.fixed else ""
    last = network.items[-1]
    what = "classes" if isinstance(last, Step) and "softmax" in last.notes else "numbers"
    summary = f"{sides(network.image)} → {sides(last.shape)} {what} · {network.parameters:,} parameters{fixed}"
    told = "; ".join(map(_spoken, network.items))
    page = Page(network.name, f"{network.name}: architecture", f"{summary}. From input to output: {told}.")
    columns = _columns(_rows(network))
    page.words(_MARGIN, _MARGIN + 12, network.name, anchor="start", size="h1")
    page.words(_MARGIN, _MARGIN + 38, summary, "muted", "start")
    x, bottom, banded = _MARGIN, _HEADER + max(column.height for column in columns), False
    for at, column in enumerate(columns):
        banded = _paint(page, column, x, banded)
        if at + 1 < len(columns):
            _lead_on(page, column, columns[at + 1], x)
        x += column.width + _GUTTER
    right = max(x - _GUTTER, _MARGIN + width(summary), _MARGIN + _legend(page, network, bottom + _LEGEND - 4))
    return page.finish(round(right + _MARGIN), round(bottom + _LEGEND + _MARGIN))


def save(drawing: str, target: Path) -> None:
    """Write an SVG document, whole or not at all. Raises StorageError."""
    target = target.resolve()
    scratch = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(drawing, encoding="utf-8")
        os.replace(scratch, target)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise StorageError(f"{target} cannot be written: {error.strerror or error}; give another --svg") from error


def _rows(network: Architecture) -> list[_Row]:
    image = Step("image", "other", (), (), ("the image",), "", network.image, 0)
    items = (image, *network.items)
    return [_row(item, part) for item, part in zip(items, parts(items), strict=True)]


def _row(item: Item, part: Part) -> _Row:
    title = f"{item.name}: {', '.join(item.layers)}" if item.name else ", ".join(item.layers)
    inner = item.body[0] if isinstance(item, Repeat) else item
    skips = isinstance(inner, Step) and inner.reads > 1
    parameters = f"{item.parameters:,}" if item.parameters else ""
    return _Row(shortened(item.name, _LONGEST_NAME, "small"), item.shape, parameters, title, part, skips)


def _spoken(item: Item) -> str:
    if isinstance(item, Step):
        return item.text
    if isinstance(item, Junction):
        branches = [", ".join(map(_spoken, branch)) or "what came in" for branch in item.branches]
        return f"{item.join} of ({') and ('.join(branches)})"
    return f"{item.times} times ({', '.join(map(_spoken, item.body))})"


def _columns(rows: list[_Row]) -> list[_Column]:
    """As many columns as print the network largest, upright or lying."""
    choices = [_split(rows, count) for count in range(1, min(_MOST_COLUMNS, len(rows)) + 1)]

    def scale(columns: list[_Column]) -> float:
        across = sum(column.width + _GUTTER for column in columns) - _GUTTER + 2 * _MARGIN
        down = max(column.height for column in columns) + _HEADER + _LEGEND + _MARGIN
        return max(min(_PAPER[0] / across, _PAPER[1] / down), min(_PAPER[1] / across, _PAPER[0] / down))

    return max(choices, key=scale)


def _split(rows: list[_Row], count: int) -> list[_Column]:
    limit = sum(row.part.height + GAP for row in rows) / count
    while True:
        filled: list[list[_Row]] = [[]]
        room = limit
        for row in rows:
            if filled[-1] and room < row.part.height:
                filled.append([])
                room = limit
            filled[-1].append(row)
            room -= row.part.height + GAP
        if len(filled) <= count:
            return [_column(tuple(part)) for part in filled]
        limit *= 1.02


def _column(rows: tuple[_Row, ...]) -> _Column:
    return _Column(
        rows,
        max(width(row.name, "small") for row in rows) + 12,
        max(row.part.left for row in rows) + (2 * _LANE + 4 if any(row.skips for row in rows) else 0.0),
        max(row.part.right for row in rows) + 18,
        max(*(width(sides(row.shape), "small") for row in rows), width("output", "small")) + 14,
        max(*(width(row.parameters, "small") for row in rows), width("parameters", "small")),
    )


def _paint(page: Page, column: _Column, x: float, banded: bool) -> bool:
    """Draw a column; bands go on from the column before."""
    spine = x + column.names + column.left
    shapes = spine + column.right + column.shapes - 14
    parameters = x + column.width
    _bands(page, column, x, banded)
    page.words(shapes, _HEADER - 18, "output", "muted", "end", "small")
    page.words(parameters, _HEADER - 18, "parameters", "muted", "end", "small")
    tops: list[float] = []
    y = _HEADER
    for at, row in enumerate(column.rows):
        tops.append(y)
        if at:
            page.wire([(spine, y - GAP), (spine, y)], head=not row.part.open)
        middle = y + row.part.height / 2
        with page.group("block", row.title):
            page.words(x + column.names - 12, middle, row.name, "muted", "end", "small")
            row.part.paint(page, spine, y)
            page.words(shapes, middle, sides(row.shape), "ink", "end", "small")
            page.words(parameters, middle, row.parameters, "muted", "end", "small")
        y += row.part.height + GAP
    _skips(page, column, spine, tops)
    return banded ^ (len(list(_stretches(column))) % 2 == 1)


def _skips(page: Page, column: _Column, spine: float, tops: list[float]) -> None:
    """The lines over a row, to those that read also the one before the last."""
    edge = spine - max(row.part.left for row in column.rows)
    for at, row in enumerate(column.rows):
        if row.skips and at > 1:
            above, lane = column.rows[at - 2].part, edge - _LANE * (1 + at % 2)
            out, into = tops[at - 2] + 0.75 * above.height, tops[at] + 0.25 * row.part.height
            page.wire([(spine - above.left, out), (lane, out), (lane, into), (spine - row.part.left, into)], "skip")


def _stretches(column: _Column) -> Iterator[list[_Row]]:
    """Rows whose images have the same size."""
    for _, same in groupby(column.rows, key=lambda row: row.shape[:-1]):
        yield list(same)


def _bands(page: Page, column: _Column, x: float, banded: bool) -> None:
    y = _HEADER - GAP / 2
    for rows in _stretches(column):
        height = sum(row.part.height + GAP for row in rows)
        banded = not banded
        if banded:
            page.box("band", x - 10, y, column.width + 20, height, 6)
        y += height


def _lead_on(page: Page, column: _Column, following: _Column, x: float) -> None:
    """The line from the end of a column to the start of the next."""
    start = (x + column.names + column.left, _HEADER + column.height)
    gutter = x + column.width + _GUTTER / 2
    spine = x + column.width + _GUTTER + following.names + following.left
    down, up = start[1] + GAP + 4, _HEADER - GAP - 4
    points = [start, (start[0], down), (gutter, down), (gutter, up), (spine, up), (spine, _HEADER)]
    page.wire(points, head=not following.rows[0].part.open)


def _legend(page: Page, network: Architecture, y: float) -> float:
    """What the colours mean, for those that are used; gives the width it takes."""
    x = _MARGIN
    used = set(_kinds(network.items))
    for kind, text in _LEGEND_WORDS.items():
        if kind in used:
            page.box(kind, x, y - 6, 18, 12, 3)
            page.words(x + 24, y, text, "muted", "start", "small")
            x += 24 + width(text, "small") + 18
    if "skip" in used:
        page.wire([(x, y), (x + 18, y)], "skip")
        page.words(x + 24, y, "skip connection", "muted", "start", "small")
        x += 24 + width("skip connection", "small") + 18
    return x - 18 - _MARGIN


def _kinds(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Step):
            yield from (item.kind, "skip") if item.reads > 1 else (item.kind,)
        elif isinstance(item, Junction):
            yield from (kind for branch in item.branches for kind in _kinds(branch))
            if () in item.branches or item.join == "add":
                yield "skip"
        else:
            yield from _kinds(item.body)
