"""Draw charts with matplotlib in one style: the learning curves of a run, and how fast a run is (`tl bench`)."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl.engines.timing import BatchTiming, Timing
from tl.runs.folder import History, Numbers
from tl.text import number, percent
from tl.views.pictures import text
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.grid import INK, QUIET, Colour
from tl.views.pictures.show import save_png
from tl.views.pictures.text import legible, lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DPI = 125
WIDTH, MARGIN = 9.6, 0.15  # inches
LARGE, NORMAL, SMALL = 15.0, 11.0, 9.0  # points
RULE: Colour = (222, 226, 231)  # of grid lines
_WHOLE = WIDTH - 2 * MARGIN


def blank_figure(height: float, **options: Any) -> "Figure":
    """An empty white figure of `WIDTH` by `height` inches, outside of the state of `pyplot`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(page)
    return page


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG, whole or not at all. Raises StorageError."""
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    save_png(Image.fromarray(pixels), path)


def write(
    page: Any,
    x: float,
    down: float,
    line: str,
    *,
    points: float = SMALL,
    colour: Colour,
    room: float = WIDTH,
    align: str = "left",
) -> None:
    """Write a line that stands `x` inches from the left and `down` from the top, shortened to `room` inches."""
    shown = legible(text.shorten(line, math.ceil(points * DPI / 72), room * DPI))
    words = {"fontsize": points, "color": colour_code(colour), "fontfamily": lettering(shown), "parse_math": False}
    width, height = page.get_size_inches()
    page.text(x / width, 1 - down / height, shown, ha=align, va="baseline", **words)


def colour_code(colour: Colour) -> str:
    """A colour as matplotlib and HTML write it: #1c2128."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


# learning curves

_ROW, _HEADER = 2.9, 1.08  # inches
_MOST_DOTS = 40  # epochs that are dots on a line; of more, only the line can be seen
_WIDE = 30.0  # losses further apart than this need a logarithmic scale


