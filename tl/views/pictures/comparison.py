"""Draw a comparison of networks: their predictions for the same images as a grid, and their accuracies as a chart.

Images on which the networks disagree say most about them. Among these, each pattern of who is correct comes once before
any comes again: many images that only the best classifies correctly would hide the one that only the worst does.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import TLError
from tl.runs.network_comparison import ComparedImage, ComparedNetwork, ComparedPrediction, Comparison
from tl.text import count, one_line, percent
from tl.views.pictures import charts, grid, text
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.text import lettering
from tl.views.terminal.evaluation import HEADINGS, TESTS, NetworkRow, doubt, not_learned_note, rows, subject, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw


ReadImage = Callable[[str], NDArray[np.uint8]]

# pixels
LARGE, LETTER, SMALL = 24, 16, 13  # letters
LINE, SMALL_LINE = 23, 19
MARGIN, GAP, PAD = 18, 10, 9
SIDE = 128  # of an image
TRUTH = 176  # room for the true label beside it
CELL = (128, 190)  # width of a prediction, at least and at most
BAR = 5  # height of the bar that shows the confidence
FIRST = SIDE + TRUTH


@dataclass(frozen=True)
class ImageSection:
    """Images with something in common, of `count` such images in all."""

    title: str
    count: int
    images: tuple[ComparedImage, ...]


def comparison_grid(comparison: Comparison, read: ReadImage, rows: int = 8) -> "Image":
    """Draw every network's prediction for the same images: where they disagree, then all wrong and all correct.

    `read` gives the image of a path as RGB uint8 [height, width, 3]; one for which it raises a TLError is drawn as
    missing. The same comparison gives the same picture.
    """
    sections, networks = choose(comparison.photos, rows), comparison.ranked
    labels = {answer.label for section in sections for image in section.images for answer in image.answers}
    needed = [text.width(one_line(entry.name), LETTER) + PAD for entry in networks]
    needed += [text.width(text.clean(label), LETTER) + LETTER * 1.4 + 2 * PAD for label in labels]
    cell = round(min(max(CELL[0], *needed, 0), CELL[1]))
    width = max(2 * MARGIN + FIRST + len(networks) * (cell + GAP), 640)
    header = _grid_header(comparison, width, cell)
    body = sum(LINE + 2 * GAP + len(section.images) * (SIDE + GAP) for section in sections)
    top = header.height
    page, canvas = grid.new_page(width, top + (body or 2 * LINE) + MARGIN, header=header)
    if not sections:
        text.write(canvas, MARGIN, top + LINE, "no images to show", size=LETTER, colour=grid.QUIET)
    for section in sections:
        title = f"{section.title}: {section.count:,} of {count(comparison.count, 'image')}"
        if section.count > len(section.images):
            title += f", {len(section.images):,} shown"
        title = text.shorten(title, LETTER, width - 2 * MARGIN)
        text.write(canvas, MARGIN, top + GAP + LINE * 0.75, title, size=LETTER, colour=grid.QUIET)
        top += LINE + 2 * GAP
        for image in section.images:
            _draw_image(page, canvas, top, image=image, read=read)
            for at, (answer, correct) in enumerate(zip(image.answers, image.correct, strict=True)):
                page.paste(_card(answer, correct, cell), (_left(at, cell), top))
            top += SIDE + GAP
    return page


def choose(images: Sequence[ComparedImage], rows: int) -> list[ImageSection]:
    """The images to show, at most `rows`: three quarters where networks disagree, the rest all wrong and all correct.

    Where one kind has too few images, the others fill in. The order of `images` decides nothing.
    """
    disagreed, wrong, correct = kinds = _disagreed(images), _agreed(images, False), _agreed(images, True)
    few = max(rows // 8, int(rows > 2))
    first = min(len(disagreed), rows - min(few, len(wrong)) - min(few, len(correct)))
    rest = rows - first
    second = min(len(wrong), max((rest + 1) // 2, rest - len(correct)))
    counts = first, second, min(len(correct), rest - second)
    several = any(len(image.answers) > 1 for image in images)
    titles = ("Some networks correct, some wrong", "All wrong", "All correct") if several else ("", "Wrong", "Correct")
    sections = zip(titles, kinds, counts, strict=True)
    return [ImageSection(title, len(kind), tuple(kind[:most])) for title, kind, most in sections if most]


def _disagreed(images: Sequence[ComparedImage]) -> list[ComparedImage]:
    """Images that some classify correctly; each pattern of who does once before any comes again, even ones first."""
    chosen = [image for image in images if len(set(image.correct)) == 2]
    chosen.sort(key=lambda image: (image.correct, *_order(image)))
    placed = [(place, image) for _, same in groupby(chosen, attrgetter("correct")) for place, image in enumerate(same)]
    placed.sort(key=lambda item: (item[0], abs(2 * sum(item[1].correct) - len(item[1].answers)), *_order(item[1])))
    return [image for _, image in placed]


def _agreed(images: Sequence[ComparedImage], correct: bool) -> list[ComparedImage]:
    return sorted((image for image in images if image.answers and set(image.correct) == {correct}), key=_order)


def _order(image: ComparedImage) -> tuple[int, float, str]:
    """More labels first, then more confident networks: a confident mistake teaches more than a doubtful one."""
    certain = sum(answer.confidence for answer in image.answers if math.isfinite(answer.confidence))
    return -len({answer.label for answer in image.answers}), -round(certain, 6), image.path


def _grid_header(comparison: Comparison, width: int, cell: int) -> "Image":
    room = float(width - 2 * MARGIN)
    names = [text.wrap(one_line(entry.name), LETTER, (cell - PAD, cell - PAD)) for entry in comparison.ranked]
    lines = max(map(len, names), default=1)
    notes = 1 + any(doubt(entry) for entry in comparison.ranked)
    top = MARGIN + 2 * LARGE + LINE + GAP
    header, canvas = grid.new_page(width, top + lines * LINE + notes * SMALL_LINE + GAP)
    title = f"What each network predicts for {subject(comparison)}"
    text.write(canvas, MARGIN, MARGIN + LARGE, text.shorten(title, LARGE, room), size=LARGE, colour=grid.INK)
    _write_grid_legend(header, canvas, MARGIN + LARGE + LINE + GAP)
    text.write(canvas, MARGIN, top + LINE * 0.8, "image, true label", size=LETTER, colour=grid.QUIET)
    for at, (entry, name) in enumerate(zip(comparison.ranked, names, strict=True)):
        _write_network(canvas, _left(at, cell), top, entry=entry, name=name)
    canvas.line((MARGIN, header.height - 1, width - MARGIN, header.height - 1), fill=grid.MOUNT, width=2)
    return header


def _write_grid_legend(header: "Image", canvas: "ImageDraw", baseline: int) -> None:
    x: float = MARGIN
    for verdict in ("correct", "wrong"):
        colour = grid.COLOURS[verdict]
        grid.draw_sign(header, verdict, round(x), round(baseline - LETTER * 0.87), size=LETTER, colour=colour)
        end = text.write(canvas, x + LETTER * 1.35, baseline, grid.LEGEND[verdict], size=LETTER, colour=colour)
        x = end + 2 * GAP
    canvas.rectangle((x, baseline - 8, x + 40, baseline - 8 + BAR - 1), fill=grid.QUIET)
    text.write(canvas, x + 40 + PAD, baseline, "confidence", size=LETTER, colour=grid.QUIET)


def _write_network(canvas: "ImageDraw", left: int, top: int, entry: ComparedNetwork, name: Sequence[str]) -> None:
    text.write_lines(canvas, left, top + LINE * 0.8, name, size=LETTER, colour=grid.INK, step=LINE)
    top += LINE * len(name)
    accuracy = f"{percent(entry.top1.value)} {entry.weights}"
    text.write(canvas, left, top + SMALL_LINE * 0.7, accuracy, size=SMALL, colour=grid.QUIET)
    text.write(canvas, left, top + SMALL_LINE * 1.65, doubt(entry), size=SMALL, colour=grid.COLOURS["wrong"])


def _left(column: int, cell: int) -> int:
    return MARGIN + FIRST + GAP + column * (cell + GAP)


def _draw_image(page: "Image", canvas: "ImageDraw", top: int, image: ComparedImage, read: ReadImage) -> None:
    pixels = None
    with suppress(TLError):
        pixels = read(image.path)
    grid.paste_image(page, pixels, MARGIN, top, side=SIDE)
    left, room = MARGIN + SIDE + PAD, float(TRUTH - PAD)
    lines = text.wrap(image.truth, LETTER, (room,) * 4)
    text.write_lines(canvas, left, top + LINE * 0.8, lines, size=LETTER, colour=grid.INK, step=LINE)
    name = text.shorten(image.path, SMALL, room)
    text.write(canvas, left, top + SIDE - SMALL * 0.4, name, size=SMALL, colour=grid.QUIET)


def _card(answer: ComparedPrediction, correct: bool, width: int) -> "Image":
    verdict = "correct" if correct else "wrong"
    colour = grid.COLOURS[verdict]
    card, canvas = grid.new_page(width, SIDE, colour=grid.TINTS[verdict])
    grid.draw_sign(card, verdict, PAD, PAD + 1, size=LETTER, colour=colour)
    sign, room = LETTER * 1.4, float(width - 2 * PAD)
    baseline = PAD + LETTER * 0.9
    for number, line in enumerate(text.wrap(answer.label, LETTER, (room - sign, room, room))):
        text.write(canvas, PAD + (0 if number else sign), baseline, line, size=LETTER, colour=colour)
        baseline += LINE
    text.write(canvas, PAD, SIDE - BAR - PAD, grid.confidence_text(answer.confidence), size=LETTER, colour=colour)
    long = round(width * min(max(answer.confidence, 0.0), 1.0)) if math.isfinite(answer.confidence) else 0
    if long:
        canvas.rectangle((0, SIDE - BAR, long - 1, SIDE - 1), fill=colour)
    return card


# the chart, in inches

ROW, HEADER, SCALE, FOOTER = 0.4, 1.75, 0.42, 0.1  # heights; the scale is the numbers below the points
NAMES, LEFT, RIGHT = 1.85, 2.15, 5.3  # room of the names, and where the points are drawn
ENDS = (5.8, 6.57, 7.14, 7.67, 8.29, 8.89, charts.WIDTH - charts.MARGIN)  # where the columns of figures end
NARROWEST = 10.0  # percent shown at least, or chance would look like a difference
KINDS = {False: ("pretrained weights", OWN, "o"), True: ("random weights", OTHER, "s")}


def chart(comparison: Comparison) -> "Figure":
    """The chart as a figure of matplotlib: points and their 95% intervals, a row of figures beside each."""
    cells = rows(comparison)
    ranked = len(comparison.ranked)
    end = HEADER + ROW * ranked
    height = end + SCALE + ROW * (len(cells) - ranked) + FOOTER
    page = charts.blank_figure(height)
    _write_chart_header(page, comparison)
    axes = page.add_axes((LEFT / charts.WIDTH, 1 - end / height, (RIGHT - LEFT) / charts.WIDTH, ROW * ranked / height))
    _frame(axes, comparison)
    for at, (entry, row) in enumerate(zip(comparison.ranked, cells[:ranked], strict=True)):
        base = _write_name(page, HEADER + ROW * (at + 0.5), row, doubt(entry))
        for x, figure in zip(ENDS, row.figures, strict=True):
            charts.write(page, x, base, figure, points=charts.SMALL + 0.5, colour=grid.INK, align="right")
        marker, top1 = _marker(entry.scratch), entry.top1
        style = {"clip_on": False, "zorder": 3, "color": marker["color"]}
        axes.plot([100 * top1.low, 100 * top1.high], [at, at], linewidth=2.4, solid_capstyle="butt", **style)
        axes.plot([100 * top1.value], [at], **(marker | style))
    for at, row in enumerate(cells[ranked:]):
        base = _write_name(page, end + SCALE + ROW * (at + 0.5), row, f"left out ({row.weights})")
        reason, room = row.note.removeprefix("left out: "), charts.WIDTH - LEFT - charts.MARGIN
        charts.write(page, LEFT, base, reason, colour=grid.INK, room=room)
    _write_chart_legend(page, axes, comparison)
    return page


def _write_chart_header(page: Any, comparison: Comparison) -> None:
    line = f"Accuracy with its 95% CI on {summary(comparison)}"
    note = f"{TESTS} {not_learned_note(comparison)}"
    charts.write_header(page, f"Networks compared on {subject(comparison)}", line, note=note)
    down = HEADER - 0.13
    for x, (above, below) in zip(ENDS, HEADINGS[2:], strict=True):
        charts.write(page, x, down - 0.16, above, colour=grid.QUIET, align="right")
        charts.write(page, x, down, below, colour=grid.QUIET, align="right")
    charts.write(page, charts.MARGIN, down, "network", colour=grid.QUIET)


def _write_name(page: Any, middle: float, row: NetworkRow, note: str) -> float:
    """Name and note of a row, and the line above it; returns the baseline of the row's other words."""
    from matplotlib.lines import Line2D

    base, height = middle + 0.05, page.get_size_inches()[1]
    up = 1 - (middle - ROW / 2) / height
    ends = [charts.MARGIN / charts.WIDTH, 1 - charts.MARGIN / charts.WIDTH]
    page.add_artist(Line2D(ends, [up, up], color=charts.colour_code(charts.RULE), linewidth=0.8))
    above = base - (0.07 if note else 0)
    charts.write(page, charts.MARGIN, above, row.name, points=charts.SMALL + 1, colour=grid.INK, room=NAMES)
    charts.write(page, charts.MARGIN, base + 0.085, note, colour=grid.COLOURS["wrong"], room=NAMES)
    return base


