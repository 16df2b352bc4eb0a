"""A Keras model becomes its layer table: name, kind, shape of the output and parameters of each layer."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tl.networks.stages import functional, graph

_HEADINGS = ("layer", "kind", "output", "parameters")


@dataclass(frozen=True)
class Layer:
    """A layer of a network; `trainable` of its `parameters` change in training."""

    name: str
    kind: str
    output: tuple[int | None, ...]
    parameters: int
    trainable: int


@dataclass(frozen=True)
class LayerTable:
    """The layers of a network of that name, in the order in which data passes them."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """All numbers of the network; those of a layer that is used twice count once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Numbers that change in training."""
        return sum(layer.trainable for layer in self.layers)

    def text(self, width: int = 80) -> str:
        """The table and its totals, in lines of at most `width` characters.

        Layers do without the name of their network before their own; a name that is still too long for its column
        takes a line of its own.
        """
        names = [layer.name.removeprefix(f"{self.name}_") for layer in self.layers]
        cells = [
            (name, layer.kind, sides(layer.output), f"{layer.parameters:,}")
            for name, layer in zip(names, self.layers, strict=True)
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

    Raises BackboneError for a model that is no graph of layers.
    """
    model = functional(model)
    shapes: dict[int, tuple[int | None, ...]] = {}
    for call in graph(model):
        shapes.setdefault(id(call.operation), tuple(call.output_tensors[0].shape[1:]))
    counted: set[int] = set()
    layers = [_layer(layer, shapes[id(layer)], counted) for layer in model.layers]
    return LayerTable(model.name, tuple(layers))


def sides(shape: Sequence[int | None]) -> str:
    """A shape as it is read aloud: 224×224×3."""
    return "×".join("?" if size is None else f"{size:,}" if len(shape) == 1 else str(size) for size in shape)


def _layer(layer: Any, output: tuple[int | None, ...], counted: set[int]) -> Layer:
    weights = [weight for weight in layer.weights if id(weight) not in counted]  # some layers share theirs
    counted.update(map(id, weights))
    changing = {id(weight) for weight in layer.trainable_weights}
    sizes = [(math.prod(weight.shape), id(weight) in changing) for weight in weights]
    trainable = sum(size for size, changes in sizes if changes)
    return Layer(layer.name, type(layer).__name__, output, sum(size for size, _ in sizes), trainable)


def _line(row: tuple[str, str, str, str], widths: tuple[int, ...]) -> str:
    name, kind, output, number = row
    above = f"{name}\n" if len(name) > widths[0] else ""
    start = "" if above else name
    return f"{above}{start:<{widths[0]}}  {kind:<{widths[1]}}  {output:>{widths[2]}}  {number:>{widths[3]}}"
