"""Draw charts with matplotlib in one style: learning curves, gradients by layer, and how fast a run is (`tl bench`)."""

import csv
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl.engines.timing import BatchTiming, Timing
from tl.errors import RunError
from tl.runs.folder import History, Numbers
from tl.text import count, number, percent, shorten
from tl.views.pictures import text
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.grid import INK, QUIET
from tl.views.pictures.show import save_png
from tl.views.pictures.text import Colour, legible, lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DPI = 125
WIDTH, MARGIN = 9.6, 0.15  # inches
LARGE, NORMAL, SMALL = 15.0, 11.0, 9.0  # points
RULE: Colour = (222, 226, 231)  # of grid lines
_WHOLE = WIDTH - 2 * MARGIN


def blank_figure(height: float, header: float = 0.0, **spaces: Any) -> "Figure":
    """An empty white figure of `WIDTH` by `height` inches, outside of the state of `pyplot`.

    With a `header`, its axes fill the rest, with `spaces` between them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    page = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(page)
    if header:
        room = (0.006, 0.01, 0.984, 1 - header / height - 0.01)
        page.set_layout_engine(ConstrainedLayoutEngine(rect=room, **spaces))
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


def write_header(page: Any, title: str, *lines: str, note: str = "") -> None:
    """Write a title at the top of a figure, and lines and a note below it."""
    write(page, MARGIN, 0.37, title, points=LARGE, colour=INK, room=_WHOLE)
    for at, line in enumerate(lines):
        write(page, MARGIN, 0.65 + 0.22 * at, line, points=SMALL + 0.5, colour=INK, room=_WHOLE)
    if note:
        write(page, MARGIN, 0.65 + 0.22 * len(lines), note, colour=QUIET, room=_WHOLE)


def plot(axes: Any, x: Any, y: Any, colour: Colour, **style: Any) -> None:
    """Draw a line; markers are left out where there are too many."""
    usual = {"color": colour_code(colour), "linewidth": 1.8, "markersize": 5, "clip_on": False, "zorder": 3}
    if len(y) > _MOST_DOTS:
        style = style | {"marker": ""}
    axes.plot(x, y, **usual | style)


def colour_code(colour: Colour) -> str:
    """A colour as matplotlib and HTML write it: #1c2128."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def style_axes(axes: Any, grid: str = "y") -> None:
    """Draw the axes thin and quiet, with lines at the ticks of one axis, "x" or "y"."""
    quiet = colour_code(QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(quiet)
    axes.grid(True, axis=grid, color=colour_code(RULE), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, labelfontfamily=lettering(), color=quiet, labelcolor=quiet)


def _title_axes(axes: Any, title: str, note: str, below: str) -> None:
    words: dict[str, Any] = {"fontfamily": lettering(), "parse_math": False}
    small = words | {"fontsize": SMALL, "color": colour_code(QUIET)}
    axes.set_title(title, loc="left", fontsize=NORMAL, color=colour_code(INK), pad=20, **words)
    axes.annotate(note, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", **small)
    axes.set_xlabel(below, **small)


def _draw_legend(axes: Any, above: float) -> None:
    from matplotlib.transforms import ScaledTranslation

    place = axes.transAxes + ScaledTranslation(0, above / 72, axes.figure.dpi_scale_trans)
    where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "bbox_transform": place, "ncols": 2}
    words = {"labelcolor": colour_code(INK), "prop": {"family": lettering(), "size": SMALL}}
    axes.legend(**where, **words, frameon=False, borderaxespad=0, borderpad=0, columnspacing=1.2, handlelength=2.2)


# learning curves

_ROW, _HEADER = 2.9, 1.08  # inches
_NAMES_A_ROW = 3  # of the legend
_MOST_DOTS = 50  # epochs or layers that are dots on a line; of more, only the line can be seen
_WIDE = 30.0  # losses further apart than this need a logarithmic scale


def learning_curves(history: History) -> "Figure":
    """The losses, the accuracies, the learning rate, and how the rate was chosen."""
    accuracy = [_draw_accuracy] if history.held_out or np.isfinite(history.epochs["top1"]).any() else []
    panels = [_draw_losses, *accuracy, _draw_rates, *([] if history.test is None else [_draw_test])]
    rows = (len(panels) + 1) // 2
    height = _HEADER + rows * _ROW
    page = blank_figure(height, _HEADER, wspace=0.05, hspace=0.06)
    write_header(page, f"Fine-tuning {history.name}", history.verdict, note=history.plan)
    grid = page.add_gridspec(rows, 2)
    # of three panels the first, the losses, is as high as the other two
    three = [grid[:, 0], grid[0, 1], grid[-1, 1]]
    places = three if len(panels) == 3 else [grid[at // 2, at % 2] for at in range(len(panels))]
    for panel, place in zip(panels, places, strict=True):
        axes = page.add_subplot(place)
        style_axes(axes)
        panel(axes, history)
    return page


def compared_curves(histories: Mapping[str, History]) -> "Figure":
    """Losses and accuracies of several networks by epoch, each with its name."""
    from matplotlib.lines import Line2D

    rows = -(-len(histories) // _NAMES_A_ROW)
    header = _HEADER - 0.1 + 0.24 * rows
    page = blank_figure(header + _ROW + 0.4, header, wspace=0.05)
    note = "solid: images held out, after each epoch; dotted: training images as augmented, mean of each epoch"
    write_header(page, "Learning curves", note=note)
    panels = (("Loss", ("loss", "held_out_log_loss"), 1.0), ("Accuracy", ("top1", "held_out_top1"), 100.0))
    last = max(float(history.ends[-1]) for history in histories.values())
    styles = list(itertools.islice(itertools.cycle(_STYLES), len(histories)))
    for at, (title, columns, factor) in enumerate(panels):
        axes = page.add_subplot(1, 2, at + 1)
        style_axes(axes)
        _title_epochs(axes, last, title, "")
        curves = [[factor * history.epochs[name] for name in columns] for history in histories.values()]
        for history, (training, held_out), (colour, sign) in zip(histories.values(), curves, styles, strict=True):
            plot(axes, history.ends, training, colour, linestyle=(0, (1, 1.5)), linewidth=1.3)
            plot(axes, history.ends, held_out, colour, marker=sign)
        every = np.concatenate([values for both in curves for values in both])
        _limit_percent(axes, every) if factor > 1 else _scale(axes, every)
    handles = [
        Line2D([], [], color=colour_code(colour), marker=sign, label=legible(name))
        for name, (colour, sign) in zip(histories, styles, strict=True)
    ]
    place = (MARGIN / WIDTH, 1 - (0.78 + 0.24 * rows) / page.get_size_inches()[1])
    words = {"labelcolor": colour_code(INK), "prop": {"family": lettering(*histories), "size": SMALL}}
    tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.6}
    page.legend(handles=handles, loc="lower left", bbox_to_anchor=place, ncols=_NAMES_A_ROW, **tight, **words)
    return page


def _title_epochs(axes: Any, last: float, title: str, note: str) -> None:
    from matplotlib.ticker import MaxNLocator

    _title_axes(axes, title, note, "epoch")
    axes.set_xlim(0, max(1.0, last))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _circle(axes: Any, history: History, y: Numbers) -> None:
    style = {"marker": "o", "markersize": 10, "markeredgewidth": 2, "markeredgecolor": colour_code(INK), "zorder": 4}
    plot(axes, [history.ends[history.best]], [y[history.best]], OTHER, **style)


def _draw_losses(axes: Any, history: History) -> None:
    loss, held_out = history.epochs["loss"], history.epochs["held_out_log_loss"]
    plot(axes, history.ends, loss, OWN, marker="o", label="training")
    note = "training loss, mean of each epoch" + ("" if history.held_out else "; nothing was held out")
    if history.held_out:
        plot(axes, history.ends, held_out, OTHER, marker="s", label="held out")
    if history.best is not None:
        note = f"circle: lowest held-out loss, {_plain(held_out[history.best])}, after epoch {history.best_epoch}"
        _circle(axes, history, held_out)
    _draw_curve_legend(axes)
    _title_epochs(axes, float(history.ends[-1]), "Loss", note)
    _scale(axes, np.concatenate([loss, held_out]))


def _draw_accuracy(axes: Any, history: History) -> None:
    training, held_out = (100 * np.clip(history.epochs[name], 0, 1) for name in ("top1", "held_out_top1"))
    if np.isfinite(training).any():
        plot(axes, history.ends, training, OWN, marker="o", label="training")
    note = "training: as augmented"
    if history.held_out:
        plot(axes, history.ends, held_out, OTHER, marker="s", label="held out")
    if history.best is not None:
        _circle(axes, history, held_out)
        note = f"circle: {percent(float(held_out[history.best]) / 100)}, after epoch {history.best_epoch}"
    _draw_curve_legend(axes)
    _title_epochs(axes, float(history.ends[-1]), "Accuracy", note)
    _limit_percent(axes, np.concatenate([training, held_out]))


def _draw_curve_legend(axes: Any) -> None:
    if len(axes.get_legend_handles_labels()[0]) > 1:
        _draw_legend(axes, 19.5)


def _limit_percent(axes: Any, accuracies: Numbers) -> None:
    seen = accuracies[np.isfinite(accuracies)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 100.0)
    spare = max(1.5, 0.15 * (high - low))
    axes.set_ylim(max(0.0, low - spare), min(100.0, high + spare))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")


def _draw_rates(axes: Any, history: History) -> None:
    planned = history.schedule()
    if planned is None:
        plot(axes, history.ends, history.epochs["learning_rate"], OWN, marker="o")
    else:
        plot(axes, *planned, OWN)
    note = f"up to {_power(history.rate)} for the head and the last stage"
    _title_epochs(axes, float(history.ends[-1]), "Learning rate", note)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _power(value))


def _draw_test(axes: Any, history: History) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    test = history.test or {}
    plot(axes, test["learning_rate"], test["loss"], OWN, marker="o", markersize=3)
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
    axes.xaxis.set_major_formatter(lambda value, _: _power(value))
    _scale(axes, test["loss"])


def _scale(axes: Any, losses: Numbers) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    seen = losses[np.isfinite(losses)]
    if len(seen) and seen.min() > 0 and seen.max() > _WIDE * seen.min():
        axes.set_yscale("log")
        narrow = seen.max() < 300 * seen.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=9))
        axes.yaxis.set_minor_locator(NullLocator())
    elif len(seen) and seen.min() >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _plain(value))


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


