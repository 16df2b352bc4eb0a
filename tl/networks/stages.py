"""The stages of a Keras model, and the layers after which it can be cut in two.

A network can be cut where a single tensor carries everything: after a residual sum or a concatenation, but not inside a
branch. The registry says which families name their stages. The others have a stage per halving of the image, which ends
where the tensor to store is small: after a pooling, before the expansion that opens an inverted bottleneck.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tl.errors import BackboneError, UsageError
from tl.networks.backbones import stage_pattern
from tl.text import count


@dataclass(frozen=True)
class Stage:
    """A stage of a network that ends in the cut point `layer`; `parameters` counts all of its parameters.

    Layers after the last cut point with an image-shaped output (pooling, perhaps a top) belong to the last stage.
    """

    name: str
    layer: str
    parameters: int


@dataclass(frozen=True)
class CutPoint:
    """A layer whose output `tensor` every path goes through; `since` are the layers since the previous cut point."""

    layer: Any
    tensor: Any
    since: tuple[Any, ...]

    @property
    def parameters(self) -> int:
        """The parameters of the layers since the previous cut point."""
        distinct = {id(weight): weight for layer in self.since for weight in _weights(layer)}
        return sum(math.prod(weight.shape) for weight in distinct.values())


def stages(model: Any) -> tuple[Stage, ...]:
    """The stages of a model from input to output, each with parameters to learn.

    Folding keeps the names of stages but not always those of layers, and Keras numbers unnamed layers differently in
    each model of a process: take `layer` from the very model to cut.
    Raises BackboneError for a model that is not a graph of layers from one image to one output.
    """
    import keras

    points = cut_points(model)
    spatial = [point for point in points if len(point.tensor.shape) == 4]
    if not spatial:
        raise BackboneError(f"{model.name} has no stages: no single image-shaped tensor carries everything")
    names, ends = _ends(model, spatial)
    found: list[Stage] = []
    start = 0
    for name, end in zip(names, ends, strict=True):
        # Scaling and padding of the pixels are not a stage of their own.
        layers = [layer for point in points[start : end + 1] for layer in point.since]
        if not any(_weights(layer) and not isinstance(layer, keras.layers.Normalization) for layer in layers):
            continue
        last = len(points) - 1 if end == ends[-1] else end
        parameters = sum(point.parameters for point in points[start : last + 1])
        found.append(Stage(name or f"stage{len(found) + 1}", points[end].layer.name, parameters))
        start = end + 1
    return tuple(found)


def cut_for(model: Any, unfreeze: str) -> str | None:
    """The layer of this model after which training starts; None if the whole network is trained.

    "last" trains the last stage, "half" the second half of the stages (rounded down, because fewer are cheaper), "all"
    everything. Raises UsageError for another value.
    """
    ordered = stages(model)
    half = (len(ordered) + 1) // 2 if len(ordered) > 1 else 0
    frozen = {"last": len(ordered) - 1, "half": half, "all": 0}.get(unfreeze)
    if frozen is None:
        raise UsageError(f"--unfreeze {unfreeze}: choose last, half or all")
    return ordered[frozen - 1].layer if frozen else None


def depths(model: Any) -> dict[str, int]:
    """How many stages before the last each layer of a model is, by name."""
    ends = {stage.layer: at for at, stage in enumerate(stages(model))}
    depth: dict[str, int] = {}
    stage = 0
    for point in cut_points(model):
        depth |= {layer.name: max(0, len(ends) - 1 - stage) for layer in point.since}
        stage = ends[point.layer.name] + 1 if point.layer.name in ends else stage
    return depth


def cut_points(model: Any) -> tuple[CutPoint, ...]:
    """All layers of a model that every path from input to output goes through, in order, without the input.

    A layer that is called more than once is not a cut point, nor is any between two calls of a layer with weights.
    Raises BackboneError for a model that is not a graph of layers from one input to one output.
    """
    model = functional(model)
    calls = graph(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{count(len(model.inputs), 'input')} and {count(len(model.outputs), 'output')}"
        raise BackboneError(f"{model.name} cannot be cut: it has {counts}; build it with one of each")
    uses: dict[int, list[int]] = {}
    for at, call in enumerate(calls):
        uses.setdefault(id(call.operation), []).append(at)
    reused = [each for each in uses.values() if len(each) > 1 and _weights(calls[each[0]].operation)]
    points: list[CutPoint] = []
    since: list[Any] = []
    for at, carried in enumerate(_carried(calls, model.outputs)):
        layer, outputs = calls[at].operation, calls[at].output_tensors
        since.append(layer)
        alone = len(outputs) == 1 and carried == {id(outputs[0])} and len(uses[id(layer)]) == 1
        if alone and not calls[at].is_input and not any(each[0] <= at < each[-1] for each in reused):
            points.append(CutPoint(layer, outputs[0], tuple(since)))
            since = []
    return tuple(points)


def functional(model: Any) -> Any:
    """A model as a functional model; a Sequential is converted to one that shares its layers.

    Raises BackboneError for a subclass with its own `call`, or a model that is not built.
    """
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        return model
    name = getattr(model, "name", type(model).__name__)
    raise BackboneError(f"{name} is not a graph of layers: build it with Keras' functional API and a known input shape")


def graph(model: Any) -> list[Any]:
    """The layer calls of a functional model (Keras' nodes), each after those it depends on."""
    by_depth = model._nodes_by_depth
    return [call for depth in sorted(by_depth, reverse=True) for call in by_depth[depth]]


def _carried(calls: list[Any], outputs: list[Any]) -> Iterator[set[int]]:
    """After each call, the tensors that are still needed."""
    uses = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
    uses.update(id(tensor) for tensor in outputs)
    carried: set[int] = set()
    for call in calls:
        uses.subtract(id(tensor) for tensor in call.input_tensors)
        carried = {tensor for tensor in carried | {id(output) for output in call.output_tensors} if uses[tensor] > 0}
        yield carried


def _ends(model: Any, points: list[CutPoint]) -> tuple[list[str], list[int]]:
    pattern = stage_pattern(model.name)
    if pattern:
        names: list[str] = []
        for point in points:
            match = re.match(pattern, point.layer.name)
            names.append(match[0] if match else names[-1] if names else "")  # pool1_pool belongs to conv1
        ends = _last_of_each(names)
        if len(ends) > 1:
            return [names[end] for end in ends], ends
    ends = _last_of_each(_halvings(model, points))
    moved = [_smallest(points, _before_expansion(points, end)) for end in ends[:-1]] + ends[-1:]
    distinct = sorted(set(moved))
    return [""] * len(distinct), distinct


def _halvings(model: Any, points: list[CutPoint]) -> list[int]:
    formats = {layer.data_format for layer in model.layers if getattr(layer, "data_format", None)}
    axis = 2 if formats == {"channels_first"} else 1
    sides = [tensor.shape[axis] for tensor in (model.inputs[0], *(point.tensor for point in points))]
    if None in sides:
        raise BackboneError(f"{model.name} has no fixed image size: build it with one to find its stages")
    # Padding or its absence changes a side by a pixel or two, which rounding absorbs.
    return [round(math.log2(sides[0] / side)) for side in sides[1:]]


def _last_of_each(keys: list[Any]) -> list[int]:
    return [at for at in range(len(keys)) if at + 1 == len(keys) or keys[at + 1] != keys[at]]


def _before_expansion(points: list[CutPoint], end: int) -> int:
    """The point before the 1×1 convolution that opens an inverted bottleneck; else `end` itself."""
    import keras

    at = _last_with_weights(points, end)
    expansion = points[at].layer if at >= 0 else None
    if not isinstance(expansion, keras.layers.Conv2D) or set(expansion.kernel_size) != {1}:
        return end
    if len(points[at].since) > 1 or expansion.filters <= expansion.kernel.shape[2]:
        return end
    before = _last_with_weights(points, at - 1)
    opens = before >= 0 and not isinstance(points[before].layer, keras.layers.DepthwiseConv2D)
    return at - 1 if opens else end


def _last_with_weights(points: list[CutPoint], end: int) -> int:
    import keras

    passive = keras.layers.BatchNormalization
    while end >= 0 and len(points[end].since) == 1:
        if points[end].layer.__class__ is not passive and points[end].parameters:
            break
        end -= 1
    return end


def _smallest(points: list[CutPoint], end: int) -> int:
    """The point with the smallest tensor among the layers without parameters around this one, such as poolings."""

    def idle(at: int) -> bool:
        return at < len(points) and len(points[at].since) == 1 and not points[at].parameters

    while end > 0 and idle(end):
        end -= 1
    best = end
    while idle(end + 1):
        end += 1
        if math.prod(points[end].tensor.shape[1:]) <= math.prod(points[best].tensor.shape[1:]):
            best = end
    return best


def _weights(layer: Any) -> list[Any]:
    return list(getattr(layer, "weights", []))  # `keras.ops` in a graph have none
