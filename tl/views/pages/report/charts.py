"""A reliability diagram becomes points in a drawing, a fine-tuning's history the curves of matplotlib as SVG."""

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.metrics import proportion
from tl.learning.calibration import BINS, bins_of
from tl.views.pages.report.predictions import Answers
from tl.views.pages.report.scores import brief, count, percent, percents
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.charts import RULE, colour_code, learning_curves
from tl.views.pictures.grid import INK, QUIET
from tl.views.terminal.runs import History

# of the drawing, in its own units
LEFT, TOP, WIDTH, HEIGHT = 46.0, 10.0, 264.0, 200.0
STRIP = 34.0  # below, how many photos a bin has
GEOMETRY = {"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT, "strip": STRIP}
_PANEL = (4.6, 3.0)  # inches of a curve's drawing; on a telephone as wide as the screen
_ROOM = (0.125, 0.15, 0.86, 0.68)  # of it for what stands between the numbers


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram, in the units of the drawing, and in words."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    left: float
    width: float
    height: float
    range: str
    photos: int
    confidence: str
    accuracy: str
    interval: str


@dataclass(frozen=True)
class Diagram:
    """A reliability diagram: what it shows, its error in words, its bins that have photos."""

    name: str
    title: str
    said: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Curve:
    """A drawing of matplotlib as SVG in the colours of the page, and what it shows in words."""

    title: str
    svg: str


def diagram(name: str, title: str, given: Mapping[str, Any]) -> Diagram:
    """A diagram as metrics.json holds it."""
    counts = [int(number) for number in given["counts"]]
    edges = [float(edge) for edge in given["edges"]]
    if len(edges) != len(counts) + 1:
        raise ValueError("a reliability diagram has other edges than bins")
    columns = zip(itertools.pairwise(edges), counts, given["confidence"], given["accuracy"], strict=True)
    most = max([1, *counts])
    bins = tuple(_bin(ends, photos, float(sure), float(right), most) for ends, photos, sure, right in columns if photos)
    error = given.get("error")
    said = f"calibration error {percent(None if error is None else float(error))}, {count(sum(counts), 'photo')}"
    return Diagram(name, title, said, bins)


def counted(answers: Answers) -> dict[str, Any]:
    """The reliability diagram of the answers, for runs whose metrics.json has none."""
    place = bins_of(answers.confidence)
    photos = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, values, BINS) for values in (answers.confidence, answers.right.astype(np.float64))]
    sure, right = (np.divide(values, photos, out=np.zeros(BINS), where=photos > 0) for values in sums)
    error = float(np.sum(np.abs(sure - right) * photos) / photos.sum()) if photos.sum() else None
    edges = (np.arange(BINS + 1) / BINS).tolist()
    return {
        "error": error,
        "edges": edges,
        "counts": photos.tolist(),
        "confidence": sure.tolist(),
        "accuracy": right.tolist(),
    }


def curves(history: History) -> list[Curve]:
    """The panels of the learning curves, each a drawing of its own so that they stand below one another."""
    import matplotlib as mpl

    # real text, in the letters of the page; the salt makes the same run the same page
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tl"}):
        figure: Any = learning_curves(history)
        for line in list(figure.texts):  # the page says them itself
            line.remove()
        figure.set_size_inches(*_PANEL)
        figure.set_layout_engine("none")
        return [_curve(figure, at) for at in range(len(figure.axes))]


def _bin(ends: tuple[float, float], photos: int, sure: float, right: float, most: int) -> Bin:
    found = proportion(round(right * photos), photos)
    return Bin(
        x=_across(sure),
        y=_down(right),
        low=_down(found.low),
        high=_down(found.high),
        radius=4.5,
        left=_across(ends[0]) + 1,
        width=WIDTH * (ends[1] - ends[0]) - 2,
        height=max(1.0, (STRIP - 4) * photos / most),
        range=percents(ends),
        photos=photos,
        confidence=percent(sure),
        accuracy=percent(right),
        interval=percents((found.low, found.high)),
    )


def _across(share: float) -> float:
    return LEFT + WIDTH * min(max(share, 0.0), 1.0)


def _down(share: float) -> float:
    return TOP + HEIGHT * (1 - min(max(share, 0.0), 1.0))


