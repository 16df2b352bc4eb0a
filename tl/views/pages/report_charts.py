"""The charts of a report: reliability diagrams, accuracy by images, the confusion matrix, and training as SVG."""

import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.metrics import proportion
from tl.evaluation.selective import images_for
from tl.learning.calibration import BINS, Reliability, bins_of
from tl.learning.learning_curve import ROUGH_BELOW, in_words
from tl.runs.folder import History
from tl.text import count, listed, percent
from tl.views.pages.report_scores import PredictionTable, range_text, short_name
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.charts import RULE, colour_code, learning_curves
from tl.views.pictures.grid import INK, QUIET

Drawing = dict[str, Any]
"""What the templates draw, by name."""

# reliability diagrams, in the units of the drawing

LEFT, TOP, WIDTH, HEIGHT = 46.0, 10.0, 264.0, 200.0
STRIP = 34.0  # below, how many images a bin has
GEOMETRY = {"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT, "strip": STRIP}


def reliability_diagram(name: str, title: str, figures: Mapping[str, Any]) -> Drawing:
    """A diagram from its figures in metrics.json: its title, its calibration error as text, its bins with images."""
    counts = [int(number) for number in figures["counts"]]
    edges = [float(edge) for edge in figures["edges"]]
    if len(edges) != len(counts) + 1:
        raise ValueError("a reliability diagram's edges do not match its bins")
    columns = zip(itertools.pairwise(edges), counts, figures["confidence"], figures["accuracy"], strict=True)
    most = max([1, *counts])
    bins = [_bin(ends, images, *map(float, means), most=most) for ends, images, *means in columns if images]
    error = figures.get("error")
    summary = f"calibration error {percent(None if error is None else float(error))}, {count(sum(counts), 'image')}"
    return {"name": name, "title": title, "summary": summary, "bins": bins}


def reliability_of(table: PredictionTable) -> dict[str, Any]:
    """The figures of a diagram from the predictions, for runs whose metrics.json has none."""
    place = bins_of(table.confidence)
    images = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, values, BINS) for values in (table.confidence, table.correct.astype(np.float64))]
    means = [np.divide(values, images, out=np.full(BINS, np.nan), where=images > 0) for values in sums]
    return Reliability(np.arange(BINS + 1) / BINS, images, *means).as_dict()


def _bin(ends: tuple[float, float], images: int, confidence: float, accuracy: float, *, most: int) -> Drawing:
    wilson = proportion(round(accuracy * images), images)
    return {
        "x": _across(confidence),
        "y": _down(accuracy),
        "low": _down(wilson.low),
        "high": _down(wilson.high),
        "radius": 4.5,
        "left": _across(ends[0]) + 1,
        "width": WIDTH * (ends[1] - ends[0]) - 2,
        "height": max(1.0, (STRIP - 4) * images / most),
        "range": range_text(ends),
        "photos": images,
        "confidence": percent(confidence),
        "accuracy": percent(accuracy),
        "interval": range_text((wilson.low, wilson.high)),
    }


def _across(fraction: float) -> float:
    return LEFT + WIDTH * min(max(fraction, 0.0), 1.0)


def _down(fraction: float) -> float:
    return TOP + HEIGHT * (1 - min(max(fraction, 0.0), 1.0))


# answering only when sure

MOST_ERROR = 0.2  # at the right end of the drawing
_IN_TABLE = (0.01, 0.02, 0.05, 0.1)


def selective_curve(figures: Mapping[str, Any]) -> Drawing:
    """The fraction answered for each error bound, as points of a drawing and as rows of a table."""
    points, rows = [], []
    for one in figures["curve"]:
        error, answered = float(one["max_error"]), one["answered"]
        images = percent(None if answered is None else float(answered), 0)
        if answered is not None and 0 < error <= MOST_ERROR:
            name = f"at most {100 * error:g}% wrong: {images} answered"
            points.append({"x": _across(error / MOST_ERROR), "y": _down(float(answered)), "name": name})
        if error in _IN_TABLE:
            threshold = "" if answered is None else f"{100 * float(one['threshold']):.2f}%"
            rows.append((f"{100 * error:g}%", images, threshold, count(images_for(error), "image")))
    line = " ".join(f"{point['x']:.1f},{point['y']:.1f}" for point in points)
    return {"points": points, "line": line, "rows": rows, "count": int(figures["count"]), "most": MOST_ERROR}


