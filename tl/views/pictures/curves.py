"""A run's history -> a picture of its learning curves: losses, top-1, learning rate, and how the rate was found."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl.views.pictures import text
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.grid import INK, QUIET, Colour
from tl.views.pictures.show import save_png
from tl.views.pictures.text import legible, lettering
from tl.views.terminal.runs import History, Numbers, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


DPI = 125
WIDTH = 9.6  # inches
LARGE, NORMAL, SMALL = 15.0, 11.0, 9.0  # points
RULE: Colour = (222, 226, 231)  # of the lines behind what is drawn


def blank(height: float) -> "Figure":
    """An empty white figure of `WIDTH` by `height` inches, which no state of `pyplot` knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(page)
    return page


def picture(figure: "Figure") -> "Image":
    """The figure in pixels."""
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


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


ROW, HEADER = 2.9, 1.08  # inches
MOST_DOTS = 40  # epochs that are dots on a line; of more, only the line can be seen
WIDE = 30.0  # losses further apart than this need a logarithmic scale


def learning_curves(run_folder: Path) -> Path | None:
    """Write `curves.png` into a run's folder, whole or not at all; None where nothing was fine-tuned.

    Reads `history.csv`, `learning_rates.csv` if there is one, and the manifest. Raises RunError when they are damaged,
    StorageError when the picture cannot be written.
    """
    history = read(run_folder)
    if history is None:
        return None
    target = run_folder / "curves.png"
    save_png(picture(figure(history)), target)
    return target


def figure(history: History) -> "Figure":
    """The curves as a figure of matplotlib, which no state of `pyplot` knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = _panels(history)
    rows = (len(panels) + 1) // 2
    height = HEADER + rows * ROW
    room = (0.006, 0.01, 0.984, 1 - HEADER / height - 0.01)
    layout = ConstrainedLayoutEngine(rect=room, wspace=0.05, hspace=0.06)
    page = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(page)
    _write_header(page, history)
    grid = page.add_gridspec(rows, 2)
    # of three panels the first, the losses, is as high as the other two
    three = [grid[:, 0], grid[0, 1], grid[-1, 1]]
    places = three if len(panels) == 3 else [grid[at // 2, at % 2] for at in range(len(panels))]
    for panel, place in zip(panels, places, strict=True):
        axes = page.add_subplot(place)
        _frame(axes)
        panel(axes, history)
    return page


def _panels(history: History) -> list[Callable[[Any, History], None]]:
    held_out = [] if history.best is None else [_draw_top1]
    return [_draw_losses, *held_out, _draw_rates, *([] if history.test is None else [_draw_test])]


def _write_header(page: Any, history: History) -> None:
    title = (0.37, LARGE, INK, f"Fine-tuning {history.name}")
    below = ((0.65, SMALL + 0.5, INK, history.verdict), (0.87, SMALL + 0.5, QUIET, history.plan))
    for down, points, colour, line in (title, *below):
        write(page, 0.15, down, line, points=points, colour=colour, room=WIDTH - 0.4)


def _frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colour_code(QUIET))
    axes.grid(True, axis="y", color=colour_code(RULE), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(
        labelsize=SMALL, labelfontfamily=lettering(), color=colour_code(QUIET), labelcolor=colour_code(QUIET)
    )


def _name(axes: Any, title: str, note: str, below: str) -> None:
    words: dict[str, Any] = {"fontfamily": lettering(), "parse_math": False}
    small = words | {"fontsize": SMALL, "color": colour_code(QUIET)}
    axes.set_title(title, loc="left", fontsize=NORMAL, color=colour_code(INK), pad=20, **words)
    axes.annotate(note, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", **small)
    axes.set_xlabel(below, **small)


def _name_epochs(axes: Any, history: History, title: str, note: str) -> None:
    from matplotlib.ticker import MaxNLocator

    _name(axes, title, note, "epoch")
    axes.set_xlim(0, max(1.0, float(history.ends[-1])))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _line(axes: Any, history: History, y: Numbers, colour: Colour, sign: str, label: str = "") -> None:
    sign = sign if len(y) <= MOST_DOTS else ""
    look = {"marker": sign, "markersize": 5, "linewidth": 1.8, "clip_on": False, "zorder": 3}
    axes.plot(history.ends, y, color=colour_code(colour), label=label, **look)


def _circle(axes: Any, history: History, y: Numbers) -> None:
    """Marks the best epoch, on a line of squares or without."""
    look = {"marker": "o", "markersize": 10, "markeredgewidth": 2, "clip_on": False, "zorder": 4}
    axes.plot(
        history.ends[history.best], y[history.best], color=colour_code(OTHER), markeredgecolor=colour_code(INK), **look
    )


def _draw_losses(axes: Any, history: History) -> None:
    from matplotlib.transforms import ScaledTranslation

    loss, held_out = history.epochs["loss"], history.epochs["held_out_log_loss"]
    note = "of training, each epoch's mean; nothing was held out"
    _line(axes, history, loss, OWN, "o", "training")
    if history.best is not None:
        note = f"circle: least held out, {_plain(held_out[history.best])}, after epoch {history.best_epoch}"
        _line(axes, history, held_out, OTHER, "s", "held out")
        _circle(axes, history, held_out)
        beside = axes.transAxes + ScaledTranslation(0, 19.5 / 72, axes.figure.dpi_scale_trans)
        tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.2, "handlelength": 1.8}
        where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "bbox_transform": beside, "ncols": 2}
        axes.legend(**where, **tight, labelcolor=colour_code(INK), prop={"family": lettering(), "size": SMALL})
    _name_epochs(axes, history, "Loss", note)
    _scale(axes, np.concatenate([loss, held_out]))


def _draw_top1(axes: Any, history: History) -> None:
    from matplotlib.ticker import FuncFormatter

    share = 100 * np.clip(history.epochs["held_out_top1"], 0, 1)
    _line(axes, history, share, OTHER, "s")
    _circle(axes, history, share)
    note = f"circle: {share[history.best]:.1f} %, after epoch {history.best_epoch}"
    _name_epochs(axes, history, "Top-1 on photos held out", note)
    seen = share[np.isfinite(share)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 100.0)
    spare = max(1.5, 0.15 * (high - low))
    axes.set_ylim(max(0.0, low - spare), min(100.0, high + spare))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def _draw_rates(axes: Any, history: History) -> None:
    from matplotlib.ticker import FuncFormatter

    planned = history.schedule()
    if planned is None:
        _line(axes, history, history.epochs["learning_rate"], OWN, "o")
    else:
        axes.plot(*planned, color=colour_code(OWN), linewidth=1.8, clip_on=False, zorder=3)
    note = f"up to {_power(history.rate)} for the head and the uppermost stage"
    _name_epochs(axes, history, "Learning rate", note)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _draw_test(axes: Any, history: History) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    test = history.test or {}
    look = {"linewidth": 1.8, "marker": "o", "markersize": 3, "clip_on": False}
    axes.plot(test["learning_rate"], test["loss"], color=colour_code(OWN), zorder=3, **look)
    axes.axvline(history.rate, color=colour_code(OTHER), linewidth=1.8, linestyle=(0, (4, 2)), zorder=2)
    _name(axes, "Loss while the rate rises", f"dashed: {_power(history.rate)}, the rate taken", "learning rate")
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
    if len(seen) and seen.min() > 0 and seen.max() > WIDE * seen.min():
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