def _curve(figure: Any, at: int) -> Curve:
    """One panel of the house's figure, alone."""
    for place, other in enumerate(figure.axes):
        other.set_visible(place == at)
    axes = figure.axes[at]
    axes.set_position(_ROOM)
    title = str(axes.get_title(loc="left"))
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Curve(title, _inline(written.getvalue(), f"curve-{at}"))


def _inline(svg: str, name: str) -> str:
    """The drawing as part of a page: its colours the page's, its names its own, styles as attributes.

    A strict policy lets no `style` pass, and the page's own colours change with light and dark.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    svg = re.sub(r' style="([^"]*)"', lambda found: "".join(_attributes(found[1])), svg)
    for colour, variable in ((INK, "ink"), (QUIET, "quiet"), (RULE, "rule"), (OWN, "own"), (OTHER, "other")):
        svg = svg.replace(f'"{colour_code(colour)}"', f'"var(--{variable})"')
    head = f'<svg class="plot" role="img" aria-labelledby="{name}-name" viewBox='
    return re.sub(r"^<svg [^>]*?viewBox=", head, svg, count=1)


def _attributes(style: str) -> Iterator[str]:
    for part in style.split(";"):
        key, _, value = (word.strip() for word in part.partition(":"))
        if key == "font":  # weight, size and families in one; the families are the page's
            size = re.search(r"([\d.]+)px", value)
            yield f' font-size="{size[1]}"' if size else ""
        elif key and key != "font-family":
            yield f' {key}="{value}"'


MOST_IN_TABLE = 20  # classes whose counts can be read as a table
MOST_IN_MAP = 250  # classes whose squares can be seen
LEVELS = 8  # of colour

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """A count with its colour: `level` 0 (none) to LEVELS, and its share of the row."""

    count: int
    level: int
    kind: str
    said: str


@dataclass(frozen=True)
class Row:
    """The photos of one true class."""

    name: str
    total: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Layer:
    """All squares of one colour as one path, in a drawing in which a class is a unit wide."""

    kind: str
    level: int
    path: str


def table(counts: Counts, classes: Sequence[str]) -> list[Row]:
    """Rows of the classes that have photos or answers: columns are all classes."""
    shares, levels = _shares(counts), _levels(counts)
    rows = []
    for truth, row in enumerate(counts.tolist()):
        cells = []
        for answer, number in enumerate(row):
            said = f"{count(number, 'photo')} of {brief(classes[truth])} answered {brief(classes[answer])}"
            said += f", {percent(shares[truth, answer])} of the class" if sum(row) else ""
            cells.append(Cell(number, int(levels[truth, answer]), "right" if truth == answer else "wrong", said))
        rows.append(Row(brief(classes[truth]), sum(row), tuple(cells)))
    return rows


def layers(counts: Counts) -> list[Layer]:
    """The map, one path a colour: a hundred classes take some ten kilobytes."""
    levels, diagonal = _levels(counts), np.eye(len(counts), dtype=bool)
    found = []
    for kind, where in (("right", diagonal), ("wrong", ~diagonal)):
        for level in range(1, LEVELS + 1):
            truths, answers = np.nonzero(where & (levels == level))
            squares = zip(truths.tolist(), answers.tolist(), strict=True)
            path = "".join(f"M{answer} {truth}h1v1h-1z" for truth, answer in squares)
            found.append(Layer(kind, level, path))
    return [layer for layer in found if layer.path]


def sparse(counts: Counts) -> list[list[int]]:
    """Row by row the columns and counts that are not zero, one after the other: what the pointer is told."""
    told = []
    for row in counts:
        columns = np.flatnonzero(row)
        told.append(np.stack([columns, row[columns]], axis=1).ravel().tolist())
    return told


def _shares(counts: Counts) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return shares


def _levels(counts: Counts) -> Counts:
    """Colours by share of the row, errors against the largest error, so that a single one is still seen."""
    shares = _shares(counts)
    errors = shares - np.diag(np.diag(shares))
    top = np.where(np.eye(len(counts), dtype=bool), 1.0, max(errors.max(initial=0.0), 0.02))
    levels: Counts = np.ceil(LEVELS * np.sqrt(shares / top)).astype(np.int64)
    return np.where(counts > 0, np.clip(levels, 1, LEVELS), 0)