# accuracy by the number of images

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 336.0, 12.0, 198.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # between lines of accuracy
_MOST_CLASSES = 5


def growth_chart(curve: Mapping[str, Any]) -> Drawing:
    """Accuracy by the number of images, on a logarithmic axis: `learning_curve` of metrics.json, with its words."""
    rows = [
        (int(row["images"]), float(row["accuracy"]), *map(float, row["accuracy_interval"])) for row in curve["curve"]
    ]
    points = [(int(point["images"]), float(point["accuracy"]), int(point["tested"])) for point in curve["points"]]
    images, first, last = int(curve["images"]), min(rows[0][0], points[0][0]), rows[-1][0]
    least = min([row[2] for row in rows] + [point[1] for point in points])
    step = next((step for step in _STEPS if 1 - least <= 5 * step), _STEPS[-1])
    floor = step * math.floor(least / step)

    def x(number: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * math.log(number / first) / math.log(last / first), 1)

    def y(accuracy: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (accuracy - floor) / (1 - floor), 1)

    def path(ends: Sequence[Sequence[float]]) -> str:
        return "M" + "L".join(f"{x(number)} {y(accuracy)}" for number, accuracy in ends)

    doublings = [images * 2.0**power for power in range(-20, 3) if images * 2.0**power >= 0.98 * first]
    spacing = -(-len(doublings) // 6)
    lines = round((1 - floor) / step)
    band = [(row[0], row[2]) for row in rows] + [(row[0], row[3]) for row in reversed(rows)]
    return {
        **{"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM, "now": x(images), "images": images},
        "x_ticks": [(x(number), f"{number:,.0f}") for number in doublings[::-spacing][::-1]],
        "y_ticks": [(y(1 - step * line), percent(1 - step * line, 0)) for line in range(lines + 1)],
        "band": path(band) + "Z",
        "median": path([row[:2] for row in rows]),
        "points": [_measured(*point) | {"x": x(point[0]), "y": y(point[1])} for point in points],
        **_growth_words(curve),
    }


def _measured(images: int, accuracy: float, tested: int) -> Drawing:
    source = f"measured on {count(tested, 'prediction')}"
    return {"images": images, "accuracy": percent(accuracy), "interval": "", "source": source}


def _growth_words(curve: Mapping[str, Any]) -> Drawing:
    predictions = [
        {
            "images": int(row["images"]),
            "words": in_words(row),
            "accuracy": percent(float(row["accuracy"])),
            "interval": range_text(tuple(row["accuracy_interval"])),
            "source": "predicted",
        }
        for row in curve["predictions"]
    ]
    every = list(curve["per_class"].items())
    classes = [(name, about) for name, about in every if about["gain"] is not None]
    return {
        "twice": predictions[0],
        "four": predictions[1],
        "rough": int(curve["images"]) < ROUGH_BELOW,
        "gain_most": [short_name(str(name)) for name in curve["gain_most"]] if len(classes) > 2 else [],
        "not_known": listed([short_name(name) for name, about in every if about["gain"] is None], 5),
        "classes": [
            {
                "name": short_name(name),
                "now": percent(about["recall"]),
                "gain": f"{100 * about['gain']:.1f}",
                "interval": range_text(tuple(about["gain_interval"])).rstrip("%"),
            }
            for name, about in (classes[:_MOST_CLASSES] if len(classes) > 2 else [])
        ],
    }


# learning curves

_PANEL = (4.6, 3.0)  # inches of a curve's drawing; on a phone it is as wide as the screen
_ROOM = (0.125, 0.15, 0.86, 0.68)  # of it for the axes


def curve_drawings(history: History) -> list[tuple[str, str]]:
    """Title and SVG of each panel of the learning curves, drawn alone, so that they stack on a narrow page."""
    import matplotlib as mpl

    # real text, in the fonts of the page; the salt makes the same run the same page
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tl"}):
        figure: Any = learning_curves(history)
        for line in list(figure.texts):  # the page shows them itself
            line.remove()
        figure.set_size_inches(*_PANEL)
        figure.set_layout_engine("none")
        drawings = []
        for at, axes in enumerate(figure.axes):
            for other in figure.axes:
                other.set_visible(other is axes)
            axes.set_position(_ROOM)
            svg = io.StringIO()
            figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            drawings.append((str(axes.get_title(loc="left")), _inline(svg.getvalue(), f"curve-{at}")))
        return drawings


def _inline(svg: str, name: str) -> str:
    """The drawing as part of a page: colours from the page, unique ids, styles as attributes.

    The page's strict policy allows no `style`, and its own colours change with light and dark.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    svg = re.sub(r' style="([^"]*)"', lambda match: "".join(_attributes(match[1])), svg)
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


# confusion matrix

MOST_IN_TABLE = 20  # classes whose counts can be read as a table
MOST_IN_MAP = 250  # classes whose squares can be seen
LEVELS = 8  # of colour

Counts = NDArray[np.int64]


def matrix_rows(counts: Counts, classes: Sequence[str]) -> list[tuple[str, list[Drawing]]]:
    """The matrix as a table: each true class with its cells; the level of a colour is 0 (none) to `LEVELS`."""
    fractions, levels = _fractions(counts), _levels(counts)
    names = [short_name(name) for name in classes]
    rows = []
    for truth, row in enumerate(counts.tolist()):
        cells = []
        for predicted, number in enumerate(row):
            title = f"{count(number, 'image')} of {names[truth]} predicted as {names[predicted]}"
            title += f", {percent(float(fractions[truth, predicted]))} of the class" if sum(row) else ""
            kind = "right" if truth == predicted else "wrong"
            level = int(levels[truth, predicted])
            cells.append({"count": number, "level": level, "kind": kind, "title": title})
        rows.append((names[truth], cells))
    return rows


def matrix_layers(counts: Counts) -> list[Drawing]:
    """The matrix as a map, all squares of one colour as one path; a class is one unit wide."""
    levels, diagonal = _levels(counts), np.eye(len(counts), dtype=bool)
    layers: list[Drawing] = []
    for kind, where in (("right", diagonal), ("wrong", ~diagonal)):
        for level in range(1, LEVELS + 1):
            squares = np.argwhere(where & (levels == level)).tolist()
            if squares:
                path = "".join(f"M{predicted} {truth}h1v1h-1z" for truth, predicted in squares)
                layers.append({"kind": kind, "level": level, "path": path})
    return layers


def sparse_matrix(counts: Counts) -> list[list[int]]:
    """Row by row the columns and counts that are not zero, one after the other, for the script of the page."""
    return [[value for at in np.flatnonzero(row).tolist() for value in (at, int(row[at]))] for row in counts]


def _fractions(counts: Counts) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True)
    fractions: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return fractions


def _levels(counts: Counts) -> Counts:
    """Colours by fraction of the row, errors relative to the largest error, so that a single one is still visible."""
    fractions = _fractions(counts)
    errors = fractions - np.diag(np.diag(fractions))
    top = np.where(np.eye(len(counts), dtype=bool), 1.0, max(errors.max(initial=0.0), 0.02))
    levels: Counts = np.ceil(LEVELS * np.sqrt(fractions / top)).astype(np.int64)
    return np.where(counts > 0, np.clip(levels, 1, LEVELS), 0)