def learning_curves(history: History) -> "Figure":
    """The losses, the held-out accuracy, the learning rate, and how the rate was chosen."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = _panels(history)
    rows = (len(panels) + 1) // 2
    height = _HEADER + rows * _ROW
    room = (0.006, 0.01, 0.984, 1 - _HEADER / height - 0.01)
    page = blank_figure(height, layout=ConstrainedLayoutEngine(rect=room, wspace=0.05, hspace=0.06))
    title = (0.37, LARGE, INK, f"Fine-tuning {history.name}")
    below = ((0.65, SMALL + 0.5, INK, history.verdict), (0.87, SMALL + 0.5, QUIET, history.plan))
    for down, points, colour, line in (title, *below):
        write(page, MARGIN, down, line, points=points, colour=colour, room=WIDTH - 0.4)
    grid = page.add_gridspec(rows, 2)
    # of three panels the first, the losses, is as high as the other two
    three = [grid[:, 0], grid[0, 1], grid[-1, 1]]
    places = three if len(panels) == 3 else [grid[at // 2, at % 2] for at in range(len(panels))]
    for panel, place in zip(panels, places, strict=True):
        axes = page.add_subplot(place)
        _style_axes(axes)
        panel(axes, history)
    return page


def _panels(history: History) -> list[Callable[[Any, History], None]]:
    held_out = [] if history.best is None else [_draw_accuracy]
    return [_draw_losses, *held_out, _draw_rates, *([] if history.test is None else [_draw_test])]


def _style_axes(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colour_code(QUIET))
    axes.grid(True, axis="y", color=colour_code(RULE), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(
        labelsize=SMALL, labelfontfamily=lettering(), color=colour_code(QUIET), labelcolor=colour_code(QUIET)
    )


def _title_axes(axes: Any, title: str, note: str, below: str) -> None:
    words: dict[str, Any] = {"fontfamily": lettering(), "parse_math": False}
    small = words | {"fontsize": SMALL, "color": colour_code(QUIET)}
    axes.set_title(title, loc="left", fontsize=NORMAL, color=colour_code(INK), pad=20, **words)
    axes.annotate(note, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", **small)
    axes.set_xlabel(below, **small)


def _title_epochs(axes: Any, history: History, title: str, note: str) -> None:
    from matplotlib.ticker import MaxNLocator

    _title_axes(axes, title, note, "epoch")
    axes.set_xlim(0, max(1.0, float(history.ends[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _line(axes: Any, history: History, y: Numbers, colour: Colour, *, sign: str, label: str = "") -> None:
    sign = sign if len(y) <= _MOST_DOTS else ""
    style = {"marker": sign, "markersize": 5, "linewidth": 1.8, "clip_on": False, "zorder": 3}
    axes.plot(history.ends, y, color=colour_code(colour), label=label, **style)


def _circle(axes: Any, history: History, y: Numbers) -> None:
    """Marks the best epoch, on a line of squares or without."""
    style = {"marker": "o", "markersize": 10, "markeredgewidth": 2, "clip_on": False, "zorder": 4}
    axes.plot(
        history.ends[history.best], y[history.best], color=colour_code(OTHER), markeredgecolor=colour_code(INK), **style
    )


def _draw_losses(axes: Any, history: History) -> None:
    from matplotlib.transforms import ScaledTranslation

    loss, held_out = history.epochs["loss"], history.epochs["held_out_log_loss"]
    note = "training loss, mean of each epoch; nothing was held out"
    _line(axes, history, loss, OWN, sign="o", label="training")
    if history.best is not None:
        note = f"circle: lowest held-out loss, {_plain(held_out[history.best])}, after epoch {history.best_epoch}"
        _line(axes, history, held_out, OTHER, sign="s", label="held out")
        _circle(axes, history, held_out)
        beside = axes.transAxes + ScaledTranslation(0, 19.5 / 72, axes.figure.dpi_scale_trans)
        tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.2, "handlelength": 1.8}
        where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "bbox_transform": beside, "ncols": 2}
        axes.legend(**where, **tight, labelcolor=colour_code(INK), prop={"family": lettering(), "size": SMALL})
    _title_epochs(axes, history, "Loss", note)
    _scale(axes, np.concatenate([loss, held_out]))


def _draw_accuracy(axes: Any, history: History) -> None:
    from matplotlib.ticker import FuncFormatter

    accuracy = 100 * np.clip(history.epochs["held_out_top1"], 0, 1)
    _line(axes, history, accuracy, OTHER, sign="s")
    _circle(axes, history, accuracy)
    note = f"circle: {percent(float(accuracy[history.best]) / 100)}, after epoch {history.best_epoch}"
    _title_epochs(axes, history, "Held-out accuracy", note)
    seen = accuracy[np.isfinite(accuracy)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 100.0)
    spare = max(1.5, 0.15 * (high - low))
    axes.set_ylim(max(0.0, low - spare), min(100.0, high + spare))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))


def _draw_rates(axes: Any, history: History) -> None:
    from matplotlib.ticker import FuncFormatter

    planned = history.schedule()
    if planned is None:
        _line(axes, history, history.epochs["learning_rate"], OWN, sign="o")
    else:
        axes.plot(*planned, color=colour_code(OWN), linewidth=1.8, clip_on=False, zorder=3)
    note = f"up to {_power(history.rate)} for the head and the last stage"
    _title_epochs(axes, history, "Learning rate", note)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _draw_test(axes: Any, history: History) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    test = history.test or {}
    style = {"linewidth": 1.8, "marker": "o", "markersize": 3, "clip_on": False}
    axes.plot(test["learning_rate"], test["loss"], color=colour_code(OWN), zorder=3, **style)
    axes.axvline(history.rate, color=colour_code(OTHER), linewidth=1.8, linestyle=(0, (4, 2)), zorder=2)
    _title_axes(axes, "Learning-rate range test", f"dashed: {_power(history.rate)}, the rate chosen", "learning rate")
    ends = np.log10([test["learning_rate"].min(), test["learning_rate"].max(), history.rate])
    low, high = math.floor(ends.min()), math.ceil(ends.max())
    high = max(high, low + 2)
    axes.set_xscale("log")
    axes.set_xlim(10.0 ** (low - 0.1), 10.0 ** (high + 0.1))  # a rate at an end is not on the frame
    decades = range(low, high + 1, max(1, (high - low) // 7))
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in decades]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    _scale(axes, test["loss"])


def _scale(axes: Any, losses: Numbers) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    seen = losses[np.isfinite(losses)]
    if len(seen) and seen.min() > 0 and seen.max() > _WIDE * seen.min():
        axes.set_yscale("log")
        narrow = seen.max() < 300 * seen.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=9))
        axes.yaxis.set_minor_locator(NullLocator())
    elif len(seen) and seen.min() >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _plain(value: float) -> str:
    """Three digits at most, as a person would write them: 0.05, 12, 1e-4, 2.5e7."""
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e5 else _power(value)


def _power(value: float) -> str:
    """The same for learning rates, which are written with powers of ten below 1: 1e-4."""
    if value == 0 or 1 <= abs(value) < 100:
        return f"{value:.3g}"
    digits, power = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(power)}"


# speed of a run

_TOP, _PANEL, _PROCESS = 1.75, 2.75, 0.24  # inches: above the panels, of a panel, of a process
_LEFT, _BETWEEN = 0.65, 0.85
_STYLES: tuple[tuple[Colour, str], ...] = ((OWN, "o"), (OTHER, "s"), (INK, "^"), (QUIET, "D"))


def save_timing_chart(timing: Timing, path: Path) -> None:
    """Write the chart as a PNG, whole or not at all. Raises StorageError."""
    save_figure(timing_chart(timing), path)


def timing_chart(timing: Timing) -> "Figure":
    """Throughput and latency by batch size, and the cost of whole processes below them."""
    below = _TOP + _PANEL + 0.85
    height = below + _PROCESS * len(timing.processes) + 0.2
    page = blank_figure(height)
    _write_timing_header(page, timing)
    width = (WIDTH - _LEFT - MARGIN - _BETWEEN) / 2
    panels = (
        (_draw_throughput, "Images per second", "from files to labels; dashed, hollow: the network alone"),
        (_draw_latencies, "Milliseconds per batch", "call after call: median, with a line to the 99th percentile"),
    )
    for at, (draw, title, note) in enumerate(panels):
        left = _LEFT + at * (width + _BETWEEN)
        axes = page.add_axes((left / WIDTH, 1 - (_TOP + _PANEL) / height, width / WIDTH, _PANEL / height))
        sizes = _batch_sizes(timing)
        _style_axes(axes)
        _title_axes(axes, title, note, "images per batch")
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_xlim(-0.3, len(sizes) - 0.7)
        draw(axes, timing)
        axes.set_ylim(bottom=0)
    write(page, MARGIN, below, "tl predict, new process", points=SMALL + 0.5, colour=INK)
    for at, process in enumerate(timing.processes):
        down = below + _PROCESS * at
        write(page, 2.3, down, process.about, points=SMALL + 0.5, colour=QUIET)
        write(page, 4.6, down, process.cost, points=SMALL + 0.5, colour=INK)
    return page


def _write_timing_header(page: Any, timing: Timing) -> None:
    from matplotlib.lines import Line2D

    best, app = timing.fastest, timing.benchmark_app
    result = f"Up to {number(best.rate)} images/s: {best.precision}, batches of {best.batch}"
    result += "" if app is None else f"; OpenVINO's benchmark_app: {number(app)} images/s"
    write(page, MARGIN, 0.37, f"Speed of {timing.run}", points=LARGE, colour=INK, room=_WHOLE)
    write(page, MARGIN, 0.65, result, points=SMALL + 0.5, colour=INK, room=_WHOLE)
    write(page, MARGIN, 0.87, f"{timing.machine}; {timing.photos}", colour=QUIET, room=_WHOLE)
    up, x = 1 - 1.12 / page.get_size_inches()[1], MARGIN
    for precision, (colour, sign) in _styles(timing).items():
        ends = [x / WIDTH, (x + 0.15) / WIDTH, (x + 0.3) / WIDTH]
        style: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "markevery": [1], "markersize": 6}
        page.add_artist(Line2D(ends, [up] * 3, linewidth=1.8, **style))
        write(page, x + 0.38, 1.16, precision, points=SMALL + 0.5, colour=INK)
        x += 1.0


def _styles(timing: Timing) -> dict[str, tuple[Colour, str]]:
    """Colour and marker of each precision."""
    return dict(zip(dict.fromkeys(row.precision for row in timing.cells), _STYLES, strict=False))


def _batch_sizes(timing: Timing) -> list[int]:
    return sorted({row.batch for row in timing.cells})


def _rows_of(timing: Timing, precision: str) -> tuple[list[int], list[BatchTiming]]:
    """The rows of a precision by batch size, and where they stand on the axis."""
    sizes = _batch_sizes(timing)
    rows = sorted((row for row in timing.cells if row.precision == precision), key=lambda row: row.batch)
    return [sizes.index(row.batch) for row in rows], rows


def _draw_throughput(axes: Any, timing: Timing) -> None:
    for precision, (colour, sign) in _styles(timing).items():
        places, rows = _rows_of(timing, precision)
        style: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "clip_on": False}
        bare = {"linestyle": (0, (4, 2)), "markerfacecolor": "white", "linewidth": 1.2, "markersize": 7, "zorder": 3}
        axes.plot(places, [row.bare for row in rows], **style, **bare)
        axes.plot(places, [row.rate for row in rows], **style, linewidth=1.8, markersize=5, zorder=4)


def _draw_latencies(axes: Any, timing: Timing) -> None:
    styles = _styles(timing)
    for at, (precision, (colour, sign)) in enumerate(styles.items()):
        places, rows = _rows_of(timing, precision)
        aside = [place + 0.06 * (at - (len(styles) - 1) / 2) for place in places]
        axes.vlines(aside, [row.p50 for row in rows], [row.p99 for row in rows], color=colour_code(colour))
        style: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "clip_on": False, "zorder": 3}
        axes.plot(aside, [row.p50 for row in rows], linewidth=1.8, markersize=5, **style)
