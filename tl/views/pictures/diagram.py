"""Draw the architecture of a network as SVG: from the image at the top to the classes, skips as arcs, repeats once.

Each block is a row with its name on the left, its output shape and parameters on the right; rows with the same image
size share a band. A long network continues in further columns, as many as make it largest on one printed page.

The layout goes from the inside out: each part has its extent to the left and right of the line it hangs on, its height,
and a function that draws it.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from tl.text import shorten
from tl.views.pictures.model_graph import Architecture, Chain, Item, Junction, LayerStep, Repeat
from tl.views.terminal.tables import shape_text

_SCOPE = "architecture"  # keeps the styles to this drawing when it is part of a web page
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_NARROW, _WIDE = set("fijlrtI.,:;'|!/()[] ·"), set("mwMWOQ%@→–×")

# class: fill and stroke in light mode, fill and stroke in dark mode
_COLOURS = {
    "page": ("#ffffff", "none", "#14181f", "none"),
    "band": ("#f4f6f9", "none", "#1c222c", "none"),
    "frame": ("none", "#b6c0cd", "none", "#4a5566"),
    "wire": ("none", "#667085", "none", "#9aa4b5"),
    "head": ("#667085", "none", "#9aa4b5", "none"),
    "skip": ("none", "#c2410c", "none", "#fb923c"),
    "skiphead": ("#c2410c", "none", "#fb923c", "none"),
    "ink": ("#1f2933", "none", "#e6e9ef", "none"),
    "muted": ("#5b6577", "none", "#a3adbd", "none"),
    "tag": ("#1f2933", "none", "#e6e9ef", "none"),
    "tagged": ("#ffffff", "none", "#14181f", "none"),
    "convolution": ("#dbe8fd", "#4a7fd6", "#1d3557", "#6c9be8"),
    "pooling": ("#d9f2e1", "#3f9a63", "#17402a", "#5cb981"),
    "dense": ("#fde6d2", "#cf7a2c", "#4a2d14", "#e59a55"),
    "gate": ("#ede2fa", "#9065c9", "#37264e", "#b28ae6"),
    "cell": ("#fbf0c4", "#b98f1c", "#433910", "#d6b14a"),
    "join": ("#ffffff", "#667085", "#14181f", "#9aa4b5"),
    "other": ("#e9edf2", "#8591a3", "#2b323d", "#8591a3"),
}
SIZES = {"h1": 20.0, "label": 12.0, "small": 10.0}


Area = tuple[float, float, float, float]
"""Left, top, width, height."""


class SVGPage:
    """An SVG document being drawn; lengths in pixels, positions from the upper left corner."""

    def __init__(self, name: str, title: str, description: str) -> None:
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "class": _SCOPE})
        self._root.set("aria-labelledby", f"{name}-title {name}-description")
        ET.SubElement(self._root, "title", id=f"{name}-title").text = title
        ET.SubElement(self._root, "desc", id=f"{name}-description").text = description
        ET.SubElement(self._root, "style").text = _style()
        self._page = _place(self._root, "rect", "page")
        self._into = self._root

    def finish(self, width: float, height: float) -> str:
        """The document in this size."""
        self._root.set("viewBox", f"0 0 {width:g} {height:g}")
        for element in (self._root, self._page):
            element.set("width", f"{width:g}")
            element.set("height", f"{height:g}")
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode") + "\n"

    @contextmanager
    def group(self, kind: str, title: str) -> Iterator[None]:
        """Group what is drawn in the block; viewers show the title as a tooltip."""
        outer = self._into
        self._into = ET.SubElement(outer, "g", {"class": kind})
        ET.SubElement(self._into, "title").text = title
        yield
        self._into = outer

    def box(self, kind: str, area: Area, corner: float = 5.0) -> None:
        """A rectangle with round corners."""
        sides = {name: f"{value:g}" for name, value in zip(("x", "y", "width", "height"), area, strict=True)}
        _place(self._into, "rect", kind, **sides, rx=f"{corner:g}")

    def circle(self, kind: str, x: float, y: float, radius: float) -> None:
        """A circle around a point."""
        _place(self._into, "circle", kind, cx=f"{x:g}", cy=f"{y:g}", r=f"{radius:g}")

    def text(
        self, x: float, y: float, line: str, kind: str = "ink", *, anchor: str = "middle", size: str = "label"
    ) -> None:
        """A line of text, centred vertically on `y`; `anchor` says whether `x` is its start, middle or end."""
        if line:
            place = {"x": f"{x:g}", "y": f"{y + 0.35 * SIZES[size]:g}", "text-anchor": anchor}
            ET.SubElement(self._into, "text", {"class": f"{size} {kind}", **place}).text = line

    def line(self, points: Sequence[tuple[float, float]], kind: str = "wire", head: bool = True) -> None:
        """A line through these points with rounded corners, and an arrowhead at its end."""
        path = f"M{points[0][0]:g} {points[0][1]:g}"
        for before, at, after in zip(points, points[1:], points[2:], strict=False):
            start, end = _towards(at, before), _towards(at, after)
            path += f"L{start[0]:g} {start[1]:g}Q{at[0]:g} {at[1]:g} {end[0]:g} {end[1]:g}"
        _place(self._into, "path", kind, d=f"{path}L{points[-1][0]:g} {points[-1][1]:g}")
        if head:
            (x, y), (fx, fy) = points[-1], points[-2]
            along = (x - fx, y - fy)
            length = max(abs(along[0]), abs(along[1])) or 1.0
            dx, dy = 6 * along[0] / length, 6 * along[1] / length
            tip = f"{x:g},{y:g} {x - dx - dy / 2:g},{y - dy + dx / 2:g} {x - dx + dy / 2:g},{y - dy - dx / 2:g}"
            _place(self._into, "polygon", "head" if kind == "wire" else "skiphead", points=tip)


def _place(parent: ET.Element, shape: str, kind: str, **where: str) -> ET.Element:
    return ET.SubElement(parent, shape, {"class": kind, **where})


def width(text: str, size: str = "label") -> float:
    """The width of a line of text in pixels, in the widest of the usual fonts."""
    per_letter = (0.36 if letter in _NARROW else 0.92 if letter in _WIDE else 0.64 for letter in text)
    return sum(per_letter) * SIZES[size]


def _towards(point: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    dx, dy = other[0] - point[0], other[1] - point[1]
    length = abs(dx) + abs(dy)  # lines are horizontal or vertical
    part = min(7.0, length / 2) / length if length else 0.0
    return point[0] + dx * part, point[1] + dy * part


def _style() -> str:
    bold = "font-weight:600"
    rules = {"text": f"font-family:{FONT}", ".h1": bold, ".tagged": bold, ".skip": "stroke-width:1.5px"}
    sizes = {f".{name}": f"font-size:{size:g}px" for name, size in SIZES.items()}
    light = {f".{kind}": f"fill:{fill};stroke:{line}" for kind, (fill, line, _, _) in _COLOURS.items()}
    dark = {f".{kind}": f"fill:{fill};stroke:{line}" for kind, (_, _, fill, line) in _COLOURS.items()}
    return f"{_sheet(rules)}{_sheet(sizes)}{_sheet(light)}@media (prefers-color-scheme:dark){{{_sheet(dark)}}}"


def _sheet(rules: dict[str, str]) -> str:
    return "".join(f".{_SCOPE} {what}{{{rule}}}" for what, rule in rules.items())


GAP = 14.0  # between consecutive parts, room for an arrowhead
_BOX, _PAD, _PARTS_LANE, _FORK, _JOIN = 22.0, 10.0, 14.0, 8.0, 18.0
_SIGNS = {"add": "+", "multiply": "×"}


@dataclass(frozen=True)
class DiagramPart:
    """Drawn by `paint(page, x, y)` around a line at x, from y down; an `open` part has no arrowhead at its top."""

    left: float
    right: float
    height: float
    paint: Callable[[SVGPage, float, float], None]
    open: bool = False


def parts(items: Chain) -> list[DiagramPart]:
    """The parts of the rows of a drawing: branches and repeats have a frame, boxes have the same width."""
    widest = _widest(items)
    return [_framed(_junction(item), 1) if isinstance(item, Junction) else _part(item, widest) for item in items]


def _part(item: Item, widest: float) -> DiagramPart:
    if isinstance(item, LayerStep):
        return _step(item, widest)
    if isinstance(item, Junction):
        return _junction(item)
    if len(item.body) == 1 and isinstance(item.body[0], LayerStep):
        return _step(item.body[0], widest, item.times)
    return _framed(_chain(item.body), item.times)


def _widest(items: Chain) -> float:
    alone = [item.body[0] if isinstance(item, Repeat) and len(item.body) == 1 else item for item in items]
    return max((_length(item) for item in alone if isinstance(item, LayerStep)), default=0.0)


def _chain(items: Chain) -> DiagramPart:
    widest = _widest(items)
    inner = [_part(item, widest) for item in items]

    def paint(page: SVGPage, x: float, y: float) -> None:
        for at, part in enumerate(inner):
            if at:
                page.line([(x, y), (x, y + GAP)], head=not part.open)
                y += GAP
            part.paint(page, x, y)
            y += part.height

    height = sum(part.height for part in inner) + GAP * (len(inner) - 1)
    left, right = max(part.left for part in inner), max(part.right for part in inner)
    return DiagramPart(left, right, height, paint, open=inner[0].open)


def _step(step: LayerStep, widest: float, times: int = 1) -> DiagramPart:
    half = max(widest, 60.0) / 2 + 10
    badge = f"× {times}"
    beside = width(badge, "small") + 22 if times > 1 else 0.0
    before, notes = _notes(step)

    def paint(page: SVGPage, x: float, y: float) -> None:
        middle, start, end = y + _BOX / 2, x - half + 10, x + half - 10
        with page.group("step", ", ".join(step.layers)):
            if times > 1:
                _stack(page, (x - half, y, 2 * half, _BOX), 3.0)
            page.box(step.kind, (x - half, y, 2 * half, _BOX))
            page.text(start, middle, before, "muted", anchor="start", size="small")
            page.text(start + width(before, "small"), middle, step.text, anchor="start")
            page.text(end, middle, notes, "muted", anchor="end", size="small")
        if times > 1:
            _badge(page, x + half + beside - 4, middle, badge)

    return DiagramPart(half, half + beside, _BOX, paint)


def _notes(step: LayerStep) -> tuple[str, str]:
    return f"{' · '.join(step.before)} →  " if step.before else "", " · ".join(step.notes)


def _length(step: LayerStep) -> float:
    before, notes = _notes(step)
    return width(before, "small") + width(step.text) + (width(notes, "small") + 12 if notes else 0.0)


def _framed(inner: DiagramPart, times: int) -> DiagramPart:
    height = inner.height + 2 * _PAD
    left, right = inner.left + _PAD, inner.right + _PAD
    badge = f"× {times}"

    def paint(page: SVGPage, x: float, y: float) -> None:
        if times > 1:
            _stack(page, (x - left, y, left + right, height), 4.0)
        page.box("frame", (x - left, y, left + right, height), 8)
        page.line([(x, y), (x, y + _PAD)], head=not inner.open)
        inner.paint(page, x, y + _PAD)
        page.line([(x, y + _PAD + inner.height), (x, y + height)], head=False)
        if times > 1:
            _badge(page, x + right - 8, y, badge)

    return DiagramPart(left, right + (4 if times > 1 else 0), height, paint, open=True)


def _stack(page: SVGPage, area: Area, shift: float) -> None:
    x, y, across, down = area
    corner = [(x + across + shift, y + 2 * shift), (x + across + shift, y + down + shift)]
    page.line([*corner, (x + 2 * shift, y + down + shift)], "frame", head=False)


def _badge(page: SVGPage, right: float, middle: float, text: str) -> None:
    across = width(text, "small") + 12
    page.box("tag", (right - across, middle - 8, across, 16), 8)
    page.text(right - across / 2, middle, text, "tagged", size="small")


def _junction(item: Junction) -> DiagramPart:
    branches = [branch for branch in item.branches if branch]
    skips = len(branches) < len(item.branches)
    if item.join in (*_SIGNS, "scale and add") and len(branches) == 2 and not skips:
        branches.sort(key=len, reverse=True)
        return _beside(item, _chain(branches[0]), _chain(branches[1]))
    if len(branches) == 1:
        return _beside(item, _chain(branches[0]), None)
    return _fan(item, [_chain(branch) for branch in branches], skips)


def _beside(item: Junction, main: DiagramPart, other: DiagramPart | None) -> DiagramPart:
    """A branch on the line and a shortcut to its right, through `other` or, if None, as an arc."""
    join, reach, into = _joint(item, main.left, main.right)
    lane = main.right + _PARTS_LANE + (other.left if other else 0.0)
    top = _FORK + GAP
    level = top + main.height + GAP + _JOIN / 2

    def paint(page: SVGPage, x: float, y: float) -> None:
        page.line([(x, y), (x, y + top)], head=not main.open)
        main.paint(page, x, y + top)
        page.line([(x, y + top + main.height), (x, y + level - _JOIN / 2)])
        fork, end = (x, y + _FORK / 2), (x + into, y + level)
        if other is None:
            page.line([fork, (x + lane, fork[1]), (x + lane, end[1]), end], "skip")
        else:
            above = y + top + (main.height - other.height) / 2
            page.line([fork, (x + lane, fork[1]), (x + lane, above)], "skip", head=not other.open)
            other.paint(page, x + lane, above)
            page.line([(x + lane, above + other.height), (x + lane, end[1]), end], "skip")
        join(page, x, y + level)

    right = lane + (other.right if other else 2.0)
    return DiagramPart(max(main.left, reach), right, level + _JOIN / 2, paint, open=True)


def _fan(item: Junction, columns: list[DiagramPart], skips: bool) -> DiagramPart:
    """Branches side by side, joined by a bar below them."""
    across = sum(column.left + column.right for column in columns) + _PARTS_LANE * (len(columns) - 1)
    places: list[float] = []
    at = -across / 2
    for column in columns:
        places.append(at + column.left)
        at += column.left + column.right + _PARTS_LANE
    join, reach, into = _joint(item, across / 2, across / 2, bar=True)
    top = _FORK + GAP
    level = top + max(column.height for column in columns) + GAP + _JOIN / 2

    def paint(page: SVGPage, x: float, y: float) -> None:
        fork, upper = (x, y + _FORK / 2), y + level - _JOIN / 2
        page.line([(x, y), fork], head=False)
        for place, column in zip(places, columns, strict=True):
            first = [fork, (x + place, fork[1])] if abs(place) > 1 else [fork]
            page.line([*first, (x + place, y + top)], head=not column.open)
            column.paint(page, x + place, y + top)
            page.line([(x + place, y + top + column.height), (x + place, upper)])
        if skips:
            lane = x + across / 2 + _PARTS_LANE
            page.line([fork, (lane, fork[1]), (lane, y + level), (x + into, y + level)], "skip")
        join(page, x, y + level)

    right = across / 2 + (_PARTS_LANE + 2 if skips else 0.0)
    return DiagramPart(max(across / 2, reach), right, level + _JOIN / 2, paint, open=True)


def _joint(
    item: Junction, left: float, right: float, bar: bool = False
) -> tuple[Callable[[SVGPage, float, float], None], float, float]:
    """The symbol of a join, its extent to the left, and where a shortcut from the right ends."""
    notes = " · ".join(item.notes)
    sign = None if bar else _SIGNS.get(item.join)

    def circle(page: SVGPage, x: float, y: float) -> None:
        page.circle("join", x, y, _JOIN / 2)
        page.text(x, y, str(sign))
        page.text(x - _JOIN / 2 - 6, y, notes, "muted", anchor="end", size="small")

    def across(page: SVGPage, x: float, y: float) -> None:
        page.box("join", (x - left, y - _JOIN / 2, left + right, _JOIN), _JOIN / 2)
        page.text(x + (right - left) / 2, y, " · ".join((item.join, *item.notes)), size="small")

    return (across, left, right) if sign is None else (circle, _JOIN / 2 + 6 + width(notes, "small"), _JOIN / 2)


_MARGIN, _GUTTER, _HEADER, _LEGEND = 24.0, 44.0, 100.0, 44.0
_LANE = 9.0  # room for a skip past a row; two that overlap have one each
_PAPER = (190.0, 277.0)  # A4 without margins, in millimetres
_KINDS = ("convolution", "pooling", "dense", "gate", "cell", "other", "skip")
_KIND_TEXTS = {"gate": "squeeze and excitation", "cell": "cell: its layers", "skip": "skip connection"}


@dataclass(frozen=True)
class _DiagramRow:
    name: str
    shape: tuple[int | None, ...]
    parameters: str
    title: str
    part: DiagramPart
    skips: bool


class _DiagramColumn:
    """Rows below each other, and the widths of its five parts."""

    def __init__(self, rows: list[_DiagramRow]) -> None:
        self.rows = rows
        self.names = max(width(row.name, "small") for row in rows) + 12
        self.left = max(row.part.left for row in rows) + (2 * _LANE + 4 if any(row.skips for row in rows) else 0.0)
        self.right = max(row.part.right for row in rows) + 18
        self.shapes = max(width(text, "small") for text in ("output", *(shape_text(row.shape) for row in rows))) + 14
        self.parameters = max(width(text, "small") for text in ("parameters", *(row.parameters for row in rows)))
        self.width = self.names + self.left + self.right + self.shapes + self.parameters
        self.height = sum(row.part.height + GAP for row in rows) - GAP


def draw(network: Architecture) -> str:
    """The network as an SVG document, with a title and a description for screen readers."""
    fixed = f" ({network.fixed:,} not trainable)" if network.fixed else ""
    last = network.items[-1]
    what = "classes" if isinstance(last, LayerStep) and "softmax" in last.notes else "numbers"
    summary = (
        f"{shape_text(network.image)} → {shape_text(last.shape)} {what} · {network.parameters:,} parameters{fixed}"
    )
    description = "; ".join(map(_describe, network.items))
    page = SVGPage(network.name, f"{network.name}: architecture", f"{summary}. From input to output: {description}.")
    columns = _columns(_rows(network))
    page.text(_MARGIN, _MARGIN + 12, network.name, anchor="start", size="h1")
    page.text(_MARGIN, _MARGIN + 38, summary, "muted", anchor="start")
    x, bottom, banded = _MARGIN, _HEADER + max(column.height for column in columns), False
    for at, column in enumerate(columns):
        banded = _paint(page, column, x, banded)
        if at + 1 < len(columns):
            _connect(page, column, columns[at + 1], x)
        x += column.width + _GUTTER
    right = max(x - _GUTTER, _MARGIN + width(summary), _MARGIN + _legend(page, network, bottom + _LEGEND - 4))
    return page.finish(round(right + _MARGIN), round(bottom + _LEGEND + _MARGIN))


def _rows(network: Architecture) -> list[_DiagramRow]:
    image = LayerStep("image", "other", (), (), layers=("the image",), name="", shape=network.image, parameters=0)
    items = (image, *network.items)
    rows: list[_DiagramRow] = []
    for item, part in zip(items, parts(items), strict=True):
        title = f"{item.name}: {', '.join(item.layers)}" if item.name else ", ".join(item.layers)
        inner = item.body[0] if isinstance(item, Repeat) else item
        skips = isinstance(inner, LayerStep) and inner.reads > 1
        parameters = f"{item.parameters:,}" if item.parameters else ""
        name = shorten(item.name, 180.0, lambda text: width(text, "small"))
        rows.append(_DiagramRow(name, item.shape, parameters, title=title, part=part, skips=skips))
    return rows


def _describe(item: Item) -> str:
    if isinstance(item, LayerStep):
        return item.text
    if isinstance(item, Junction):
        branches = [", ".join(map(_describe, branch)) or "the input" for branch in item.branches]
        return f"{item.join} of ({') and ('.join(branches)})"
    return f"{item.times} times ({', '.join(map(_describe, item.body))})"


def _columns(rows: list[_DiagramRow]) -> list[_DiagramColumn]:
    """As many columns as make the network largest on a page, upright or landscape."""
    choices = [_split(rows, count) for count in range(1, min(5, len(rows)) + 1)]

    def scale(columns: list[_DiagramColumn]) -> float:
        across = sum(column.width + _GUTTER for column in columns) - _GUTTER + 2 * _MARGIN
        down = max(column.height for column in columns) + _HEADER + _LEGEND + _MARGIN
        return max(min(_PAPER[0] / across, _PAPER[1] / down), min(_PAPER[1] / across, _PAPER[0] / down))

    return max(choices, key=scale)


def _split(rows: list[_DiagramRow], count: int) -> list[_DiagramColumn]:
    limit = sum(row.part.height + GAP for row in rows) / count
    while True:
        filled: list[list[_DiagramRow]] = [[]]
        room = limit
        for row in rows:
            if filled[-1] and room < row.part.height:
                filled.append([])
                room = limit
            filled[-1].append(row)
            room -= row.part.height + GAP
        if len(filled) <= count:
            return [_DiagramColumn(part) for part in filled]
        limit *= 1.02


def _paint(page: SVGPage, column: _DiagramColumn, x: float, banded: bool) -> bool:
    """Draw a column; returns whether the next one starts in a band."""
    spine = x + column.names + column.left
    shapes = spine + column.right + column.shapes - 14
    parameters = x + column.width
    banded = _bands(page, column, x, banded)
    page.text(shapes, _HEADER - 18, "output", "muted", anchor="end", size="small")
    page.text(parameters, _HEADER - 18, "parameters", "muted", anchor="end", size="small")
    tops: list[float] = []
    y = _HEADER
    for at, row in enumerate(column.rows):
        tops.append(y)
        if at:
            page.line([(spine, y - GAP), (spine, y)], head=not row.part.open)
        middle = y + row.part.height / 2
        with page.group("block", row.title):
            page.text(x + column.names - 12, middle, row.name, "muted", anchor="end", size="small")
            row.part.paint(page, spine, y)
            page.text(shapes, middle, shape_text(row.shape), "ink", anchor="end", size="small")
            page.text(parameters, middle, row.parameters, "muted", anchor="end", size="small")
        y += row.part.height + GAP
    _skips(page, column, spine, tops)
    return banded


def _skips(page: SVGPage, column: _DiagramColumn, spine: float, tops: list[float]) -> None:
    edge = spine - max(row.part.left for row in column.rows)
    for at, row in enumerate(column.rows):
        if row.skips and at > 1:
            above, lane = column.rows[at - 2].part, edge - _LANE * (1 + at % 2)
            out, into = tops[at - 2] + 0.75 * above.height, tops[at] + 0.25 * row.part.height
            page.line([(spine - above.left, out), (lane, out), (lane, into), (spine - row.part.left, into)], "skip")


def _bands(page: SVGPage, column: _DiagramColumn, x: float, banded: bool) -> bool:
    """Put a band behind every second group of rows with the same image size; returns whether the last one has one."""
    y = _HEADER - GAP / 2
    for _, rows in groupby(column.rows, key=lambda row: row.shape[:-1]):
        height = sum(row.part.height + GAP for row in rows)
        banded = not banded
        if banded:
            page.box("band", (x - 10, y, column.width + 20, height), 6)
        y += height
    return banded


def _connect(page: SVGPage, column: _DiagramColumn, following: _DiagramColumn, x: float) -> None:
    start = (x + column.names + column.left, _HEADER + column.height)
    gutter = x + column.width + _GUTTER / 2
    spine = x + column.width + _GUTTER + following.names + following.left
    down, up = start[1] + GAP + 4, _HEADER - GAP - 4
    points = [start, (start[0], down), (gutter, down), (gutter, up), (spine, up), (spine, _HEADER)]
    page.line(points, head=not following.rows[0].part.open)


def _legend(page: SVGPage, network: Architecture, y: float) -> float:
    """Explain the colours that are used; returns the width of the legend."""
    x = _MARGIN
    used = set(_kinds(network.items))
    for kind in (kind for kind in _KINDS if kind in used):
        if kind == "skip":
            page.line([(x, y), (x + 18, y)], "skip")
        else:
            page.box(kind, (x, y - 6, 18, 12), 3)
        text = _KIND_TEXTS.get(kind, kind)
        page.text(x + 24, y, text, "muted", anchor="start", size="small")
        x += 24 + width(text, "small") + 18
    return x - 18 - _MARGIN


def _kinds(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, LayerStep):
            yield from (item.kind, "skip") if item.reads > 1 else (item.kind,)
        elif isinstance(item, Junction):
            yield from (kind for branch in item.branches for kind in _kinds(branch))
            if () in item.branches or item.join == "add":
                yield "skip"
        else:
            yield from _kinds(item.body)
