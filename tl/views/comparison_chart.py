"""A comparison becomes a chart: each network's top-1 with its interval, best at the top, and what it costs beside."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl.views.figures import LARGE, RULE, SMALL, WIDTH, blank, colour_code, picture, write
from tl.views.lettering import lettering
from tl.views.phrases import percent
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.terminal.comparison import HEADINGS, TESTS, Row, doubt, explained, largest_class, rows, subject, summary
from tl.views.tile import COLOURS, INK, QUIET
from tl.workflows.compare import Comparison, Entry
from tl.workflows.grid import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 0.15  # inches, as all that follows
ROW, HEADER, SCALE, FOOTER = 0.4, 1.75, 0.42, 0.1  # heights, that of the numbers below the points among them
NAMES, LEFT, RIGHT = 1.85, 2.15, 5.3  # room of the names, and where the points are drawn
ENDS = (5.8, 6.57, 7.14, 7.67, 8.29, 8.89, WIDTH - MARGIN)  # where the columns of figures end
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
    _write_legend(page, axes, comparison)
    return page


def save_chart(comparison: Comparison, path: Path) -> None:
    """Write the chart as a PNG, whole or not at all. Raises StorageError."""
    save(picture(chart(comparison)), path)


def _write_header(page: Any, comparison: Comparison) -> None:
    whole = WIDTH - 2 * MARGIN
    write(page, MARGIN, 0.37, f"Networks compared on {subject(comparison)}", points=LARGE, colour=INK, room=whole)
    write(
        page,
        MARGIN,
        0.65,
        f"Top-1 with its 95 % interval on {summary(comparison)}",
        points=SMALL + 0.5,
        colour=INK,
        room=whole,
    )
    write(page, MARGIN, 0.87, f"{TESTS} {explained(comparison)}", colour=QUIET, room=whole)
    down = HEADER - 0.13
    for x, (above, below) in zip(ENDS, HEADINGS[2:], strict=True):
        write(page, x, down - 0.16, above, colour=QUIET, align="right")
        write(page, x, down, below, colour=QUIET, align="right")
    write(page, MARGIN, down, "network", colour=QUIET)


def _write_row(page: Any, middle: float, row: Row, note: str) -> None:
    base = _write_name(page, middle, row, note)
    for x, figure in zip(ENDS, row.figures, strict=True):
        write(page, x, base, figure, points=SMALL + 0.5, colour=INK, align="right")


def _write_left_out(page: Any, middle: float, row: Row) -> None:
    base = _write_name(page, middle, row, f"left out ({row.weights})")
    write(page, LEFT, base, row.note.removeprefix("left out: "), colour=INK, room=WIDTH - LEFT - MARGIN)


def _write_name(page: Any, middle: float, row: Row, note: str) -> float:
    """Name and note of a row, and the line above it; gives where the other words of the row stand."""
    from matplotlib.lines import Line2D

    base, height = middle + 0.05, page.get_size_inches()[1]
    up = 1 - (middle - ROW / 2) / height
    page.add_artist(Line2D([MARGIN / WIDTH, 1 - MARGIN / WIDTH], [up, up], color=colour_code(RULE), linewidth=0.8))
    write(page, MARGIN, base - (0.07 if note else 0), row.name, points=SMALL + 1, colour=INK, room=NAMES)
    write(page, MARGIN, base + 0.085, note, colour=COLOURS["wrong"], room=NAMES)
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
        labelsize=SMALL, labelfontfamily=lettering(), color=colour_code(QUIET), labelcolor=colour_code(QUIET)
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


def _write_legend(page: Any, axes: Any, comparison: Comparison) -> None:
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
    place = (MARGIN / WIDTH, 1 - 1.16 / page.get_size_inches()[1])
    words = {"labelcolor": colour_code(INK), "prop": {"family": lettering(), "size": SMALL}}
    if handles:
        page.legend(handles=handles, loc="lower left", bbox_to_anchor=place, ncols=3, **tight, **words)
