"""A timing becomes a picture: rates by batch beside the engine's own, latencies by batch, and whole processes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl.errors import UsageError
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.curves import LARGE, NORMAL, RULE, SMALL, WIDTH, blank, colour_code, picture, write
from tl.views.pictures.grid import INK, QUIET, Colour
from tl.views.pictures.show import save_png
from tl.views.pictures.text import lettering
from tl.views.terminal.timing import cost, number
from tl.workflows.bench import Timing
from tl.workflows.bench_cells import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, TOP, PANEL, LINE = 0.15, 1.75, 2.75, 0.24  # inches
LEFT, BETWEEN = 0.65, 0.85
LOOKS: tuple[tuple[Colour, str], ...] = ((OWN, "o"), (OTHER, "s"), (INK, "^"), (QUIET, "D"))


def check_picture(path: Path) -> None:
    """Raises UsageError for a name that is not of a PNG."""
    if path.suffix.lower() != ".png" or os.path.isdir(path):
        raise UsageError(f"--out {path}: give the name of a PNG file, such as bench.png")


def save_plot(timing: Timing, path: Path) -> None:
    """Write the picture as a PNG, whole or not at all. Raises StorageError."""
    save_png(picture(figure(timing)), path)


def figure(timing: Timing) -> "Figure":
    """The picture as a figure of matplotlib, which no state of `pyplot` knows of."""
    below = TOP + PANEL + 0.85
    height = below + LINE * len(timing.processes) + 0.2
    page = blank(height)
    _write_header(page, timing)
    width = (WIDTH - LEFT - MARGIN - BETWEEN) / 2
    for at, (draw, title, note) in enumerate(
        (
            (_draw_rates, "Photos a second", "from files to labels; dashed, hollow: the engine alone"),
            (
                _draw_latencies,
                "Milliseconds for a batch",
                "one call after the other: median, and up to the 99th of 100",
            ),
        )
    ):
        left = LEFT + at * (width + BETWEEN)
        axes = page.add_axes((left / WIDTH, 1 - (TOP + PANEL) / height, width / WIDTH, PANEL / height))
        _frame(axes, timing, title, note)
        draw(axes, timing)
        axes.set_ylim(bottom=0)
    _write_processes(page, timing, below)
    return page


def _write_header(page: Any, timing: Timing) -> None:
    whole = WIDTH - 2 * MARGIN
    write(page, MARGIN, 0.37, f"How fast {timing.run} answers", points=LARGE, colour=INK, room=whole)
    best = timing.fastest
    own = "" if timing.own is None else f"; OpenVINO's benchmark_app: {number(timing.own)}"
    said = f"At most {number(best.rate)} photos/s, {best.precision} in batches of {best.batch}{own}"
    write(page, MARGIN, 0.65, said, points=SMALL + 0.5, colour=INK, room=whole)
    about = f"{timing.machine}; {timing.photos}"
    write(page, MARGIN, 0.87, about, points=SMALL, colour=QUIET, room=whole)
    _write_legend(page, timing)


def _write_legend(page: Any, timing: Timing) -> None:
    from matplotlib.lines import Line2D

    height, x = page.get_size_inches()[1], MARGIN
    for precision, (colour, sign) in _looks(timing).items():
        up = 1 - 1.12 / height
        ends = [x / WIDTH, (x + 0.15) / WIDTH, (x + 0.3) / WIDTH]
        page.add_artist(
            Line2D(ends, [up] * 3, color=colour_code(colour), linewidth=1.8, marker=sign, markevery=[1], markersize=6)
        )
        write(page, x + 0.38, 1.16, precision, points=SMALL + 0.5, colour=INK)
        x += 1.0


def _looks(timing: Timing) -> dict[str, tuple[Colour, str]]:
    return dict(zip(dict.fromkeys(cell.precision for cell in timing.cells), LOOKS, strict=False))


def _frame(axes: Any, timing: Timing, title: str, note: str) -> None:
    sizes = sorted({cell.batch for cell in timing.cells})
    words: dict[str, Any] = {"fontfamily": lettering(), "parse_math": False}
    small = words | {"fontsize": SMALL, "color": colour_code(QUIET)}
    axes.set_title(title, loc="left", fontsize=NORMAL, color=colour_code(INK), pad=20, **words)
    axes.annotate(note, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", **small)
    axes.set_xlabel("photos a batch", **small)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlim(-0.3, len(sizes) - 0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colour_code(QUIET))
    axes.grid(True, axis="y", color=colour_code(RULE), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(
        labelsize=SMALL, labelfontfamily=lettering(), color=colour_code(QUIET), labelcolor=colour_code(QUIET)
    )


def _cells(timing: Timing, precision: str) -> tuple[list[int], list[Cell]]:
    """The cells of a precision by batch, and where their batches stand."""
    sizes = sorted({cell.batch for cell in timing.cells})
    cells = sorted((cell for cell in timing.cells if cell.precision == precision), key=lambda cell: cell.batch)
    return [sizes.index(cell.batch) for cell in cells], cells


def _draw_rates(axes: Any, timing: Timing) -> None:
    for precision, (colour, sign) in _looks(timing).items():
        places, cells = _cells(timing, precision)
        look: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "clip_on": False}
        bare = {"linestyle": (0, (4, 2)), "markerfacecolor": "white", "linewidth": 1.2, "markersize": 7, "zorder": 3}
        axes.plot(places, [cell.bare for cell in cells], **look, **bare)
        axes.plot(places, [cell.rate for cell in cells], **look, linewidth=1.8, markersize=5, zorder=4)


def _draw_latencies(axes: Any, timing: Timing) -> None:
    looks = _looks(timing)
    for at, (precision, (colour, sign)) in enumerate(looks.items()):
        places, cells = _cells(timing, precision)
        aside = [place + 0.06 * (at - (len(looks) - 1) / 2) for place in places]
        axes.vlines(aside, [cell.p50 for cell in cells], [cell.p99 for cell in cells], color=colour_code(colour))
        look: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "clip_on": False, "zorder": 3}
        axes.plot(aside, [cell.p50 for cell in cells], linewidth=1.8, markersize=5, **look)


def _write_processes(page: Any, timing: Timing, down: float) -> None:
    write(page, MARGIN, down, "tl predict, a fresh process", points=SMALL + 0.5, colour=INK)
    for at, process in enumerate(timing.processes):
        base = down + LINE * at
        write(page, 2.3, base, process.about, points=SMALL + 0.5, colour=QUIET)
        write(page, 4.6, base, cost(process), points=SMALL + 0.5, colour=INK)
