"""Lay out text in a terminal, where some letters, such as Korean ones, are two columns wide."""

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tl.networks.stages import functional, graph
from tl.text import count, listed, one_line, shorten


def printable(text: str) -> str:
    """Text without control characters, which are written as escapes: class and file names come from anywhere."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def width_of(text: str) -> int:
    """The number of columns that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """The text with spaces up to `width` columns."""
    return text + " " * (width - width_of(text))


def cut(line: str, width: int) -> str:
    """The line, or its start with `…` where it is wider than `width` columns."""
    from rich.cells import set_cell_size

    return line if width_of(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def shortened(text: str, width: int) -> str:
    """The text on one line, without its middle where it is wider than `width` columns: names differ at their ends."""
    return shorten(text, width, width_of)


def names(words: Sequence[str], most: int) -> str:
    """The first names, each shortened, and how many more there are: `a, b and 3 more`."""
    return listed([shortened(word, 24) for word in words], most)


def columns(rows: Iterable[Sequence[str]], widths: Sequence[int], words: int | None = None) -> str:
    """Rows of cells, each wrapped to the width of its column, with two spaces between columns.

    All columns after the first `words` are figures, which are aligned at the right.
    """
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for at, width in enumerate(widths):
        table.add_column(width=width, overflow="fold", justify="left" if words is None or at < words else "right")
    for row in rows:
        table.add_row(*(Text(" " * min(4, len(cell) - len(cell.lstrip(" "))) + one_line(cell)) for cell in row))
    output = io.StringIO()
    total = sum(widths) + 2 * len(widths)
    Console(file=output, width=total, color_system=None, legacy_windows=False, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def join_wrapped(parts: Sequence[str]) -> str:
    """Parts separated by commas, on lines as wide as the terminal; a part is never broken. Styles take no width."""
    import click

    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    lines = [parts[0]]
    for part in parts[1:]:
        if width_of(click.unstyle(lines[-1])) + width_of(part) + 3 > width:
            lines[-1] += ","
            lines.append(f"    {part}")
        else:
            lines[-1] += f", {part}"
    return "\n".join(lines)


def terminal_width() -> int:
    """The columns of the terminal: 80 where there is none, and at least the 60 that tables need."""
    return max(60, shutil.get_terminal_size((80, 24)).columns)


@dataclass(frozen=True)
class LayerRow:
    """A layer of a network; `trainable` of its `parameters` change in training."""

    name: str
    kind: str
    output: tuple[int | None, ...]
    parameters: int
    trainable: int


@dataclass(frozen=True)
class LayerTable:
    """The layers of the network `name` from input to output."""

    name: str
    layers: tuple[LayerRow, ...]

    @property
    def parameters(self) -> int:
        """The number of parameters; those of a layer that is used twice count once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """The number of trainable parameters."""
        return sum(layer.trainable for layer in self.layers)

    def text(self, width: int = 80) -> str:
        """The table and its totals, in lines of at most `width` characters.

        Layer names are shown without the name of their network; one that does not fit its column has its own line.
        """
        cells = [
            (layer.name.removeprefix(f"{self.name}_"), layer.kind, shape_text(layer.output), f"{layer.parameters:,}")
            for layer in self.layers
        ]
        totals = [
            (count(len(self.layers), "layer"), "", "", f"{self.parameters:,}"),
            ("  trainable", "", "", f"{self.trainable:,}"),
            ("  not trainable", "", "", f"{self.parameters - self.trainable:,}"),
        ]
        headings = ("layer", "kind", "output", "parameters")
        longest, *others = (max(len(row[at]) for row in (headings, *cells, *totals)) for at in range(4))
        widths = (min(longest, max(width - sum(others) - 6, 16)), *others)
        rule = "─" * (sum(widths) + 6)
        lines = [_line(row, widths) for row in (headings, *cells, *totals)]
        return "\n".join([lines[0], rule, *lines[1:-3], rule, *lines[-3:]])

    def as_dict(self) -> dict[str, Any]:
        """The table for JSON."""
        totals = {"parameters": self.parameters, "trainable": self.trainable}
        return {"layers": [asdict(layer) for layer in self.layers], **totals}


def _line(row: tuple[str, str, str, str], widths: tuple[int, ...]) -> str:
    name, kind, output, number = row
    above = f"{name}\n" if len(name) > widths[0] else ""
    start = "" if above else name
    return f"{above}{start:<{widths[0]}}  {kind:<{widths[1]}}  {output:>{widths[2]}}  {number:>{widths[3]}}"


def layer_table(model: Any) -> LayerTable:
    """The layers of a functional model; one that is called more than once is listed once, with its first output.

    Raises BackboneError for a model that is not a graph of layers.
    """
    model = functional(model)
    shapes: dict[int, tuple[int | None, ...]] = {}
    for call in graph(model):
        shapes.setdefault(id(call.operation), tuple(call.output_tensors[0].shape[1:]))
    counted: set[int] = set()
    rows: list[LayerRow] = []
    for layer in model.layers:
        sizes = {id(weight): math.prod(weight.shape) for weight in layer.weights if id(weight) not in counted}
        counted.update(sizes)  # layers may share weights
        trainable = sum(sizes.get(id(weight), 0) for weight in layer.trainable_weights)
        kind = type(layer).__name__
        rows.append(LayerRow(layer.name, kind, shapes[id(layer)], sum(sizes.values()), trainable=trainable))
    return LayerTable(model.name, tuple(rows))


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape as text, such as 224×224×3."""
    return "×".join("?" if size is None else f"{size:,}" if len(shape) == 1 else str(size) for size in shape)
