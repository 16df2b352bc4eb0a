"""A comparison becomes one picture: a row a photo, a column a network, and in each cell what it said, right or wrong.

The photos on which the networks part say most about them, and among these each way of parting comes once before any
comes again: many photos that the best alone gets right would hide the one that only the worst does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import TLError, UsageError
from tl.views.pictures import text
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.curves import LARGE as LARGE_POINTS
from tl.views.pictures.curves import RULE, WIDTH, blank, colour_code, picture, write
from tl.views.pictures.curves import SMALL as SMALL_POINTS
from tl.views.pictures.grid import (
    COLOURS,
    INK,
    LEGEND,
    MOST_PIXELS,
    MOUNT,
    PAGE,
    QUIET,
    TINTS,
    confidence_text,
    draw_sign,
    no_picture,
)
from tl.views.pictures.show import save_png
from tl.views.pictures.text import lettering
from tl.views.terminal.comparison import HEADINGS, TESTS, Row, doubt, explained, largest_class, rows, subject, summary
from tl.views.terminal.tables import one_line, percent, plural
from tl.workflows.compare import Answer, Comparison, Entry, Photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw


Read = Callable[[str], NDArray[np.uint8]]

# pixels
LARGE, LETTER, SMALL = 24, 16, 13  # letters
LINE, SMALL_LINE = 23, 19
MARGIN, GAP, PAD = 18, 10, 9
SIDE = 128  # of a photo
TRUTH = 176  # room for the true label beside it
CELL = (128, 190)  # width of what a network says, at least and at most
BAR = 5  # height of the bar that is as long as the network is sure
FIRST = SIDE + TRUTH


@dataclass(frozen=True)
class Section:
    """Photos that have something in common, of `count` such photos in all."""

    title: str
    count: int
    photos: tuple[Photo, ...]


def grid(comparison: Comparison, read: Read, rows: int = 8) -> "Image":
    """Draw what every network says of the same photos: those on which they part, then some all right or all wrong.

    `read` gives the photo of a path as RGB uint8 [height, width, 3]; one for which it raises a TLError is drawn as
    missing. The same comparison gives the same picture. Raises UsageError for less than a row, or too many of them.
    """
    from PIL import Image, ImageDraw

    if rows < 1:
        raise UsageError(f"a grid of {rows} rows cannot be drawn: show at least 1 photo")
    shown, networks = choose(comparison.photos, rows), comparison.ranked
    cell = _cell(networks, [photo for section in shown for photo in section.photos])
    width = max(2 * MARGIN + FIRST + len(networks) * (cell + GAP), 640)
    header = _header(comparison, width, cell)
    drawn = sum(LINE + 2 * GAP + len(section.photos) * (SIDE + GAP) for section in shown)
    height = header.height + (drawn or 2 * LINE) + MARGIN
    if width * height > MOST_PIXELS:
        raise UsageError(f"{rows} photos for {len(networks)} networks make a picture too large to look at: show fewer")
    page = Image.new("RGB", (width, height), PAGE)
    page.paste(header, (0, 0))
    canvas, top = ImageDraw.Draw(page), header.height
    if not shown:
        text.write(canvas, MARGIN, top + LINE, "no photos to show", LETTER, QUIET)
    for section in shown:
        _write_title(canvas, top, section, comparison.count, width)
        top += LINE + 2 * GAP
        for photo in section.photos:
            _draw_photo(page, canvas, top, photo, read)
            for at, answer in enumerate(photo.answers):
                card = _card(answer, answer.label == photo.truth, cell)
                page.paste(card, (_left(at, cell), top))
            top += SIDE + GAP
    return page


def choose(photos: Sequence[Photo], rows: int) -> list[Section]:
    """The photos to show, at most `rows`: three quarters on which the networks part, the rest all wrong and all right.

    Where one kind is short of photos, the others fill in. The order of `photos` decides nothing.
    """
    parted, wrong, right = kinds = _parted(photos), _alike(photos, right=False), _alike(photos, right=True)
    few = max(rows // 8, int(rows > 2))
    first = min(len(parted), rows - min(few, len(wrong)) - min(few, len(right)))
    rest = rows - first
    second = min(len(wrong), max((rest + 1) // 2, rest - len(right)))
    counts = first, second, min(len(right), rest - second)
    several = any(len(photo.answers) > 1 for photo in photos)
    titles = ("Some networks right, some wrong", "All wrong", "All right") if several else ("", "Wrong", "Right")
    sections = zip(titles, kinds, counts, strict=True)
    return [Section(title, len(kind), tuple(kind[:count])) for title, kind, count in sections if count]


def _rights(photo: Photo) -> tuple[bool, ...]:
    return tuple(answer.label == photo.truth for answer in photo.answers)


def _parted(photos: Sequence[Photo]) -> list[Photo]:
    """Photos that some get right, each pattern of who does once before any comes again, the most even ones first."""
    chosen = [photo for photo in photos if 0 < sum(_rights(photo)) < len(photo.answers)]
    chosen.sort(key=lambda photo: (_rights(photo), *_order(photo)))
    placed = [(place, photo) for _, same in groupby(chosen, key=_rights) for place, photo in enumerate(same)]
    placed.sort(key=lambda item: (item[0], -_evenness(item[1]), *_order(item[1])))
    return [photo for _, photo in placed]


def _alike(photos: Sequence[Photo], *, right: bool) -> list[Photo]:
    return sorted((photo for photo in photos if photo.answers and set(_rights(photo)) == {right}), key=_order)


def _evenness(photo: Photo) -> int:
    right = sum(_rights(photo))
    return right * (len(photo.answers) - right)


def _order(photo: Photo) -> tuple[int, float, str]:
    """More labels first, then surer networks: a sure mistake and a sure answer teach more than a doubtful one."""
    certain = sum(answer.confidence for answer in photo.answers if math.isfinite(answer.confidence))
    return -len({answer.label for answer in photo.answers}), -round(certain, 6), photo.path


def _cell(networks: Sequence[Entry], photos: Sequence[Photo]) -> int:
    """As wide as the longest name or label, within bounds."""
    labels = {answer.label for photo in photos for answer in photo.answers}
    needed = [text.width(one_line(entry.name), LETTER) + PAD for entry in networks]
    needed += [text.width(text.clean(label), LETTER) + LETTER * 1.4 + 2 * PAD for label in labels]
    return round(min(max(CELL[0], *needed, 0), CELL[1]))


def _header(comparison: Comparison, width: int, cell: int) -> "Image":
    from PIL import Image, ImageDraw

    room = float(width - 2 * MARGIN)
    names = [text.wrap(one_line(entry.name), LETTER, (cell - PAD, cell - PAD)) for entry in comparison.ranked]
    lines = max(map(len, names), default=1)
    notes = 1 + any(doubt(entry) for entry in comparison.ranked)
    top = MARGIN + 2 * LARGE + LINE + GAP
    header = Image.new("RGB", (width, top + lines * LINE + notes * SMALL_LINE + GAP), PAGE)
    canvas = ImageDraw.Draw(header)
    title = f"What each network says of {subject(comparison)}"
    text.write(canvas, MARGIN, MARGIN + LARGE, text.shorten(title, LARGE, room), LARGE, INK)
    _write_legend(header, canvas, MARGIN + LARGE + LINE + GAP)
    text.write(canvas, MARGIN, top + LINE * 0.8, "photo, true label", LETTER, QUIET)
    for at, (entry, name) in enumerate(zip(comparison.ranked, names, strict=True)):
        _write_network(canvas, _left(at, cell), top, entry, name)
    canvas.line((MARGIN, header.height - 1, width - MARGIN, header.height - 1), fill=MOUNT, width=2)
    return header


def _write_legend(header: "Image", canvas: "ImageDraw", baseline: int) -> None:
    x: float = MARGIN
    for verdict in ("right", "wrong"):
        draw_sign(header, verdict, round(x), round(baseline - LETTER * 0.87), LETTER, COLOURS[verdict])
        said = LEGEND[verdict]
        x = text.write(canvas, x + LETTER * 1.35, baseline, said, LETTER, COLOURS[verdict]) + 2 * GAP
    canvas.rectangle((x, baseline - 8, x + 40, baseline - 8 + BAR - 1), fill=QUIET)
    text.write(canvas, x + 40 + PAD, baseline, "how sure it is", LETTER, QUIET)


def _write_network(canvas: "ImageDraw", left: int, top: int, entry: Entry, name: Sequence[str]) -> None:
    for line in name:
        text.write(canvas, left, top + LINE * 0.8, line, LETTER, INK)
        top += LINE
    said = f"{percent(entry.top1.value)} % {'random' if entry.scratch else 'pretrained'}"
    text.write(canvas, left, top + SMALL_LINE * 0.7, said, SMALL, QUIET)
    text.write(canvas, left, top + SMALL_LINE * 1.65, doubt(entry), SMALL, COLOURS["wrong"])


def _left(column: int, cell: int) -> int:
    return MARGIN + FIRST + GAP + column * (cell + GAP)


def _write_title(canvas: "ImageDraw", top: int, section: Section, count: int, width: int) -> None:
    said = f"{section.title}: {section.count:,} of {count:,} {plural(count, 'photo')}"
    if section.count > len(section.photos):
        said += f", {len(section.photos):,} shown"
    text.write(canvas, MARGIN, top + GAP + LINE * 0.75, text.shorten(said, LETTER, width - 2 * MARGIN), LETTER, QUIET)


def _draw_photo(page: "Image", canvas: "ImageDraw", top: int, photo: Photo, read: Read) -> None:
    canvas.rectangle((MARGIN, top, MARGIN + SIDE - 1, top + SIDE - 1), fill=MOUNT)
    found = _fitted(photo.path, read)
    if found is None:
        no_picture(page, MARGIN + SIDE // 2, top + SIDE // 2, SIDE // 3, QUIET)
    else:
        page.paste(found, (MARGIN + (SIDE - found.width) // 2, top + (SIDE - found.height) // 2))
    left, room = MARGIN + SIDE + PAD, float(TRUTH - PAD)
    baseline = top + LINE * 0.8
    for line in text.wrap(photo.truth, LETTER, (room,) * 4):
        text.write(canvas, left, baseline, line, LETTER, INK)
        baseline += LINE
    name = text.shorten(photo.path, SMALL, room)
    text.write(canvas, left, top + SIDE - SMALL * 0.4, name, SMALL, QUIET)


def _fitted(path: str, read: Read) -> "Image | None":
    """The photo within its square; None where there is none to show."""
    from PIL import Image

    try:
        pixels = read(path)
    except TLError:
        return None
    if not pixels.size:
        return None
    photo = Image.fromarray(np.ascontiguousarray(pixels))
    scale = SIDE / max(photo.size)
    within = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    return photo.resize(within, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _card(answer: Answer, right: bool, width: int) -> "Image":
    from PIL import Image, ImageDraw

    verdict = "right" if right else "wrong"
    colour = COLOURS[verdict]
    card = Image.new("RGB", (width, SIDE), TINTS[verdict])
    canvas = ImageDraw.Draw(card)
    draw_sign(card, verdict, PAD, PAD + 1, LETTER, colour)
    sign, room = LETTER * 1.4, float(width - 2 * PAD)
    baseline = PAD + LETTER * 0.9
    for number, line in enumerate(text.wrap(answer.label, LETTER, (room - sign, room, room))):
        text.write(canvas, PAD + (0 if number else sign), baseline, line, LETTER, colour)
        baseline += LINE
    text.write(canvas, PAD, SIDE - BAR - PAD, confidence_text(answer.confidence), LETTER, colour)
    long = round(width * min(max(answer.confidence, 0.0), 1.0)) if math.isfinite(answer.confidence) else 0
    if long:
        canvas.rectangle((0, SIDE - BAR, long - 1, SIDE - 1), fill=colour)
    return card


CHART_MARGIN = 0.15  # inches, as all that follows
ROW, HEADER, SCALE, FOOTER = 0.4, 1.75, 0.42, 0.1  # heights, that of the numbers below the points among them
NAMES, LEFT, RIGHT = 1.85, 2.15, 5.3  # room of the names, and where the points are drawn
ENDS = (5.8, 6.57, 7.14, 7.67, 8.29, 8.89, WIDTH - CHART_MARGIN)  # where the columns of figures end
NARROWEST = 10.0  # per cent that are shown at least, or chance would look like a difference
KINDS = {False: ("pretrained weights", OWN, "o"), True: ("random weights", OTHER, "s")}


def chart(comparison: Comparison) -> "Figure":
    """The chart as a figure of matplotlib: points and their 95 % intervals, a row of figures beside each."""
    cells = rows(comparison)
    ranked = len(comparison.ranked)
    end = HEADER + ROW * ranked
    height = end + SCALE + ROW * (len(cells) - ranked) + FOOTER
    page = blank(height)
    _write_header(page, comparison)
    axes = page.add_axes((LEFT / WIDTH, 1 - end / height, (RIGHT - LEFT) / WIDTH, ROW * ranked / height))
    _frame(axes, comparison)
    for at, (entry, row) in enumerate(zip(comparison.ranked, cells[:ranked], strict=True)):
        _write_row(page, HEADER + ROW * (at + 0.5), row, doubt(entry))
        _draw_point(axes, at, entry)
    for at, row in enumerate(cells[ranked:]):
        _write_left_out(page, end + SCALE + ROW * (at + 0.5), row)
    _write_chart_legend(page, axes, comparison)
    return page


def save_chart(comparison: Comparison, path: Path) -> None:
    """Write the chart as a PNG, whole or not at all. Raises StorageError."""
    save_png(picture(chart(comparison)), path)


def _write_header(page: Any, comparison: Comparison) -> None:
    whole = WIDTH - 2 * CHART_MARGIN
    write(
        page,
        CHART_MARGIN,
        0.37,
        f"Networks compared on {subject(comparison)}",
        points=LARGE_POINTS,
        colour=INK,
        room=whole,
    )
    write(
        page,
        CHART_MARGIN,
        0.65,
        f"Top-1 with its 95 % interval on {summary(comparison)}",
        points=SMALL_POINTS + 0.5,
        colour=INK,
        room=whole,
    )
    write(page, CHART_MARGIN, 0.87, f"{TESTS} {explained(comparison)}", colour=QUIET, room=whole)
    down = HEADER - 0.13
    for x, (above, below) in zip(ENDS, HEADINGS[2:], strict=True):
        write(page, x, down - 0.16, above, colour=QUIET, align="right")
        write(page, x, down, below, colour=QUIET, align="right")
    write(page, CHART_MARGIN, down, "network", colour=QUIET)


def _write_row(page: Any, middle: float, row: Row, note: str) -> None:
    base = _write_name(page, middle, row, note)
    for x, figure in zip(ENDS, row.figures, strict=True):
        write(page, x, base, figure, points=SMALL_POINTS + 0.5, colour=INK, align="right")


def _write_left_out(page: Any, middle: float, row: Row) -> None:
    base = _write_name(page, middle, row, f"left out ({row.weights})")
    write(page, LEFT, base, row.note.removeprefix("left out: "), colour=INK, room=WIDTH - LEFT - CHART_MARGIN)


def _write_name(page: Any, middle: float, row: Row, note: str) -> float:
    """Name and note of a row, and the line above it; gives where the other words of the row stand."""
    from matplotlib.lines import Line2D

    base, height = middle + 0.05, page.get_size_inches()[1]
    up = 1 - (middle - ROW / 2) / height
    page.add_artist(
        Line2D(
            [CHART_MARGIN / WIDTH, 1 - CHART_MARGIN / WIDTH],
            [up, up],
            color=colour_code(RULE),
            linewidth=0.8,
        )
    )
    write(page, CHART_MARGIN, base - (0.07 if note else 0), row.name, points=SMALL_POINTS + 1, colour=INK, room=NAMES)
    write(page, CHART_MARGIN, base + 0.085, note, colour=COLOURS["wrong"], room=NAMES)
    return base


def _frame(axes: Any, comparison: Comparison) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(len(comparison.ranked) - 0.5, -0.5)
    axes.set_xlim(*limits(comparison))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(colour_code(QUIET))
    axes.yaxis.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.tick_params(
        labelsize=SMALL_POINTS, labelfontfamily=lettering(), color=colour_code(QUIET), labelcolor=colour_code(QUIET)
    )
    axes.grid(True, axis="x", color=colour_code(RULE), linewidth=0.8, clip_on=False)
    axes.set_axisbelow(True)


def limits(comparison: Comparison) -> tuple[float, float]:
    """Per cent at the left and right end of the chart: all intervals, and 0 and 100 where they reach far."""
    seen = comparison.ranked
    low, high = (min(entry.top1.low for entry in seen), max(entry.top1.high for entry in seen)) if seen else (0.0, 1.0)
    if high - low > 0.5:
        return 0.0, 100.0
    spare = max(1.0, 8 * (high - low), (NARROWEST - 100 * (high - low)) / 2)
    left, right = max(0.0, 100 * low - spare), min(100.0, 100 * high + spare)
    return max(0.0, min(left, right - NARROWEST)), right


def _draw_point(axes: Any, at: int, entry: Entry) -> None:
    _, colour, sign = KINDS[entry.scratch]
    look = {"clip_on": False, "zorder": 3, "color": colour_code(colour)}
    axes.plot([100 * entry.top1.low, 100 * entry.top1.high], [at, at], linewidth=2.4, solid_capstyle="butt", **look)
    point = {"marker": sign, "markersize": 7, "markeredgewidth": 1.8, "markerfacecolor": _fill(entry.scratch)}
    axes.plot([100 * entry.top1.value], [at], **point, **look)


def _fill(scratch: bool) -> str:
    return "white" if scratch else colour_code(OWN)


def _write_chart_legend(page: Any, axes: Any, comparison: Comparison) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for scratch, (name, colour, sign) in KINDS.items():
        if any(entry.scratch == scratch for entry in comparison.ranked):
            look: dict[str, Any] = {
                "color": colour_code(colour),
                "markerfacecolor": _fill(scratch),
                "markeredgewidth": 1.8,
            }
            handles.append(Line2D([], [], linewidth=2, marker=sign, markersize=7, label=name, **look))
    largest = largest_class(comparison)
    left, right = axes.get_xlim()
    if largest is not None and left < 100 * largest < right:
        dashed: dict[str, Any] = {"color": colour_code(QUIET), "linewidth": 1.4, "linestyle": (0, (3, 2))}
        axes.axvline(100 * largest, zorder=2, **dashed)
        handles.append(Line2D([], [], label=f"always the largest class: {percent(largest)} %", **dashed))
    tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.6, "handlelength": 2.2}
    place = (CHART_MARGIN / WIDTH, 1 - 1.16 / page.get_size_inches()[1])
    words = {"labelcolor": colour_code(INK), "prop": {"family": lettering(), "size": SMALL_POINTS}}
    if handles:
        page.legend(handles=handles, loc="lower left", bbox_to_anchor=place, ncols=3, **tight, **words)