def _frame(axes: Any, comparison: Comparison) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(len(comparison.ranked) - 0.5, -0.5)
    axes.set_xlim(*limits(comparison))
    charts.style_axes(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}%")


def limits(comparison: Comparison) -> tuple[float, float]:
    """Percent at the left and right end of the chart: all intervals, and 0 and 100 where they reach far."""
    seen = comparison.ranked
    low, high = (min(entry.top1.low for entry in seen), max(entry.top1.high for entry in seen)) if seen else (0.0, 1.0)
    if high - low > 0.5:
        return 0.0, 100.0
    spare = max(1.0, 8 * (high - low), (NARROWEST - 100 * (high - low)) / 2)
    left, right = max(0.0, 100 * low - spare), min(100.0, 100 * high + spare)
    return max(0.0, min(left, right - NARROWEST)), right


def _marker(scratch: bool) -> dict[str, Any]:
    _, colour, sign = KINDS[scratch]
    style = {"color": charts.colour_code(colour), "marker": sign, "markersize": 7, "markeredgewidth": 1.8}
    return style | {"markerfacecolor": "white" if scratch else charts.colour_code(OWN)}


def _write_chart_legend(page: Any, axes: Any, comparison: Comparison) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for scratch, (name, _, _) in KINDS.items():
        if any(entry.scratch == scratch for entry in comparison.ranked):
            handles.append(Line2D([], [], linewidth=2, label=name, **_marker(scratch)))
    majority = comparison.majority
    left, right = axes.get_xlim()
    if majority is not None and left < 100 * majority < right:
        dashed: dict[str, Any] = {"color": charts.colour_code(grid.QUIET), "linewidth": 1.4, "linestyle": (0, (3, 2))}
        axes.axvline(100 * majority, zorder=2, **dashed)
        handles.append(Line2D([], [], label=f"majority-class baseline: {percent(majority)}", **dashed))
    tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.6, "handlelength": 2.2}
    place = (charts.MARGIN / charts.WIDTH, 1 - 1.16 / page.get_size_inches()[1])
    words = {"labelcolor": charts.colour_code(grid.INK), "prop": {"family": lettering(), "size": charts.SMALL}}
    page.legend(handles=handles, loc="lower left", bbox_to_anchor=place, ncols=3, **tight, **words)