# gradients by layer

_MOST_NAMES = 32  # layers named on the axis; of more, only some are named
_MOST_HORIZONTAL = 40  # letters of all names together; more are written vertically
_VANISHED = 100.0  # ratio of last to first layers from which a gradient vanishes; a ratio of ten is common
_TIMES = {"before": ("before training", OWN, "o"), "after": ("after training", OTHER, "s")}


@dataclass(frozen=True)
class Gradients:
    """Root-mean-square gradients `[layers]` of the layers' kernels, from input to output, by time."""

    name: str
    layers: tuple[str, ...]
    values: dict[str, Numbers]


def gradient_verdict(values: Numbers) -> str:
    """Whether the gradient reaches the first layers, and how much smaller it is there.

    One that falls by orders of magnitude from the output to the input vanishes: the first layers cannot learn
    (Hochreiter 1991; Glorot & Bengio 2010).
    """
    dead = int(np.sum(values == 0))
    if dead:
        most = "any layer" if dead == len(values) else f"{dead} of {count(len(values), 'layer')}"
        return f"no gradient reaches {most}"
    if not np.isfinite(values).all():
        return "the gradient is not finite"
    if len(values) < 2:
        return "there is only one layer"
    quarter, logs = max(1, len(values) // 4), np.log10(values)
    fall = float(10 ** (logs[-quarter:].mean() - logs[:quarter].mean()))
    compared = f"{_plain(fall)} times smaller" if fall >= 1 else f"{_plain(1 / fall)} times larger"
    how = "vanishes towards" if fall >= _VANISHED else "grows towards" if fall <= 1 / _VANISHED else "reaches"
    return f"{how} the input, {compared} in the first layers than in the last"


def save_gradients(run_folder: Path) -> bool:
    """Draw a run's `gradients.csv` as `gradients.png` in its folder, and return whether it has that table.

    Raises RunError when the table is damaged, StorageError when the picture cannot be written.
    """
    gradients = read_gradients(run_folder)
    if gradients is not None:
        save_figure(gradients_figure(gradients), run_folder / "gradients.png")
    return gradients is not None


def read_gradients(run_folder: Path) -> Gradients | None:
    """The gradients of a run; None where none were recorded. Raises RunError when the table is damaged."""
    path = run_folder / "gradients.csv"
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            rows = list(table)
            times = [time for time in _TIMES if time in (table.fieldnames or ())]
        layers = tuple(str(row["layer"]) for row in rows)
        values = {time: np.array([float(row[time] or math.nan) for row in rows]) for time in times}
        if any((column < 0).any() for column in values.values()):
            raise ValueError("a negative gradient")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise RunError(f"{path} is damaged ({reason}): train the network again with `tl finetune`") from error
    return Gradients(run_folder.resolve().name, layers, values) if layers and times else None


def gradients_figure(gradients: Gradients) -> "Figure":
    """The gradient of each layer before and after training."""
    page = blank_figure(5.4, 0.75 + 0.22 * len(gradients.values))
    verdicts = [f"{_TIMES[time][0].capitalize()}: {gradient_verdict(v)}" for time, v in gradients.values.items()]
    write_header(page, f"Gradients of {gradients.name}", *verdicts)
    axes = page.add_subplot()
    style_axes(axes)
    note = "root-mean-square gradient of each layer's weights on the first batch"
    _title_axes(axes, "", note, "layer, from the input to the output")
    layers = gradients.layers
    axes.set_xlim(-0.5, max(len(layers), 2) - 0.5)
    step = -(-len(layers) // _MOST_NAMES)
    places = [*range(0, len(layers) - step, step), len(layers) - 1]
    names = [legible(shorten(layers[at].rpartition("/")[2], 26)) for at in places]
    rotation = 0 if sum(map(len, names)) <= _MOST_HORIZONTAL else 90
    axes.set_xticks(places, names, parse_math=False, fontfamily=lettering(*names), fontsize=SMALL, rotation=rotation)
    _draw_gradients(axes, gradients)
    return page


def _draw_gradients(axes: Any, gradients: Gradients) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    every = np.concatenate(list(gradients.values.values()))
    logs = np.log10(every[(every > 0) & np.isfinite(every)])
    low, high = (math.floor(logs.min()), math.ceil(logs.max())) if len(logs) else (-1, 0)
    high = max(high, low + 2)
    zeros = bool((every == 0).any())
    floor = low - 1  # the height of 0, which a logarithmic scale does not have
    for time, values in gradients.values.items():
        label, colour, sign = _TIMES[time]
        with np.errstate(divide="ignore"):
            heights = np.where(values > 0, np.log10(values), np.where(values == 0, floor, np.nan))
        dashes = (0, (5, 2)) if time == "after" else "-"
        plot(axes, range(len(heights)), heights, colour, marker=sign, label=label, linestyle=dashes)
    places = [*([floor] if zeros else []), *range(low, high + 1, max(1, (high - low) // 8))]
    axes.set_ylim((floor if zeros else low) - 0.15, high + 0.05)
    axes.yaxis.set_major_locator(FixedLocator(places))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda at, _: "0" if zeros and at == floor else _power(10.0**at))
    _draw_legend(axes, 8)


# speed of a run

_TOP, _PANEL, _PROCESS = 1.75, 2.75, 0.24  # inches: above the panels, of a panel, of a process
_LEFT, _BETWEEN = 0.65, 0.85
_STYLES: tuple[tuple[Colour, str], ...] = ((OWN, "o"), (OTHER, "s"), (INK, "^"), (QUIET, "D"))


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
        style_axes(axes)
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
    write_header(page, f"Speed of {timing.run}", result, note=f"{timing.machine}; {timing.photos}")
    up, x = 1 - 1.12 / page.get_size_inches()[1], MARGIN
    for precision, (colour, sign) in _styles(timing).items():
        ends = [x / WIDTH, (x + 0.15) / WIDTH, (x + 0.3) / WIDTH]
        style: dict[str, Any] = {"color": colour_code(colour), "marker": sign, "markevery": [1], "markersize": 6}
        page.add_artist(Line2D(ends, [up] * 3, linewidth=1.8, **style))
        write(page, x + 0.38, 1.16, precision, points=SMALL + 0.5, colour=INK)
        x += 1.0


def _styles(timing: Timing) -> dict[str, tuple[Colour, str]]:
    return dict(zip(dict.fromkeys(row.precision for row in timing.cells), _STYLES, strict=False))


def _batch_sizes(timing: Timing) -> list[int]:
    return sorted({row.batch for row in timing.cells})


def _rows_of(timing: Timing, precision: str) -> tuple[list[int], list[BatchTiming]]:
    sizes = _batch_sizes(timing)
    rows = sorted((row for row in timing.cells if row.precision == precision), key=lambda row: row.batch)
    return [sizes.index(row.batch) for row in rows], rows


def _draw_throughput(axes: Any, timing: Timing) -> None:
    for precision, (colour, sign) in _styles(timing).items():
        places, rows = _rows_of(timing, precision)
        bare = {"linestyle": (0, (4, 2)), "markerfacecolor": "white", "linewidth": 1.2, "markersize": 7}
        plot(axes, places, [row.bare for row in rows], colour, marker=sign, **bare)
        plot(axes, places, [row.rate for row in rows], colour, marker=sign, zorder=4)


def _draw_latencies(axes: Any, timing: Timing) -> None:
    styles = _styles(timing)
    for at, (precision, (colour, sign)) in enumerate(styles.items()):
        places, rows = _rows_of(timing, precision)
        aside = [place + 0.06 * (at - (len(styles) - 1) / 2) for place in places]
        axes.vlines(aside, [row.p50 for row in rows], [row.p99 for row in rows], color=colour_code(colour))
        plot(axes, aside, [row.p50 for row in rows], colour, marker=sign)
