"""A reliability diagram becomes points in a drawing, a fine-tuning's history the curves of matplotlib as SVG."""

import io
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tl.evaluation.intervals import proportion
from tl.learning.calibration import BINS, bins_of
from tl.views.figures import RULE, colour_code
from tl.views.history import History
from tl.views.pages.report.predictions import Answers
from tl.views.pictures import curves as plots
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.report.wording import count, percent, percents
from tl.views.tile import INK, QUIET

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
        figure: Any = plots.figure(history)
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
