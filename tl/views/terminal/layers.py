"""The layers of a Keras model as a table: name, kind, output shape and parameters."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tl.networks.stages import functional, graph

_HEADINGS = ("layer", "kind", "output", "parameters")


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
            (f"{len(self.layers)} layers", "", "", f"{self.parameters:,}"),
            ("  trainable", "", "", f"{self.trainable:,}"),
            ("  not trainable", "", "", f"{self.parameters - self.trainable:,}"),
        ]
        rows = (_HEADINGS, *cells, *totals)
        longest, *others = (max(len(row[at]) for row in rows) for at in range(4))
        widths = (min(longest, max(width - sum(others) - 6, 16)), *others)
        rule = "─" * (sum(widths) + 6)
        middle = [_line(row, widths) for row in cells]
        return "\n".join([_line(_HEADINGS, widths), rule, *middle, rule, *(_line(row, widths) for row in totals)])

    def as_dict(self) -> dict[str, Any]:
        """The table for JSON."""
        totals = {"parameters": self.parameters, "trainable": self.trainable}
        return {"layers": [asdict(layer) for layer in self.layers], **totals}


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


def _line(row: tuple[str, str, str, str], widths: tuple[int, ...]) -> str:
    name, kind, output, number = row
    above = f"{name}\n" if len(name) > widths[0] else ""
    start = "" if above else name
    return f"{above}{start:<{widths[0]}}  {kind:<{widths[1]}}  {output:>{widths[2]}}  {number:>{widths[3]}}"
