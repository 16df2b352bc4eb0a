"""Draw the gradients of a network trained from random weights, layer by layer, before and after training.

A gradient that falls by orders of magnitude from the output to the input vanishes: the first layers cannot learn
(Hochreiter 1991; Glorot & Bengio 2010).
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import RunError
from tl.text import shorten
from tl.views.pictures.augmented import OTHER, OWN
from tl.views.pictures.charts import LARGE, RULE, SMALL, WIDTH, blank_figure, colour_code, save_figure, write
from tl.views.pictures.grid import INK, QUIET
from tl.views.pictures.text import legible, lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]

MOST_BYTES = 1_000_000  # of a table: ten thousand layers
MOST_NAMES = 32  # layers named on the axis; of more, only some are named
LONGEST = 26  # letters of a layer's name
MOST_HORIZONTAL = 40  # letters of all names together; more are written vertically
MOST_DOTS = 60  # layers marked with dots
VANISHED = 100.0  # ratio of last to first layers from which a gradient vanishes; a ratio of ten is common
TIMES = {"before": ("before training", OWN, "o"), "after": ("after training", OTHER, "s")}
HEIGHT, HEADER, LINE, MARGIN = 5.4, 0.75, 0.22, 0.15  # inches


@dataclass(frozen=True)
class Gradients:
    """Root-mean-square gradients `[layers]` of the layers' kernels, from input to output, by time."""

    name: str
    layers: tuple[str, ...]
    values: dict[str, Numbers]

    def verdict(self, time: str) -> str:
        """Whether the gradient reaches the first layers, at `time` "before" or "after" training, and its ratio."""
        values = self.values[time]
        dead = int(np.sum(values == 0))
        if dead:
            most = "any layer" if dead == len(values) else f"{dead} of {len(values)} layers"
            return f"no gradient reaches {most}"
        finite = values[np.isfinite(values)]
        if len(finite) < 2 or len(finite) < len(values):
            return "the gradient is not finite" if len(finite) < len(values) else "there is only one layer"
        quarter = max(1, len(finite) // 4)
        logs = np.log10(finite)
        fall = float(10 ** (logs[-quarter:].mean() - logs[:quarter].mean()))
        if fall >= VANISHED:
            return f"vanishes towards the input, {_times(fall)} smaller in the first layers than in the last"
        if fall <= 1 / VANISHED:
            return f"grows towards the input, {_times(1 / fall)} larger in the first layers than in the last"
        beside = f"{_times(fall)} smaller" if fall >= 1 else f"{_times(1 / fall)} larger"
        return f"reaches the input, {beside} in the first layers than in the last"


def save_gradients(run_folder: Path) -> Path | None:
    """Draw a run's `gradients.csv` as `gradients.png` in its folder; None without that table.

    Raises RunError when the table is damaged, StorageError when the picture cannot be written.
    """
    gradients = read(run_folder)
    if gradients is None:
        return None
    target = run_folder / "gradients.png"
    save_figure(figure(gradients), target)
    return target


def read(run_folder: Path) -> Gradients | None:
    """The gradients of a run; None where none were recorded. Raises RunError when the table is damaged."""
    path = run_folder / "gradients.csv"
    if not path.is_file():
        return None
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise RunError(f"{path} is damaged ({reason}): train the network again with `tl finetune`") from error


def _read(path: Path) -> Gradients | None:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES // 1_000_000} MB")
    with path.open(encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream)
        rows = list(table)
        times = [time for time in TIMES if time in (table.fieldnames or ())]
    layers = tuple(str(row["layer"]) for row in rows)
    values = {time: np.array([float(row[time] or math.nan) for row in rows]) for time in times}
    if any((column < 0).any() for column in values.values()):
        raise ValueError("a negative gradient")
    return Gradients(path.resolve().parent.name, layers, values) if layers and times else None


def figure(gradients: Gradients) -> "Figure":
    """The picture as a matplotlib figure, outside of the state of `pyplot`."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    page = blank_figure(HEIGHT)
    whole = WIDTH - 2 * MARGIN
    write(page, MARGIN, 0.37, f"Gradients of {gradients.name}", points=LARGE, colour=INK, room=whole)
    for at, (time, (label, _, _)) in enumerate(item for item in TIMES.items() if item[0] in gradients.values):
        line = f"{label.capitalize()}: {gradients.verdict(time)}"
        write(page, MARGIN, 0.65 + LINE * at, line, points=SMALL + 0.5, colour=INK, room=whole)
    header = HEADER + LINE * len(gradients.values)
    page.set_layout_engine(ConstrainedLayoutEngine(rect=(0.006, 0.01, 0.984, 1 - header / HEIGHT - 0.01)))
    axes = page.add_subplot()
    _frame(axes, gradients)
    _draw_lines(axes, gradients)
    return page


def _frame(axes: Any, gradients: Gradients) -> None:
    quiet, small = colour_code(QUIET), {"fontsize": SMALL, "fontfamily": lettering()}
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(quiet)
    axes.grid(True, axis="y", color=colour_code(RULE), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, labelfontfamily=lettering(), color=quiet, labelcolor=quiet)
    count = len(gradients.layers)
    axes.set_xlim(-0.5, max(count, 2) - 0.5)
    step = -(-count // MOST_NAMES)
    places = [*range(0, count - step, step), count - 1]
    names = [legible(_short(gradients.layers[at])) for at in places]
    horizontal = sum(map(len, names)) <= MOST_HORIZONTAL
    style = {"fontfamily": lettering(*names), "fontsize": SMALL, "rotation": 0 if horizontal else 90}
    axes.set_xticks(places, names, parse_math=False, **style)
    axes.set_xlabel("layer, from the input to the output", color=quiet, **small)
    note = "root-mean-square gradient of each layer's weights on the first batch"
    axes.annotate(note, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=quiet, **small)


def _draw_lines(axes: Any, gradients: Gradients) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    from matplotlib.transforms import ScaledTranslation

    low, high = _decades(gradients)
    floor = low - 1  # the height of 0, which a logarithmic scale does not have
    zeros = False
    for time, values in gradients.values.items():
        label, colour, sign = TIMES[time]
        with np.errstate(divide="ignore"):
            heights = np.where(values > 0, np.log10(values), np.where(values == 0, floor, np.nan))
        zeros |= bool((values == 0).any())
        marked = sign if len(values) <= MOST_DOTS else ""
        style = {"marker": marked, "markersize": 5, "linewidth": 1.8, "clip_on": False, "zorder": 3}
        dashes = (0, (5, 2)) if time == "after" else "-"
        axes.plot(heights, color=colour_code(colour), label=label, linestyle=dashes, **style)
    places = [*([floor] if zeros else []), *range(low, high + 1, max(1, (high - low) // 8))]
    axes.set_ylim((floor if zeros else low) - 0.15, high + 0.05)
    axes.yaxis.set_major_locator(FixedLocator(places))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: "0" if zeros and at == floor else _power(at)))
    beside = axes.transAxes + ScaledTranslation(0, 8 / 72, axes.figure.dpi_scale_trans)
    where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "bbox_transform": beside, "ncols": 2}
    tight = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "columnspacing": 1.2, "handlelength": 2.6}
    axes.legend(**where, **tight, labelcolor=colour_code(INK), prop={"family": lettering(), "size": SMALL})


def _decades(gradients: Gradients) -> tuple[int, int]:
    """Powers of ten below and above all gradients, at least two apart."""
    gradient_values = np.concatenate(list(gradients.values.values()))
    logs = np.log10(gradient_values[(gradient_values > 0) & np.isfinite(gradient_values)])
    low, high = (math.floor(logs.min()), math.ceil(logs.max())) if len(logs) else (-1, 0)
    return low, max(high, low + 2)


def _power(exponent: float) -> str:
    return "1" if exponent == 0 else f"1e{exponent:g}"


def _short(name: str) -> str:
    """A layer's name without that of its network, shortened."""
    return shorten(name.rpartition("/")[2], LONGEST)


def _times(ratio: float) -> str:
    if ratio >= 1e5:
        digits, power = f"{ratio:.0e}".split("e")
        return f"{digits}e{int(power)} times"
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{ratio:,.0f} times"
