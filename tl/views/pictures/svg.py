"""Draw boxes, lines and text into an SVG page that is legible in light and dark mode and in print."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
        self._page = self._place(self._root, "rect", "page")
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
        self._place(self._into, "rect", kind, **sides, rx=f"{corner:g}")

    def circle(self, kind: str, x: float, y: float, radius: float) -> None:
        """A circle around a point."""
        self._place(self._into, "circle", kind, cx=f"{x:g}", cy=f"{y:g}", r=f"{radius:g}")

    def text(
        self, x: float, y: float, line: str, kind: str = "ink", *, anchor: str = "middle", size: str = "label"
    ) -> None:
        """A line of text, centred vertically on `y`; `anchor` says whether `x` is its start, middle or end."""
        if line:
            place = {"x": f"{x:g}", "y": f"{y + 0.35 * SIZES[size]:g}", "text-anchor": anchor}
            ET.SubElement(self._into, "text", {"class": f"{size} {kind}", **place}).text = line

    def line(self, points: Sequence[tuple[float, float]], kind: str = "wire", head: bool = True) -> None:
        """A line through these points with rounded corners, and an arrowhead at its end."""
        self._place(self._into, "path", kind, d=_rounded(points))
        if head:
            (x, y), (fx, fy) = points[-1], points[-2]
            along = (x - fx, y - fy)
            length = max(abs(along[0]), abs(along[1])) or 1.0
            dx, dy = 6 * along[0] / length, 6 * along[1] / length
            tip = f"{x:g},{y:g} {x - dx - dy / 2:g},{y - dy + dx / 2:g} {x - dx + dy / 2:g},{y - dy - dx / 2:g}"
            self._place(self._into, "polygon", "head" if kind == "wire" else "skiphead", points=tip)

    def _place(self, parent: ET.Element, shape: str, kind: str, **where: str) -> ET.Element:
        return ET.SubElement(parent, shape, {"class": kind, **where})


def width(text: str, size: str = "label") -> float:
    """The width of a line of text in pixels, in the widest of the usual fonts."""
    per_letter = (0.36 if letter in _NARROW else 0.92 if letter in _WIDE else 0.64 for letter in text)
    return sum(per_letter) * SIZES[size]


def shorten_to(text: str, room: float, size: str = "label") -> str:
    """The text, without its middle if it is wider than `room` pixels."""
    kept = len(text)
    while kept > 2 and width(text, size) > room:
        kept -= 1
        text = text[: kept // 2] + "…" + text[len(text) - (kept - kept // 2) + 1 :]
    return text


def _rounded(points: Sequence[tuple[float, float]]) -> str:
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(at, before), _towards(at, after)
        path += f"L{start[0]:g} {start[1]:g}Q{at[0]:g} {at[1]:g} {end[0]:g} {end[1]:g}"
    return f"{path}L{points[-1][0]:g} {points[-1][1]:g}"


def _towards(point: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    dx, dy = other[0] - point[0], other[1] - point[1]
    length = abs(dx) + abs(dy)  # lines are horizontal or vertical
    part = min(7.0, length / 2) / length if length else 0.0
    return point[0] + dx * part, point[1] + dy * part


def _style() -> str:
    rules = {
        "text": f"font-family:{FONT}",
        ".h1": "font-weight:600",
        ".tagged": "font-weight:600",
        ".skip": "stroke-width:1.5px",
    }
    sizes = {f".{name}": f"font-size:{size:g}px" for name, size in SIZES.items()}
    light = {f".{kind}": f"fill:{fill};stroke:{line}" for kind, (fill, line, _, _) in _COLOURS.items()}
    dark = {f".{kind}": f"fill:{fill};stroke:{line}" for kind, (_, _, fill, line) in _COLOURS.items()}
    return f"{_sheet(rules)}{_sheet(sizes)}{_sheet(light)}@media (prefers-color-scheme:dark){{{_sheet(dark)}}}"


def _sheet(rules: dict[str, str]) -> str:
    return "".join(f".{_SCOPE} {what}{{{rule}}}" for what, rule in rules.items())
