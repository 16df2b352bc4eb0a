"""Explain predictions with heat maps: Grad-CAM, computed with OpenVINO.

Selvaraju et al., Grad-CAM (ICCV 2017): each channel of the last feature map is weighted with the mean gradient of the
class's score, and the positive part of the sum is shown. Where the head takes the mean of that feature map, the
gradient is the head's own weight, exactly. Elsewhere (dense layers, a normalisation) it is measured: the upper part of
the network runs again with one channel slightly raised and slightly lowered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, read, read_resized
from tl.errors import EngineError, UsageError
from tl.learning.head import Head
from tl.networks.backbones import Recipe
from tl.text import count

Floats = NDArray[np.float32]

_STEP = 0.002  # of the map's root mean square: smaller is lost in float32 rounding, larger crosses the kinks of ReLU
_ROWS = 64  # channels changed in one pass; more is no faster and takes more memory
_CHANNELS_FIRST = ("Convolution", "GroupConvolution", "MaxPool", "AvgPool")  # have no other layout in OpenVINO


@dataclass(frozen=True)
class Explanation:
    """Where an image supports class `label`, which has the calibrated probability `confidence`.

    `heat` is float32 `[rows, columns]` from 0 to 1, on the grid of the last feature map, over what the network sees of
    the image: all of it, stretched, or its centre. It is 0 everywhere if nothing supports the class. `features` are
    those of the image, float32 `[features]`.
    """

    heat: Floats
    label: int
    confidence: float
    features: Floats


class Explainer:
    """Explains predictions of a network and its head.

    `trunk` is OpenVINO IR from uint8 images to features; it runs in `precision` up to its last feature map, and in
    float32 above. Raises EngineError for a network without a feature map, or one that does not fit recipe and head.
    """

    def __init__(self, trunk: Path, recipe: Recipe, head: Head, *, precision: str = "f32") -> None:
        from tl.engines.openvino import OpenVINOEngine, shape_of

        self._recipe, self._head = recipe, head
        options = {"PERFORMANCE_HINT": "LATENCY"}
        precision = OpenVINOEngine(trunk, "", precision).precision  # resolves names, loads OpenVINO the fast way
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(trunk)
            side, features = shape_of([*model.inputs, *model.outputs[:1]])
            tensor, self._channels, self._plain = _last_map(model, trunk)
            both = openvino.Model([model.get_results()[0].input_value(0), tensor], model.get_parameters())
            self._whole = core.compile_model(both, "CPU", options | {"INFERENCE_PRECISION_HINT": precision})
            if not self._plain:
                above = _above(model, tensor)
                self._above = core.compile_model(above, "CPU", options | {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise EngineError(f"{trunk} cannot be run by OpenVINO ({reason[:160]}); train the run again") from error
        if (side, features) != (recipe.image_size, len(head.kernel)):
            raise EngineError(
                f"{trunk} computes {features} features of images of {side} px, its run has {len(head.kernel)} of "
                f"{recipe.image_size} px: train the run again"
            )

    def explain(self, images: Sequence[ImageLike], labels: Sequence[int] | None = None) -> list[Explanation]:
        """Explain the class of each image in `labels`, or the predicted one.

        Raises ImageError, with the reason alone, for the first image that cannot be read, UsageError for labels that
        are not one class per image.
        """
        classes = self._head.kernel.shape[1]
        if labels is not None and (len(labels) != len(images) or not all(0 <= at < classes for at in labels)):
            counted = f"{count(len(labels), 'label')} for {count(len(images), 'image')}"
            raise UsageError(f"{counted}: give one of 0 to {classes - 1} for each")
        return [self._one(image, None if labels is None else labels[at]) for at, image in enumerate(images)]

    def _one(self, image: ImageLike, label: int | None) -> Explanation:
        size = self._recipe.image_size
        pixels = read_resized(read(image), size, self._recipe.resize)
        outputs = self._whole([pixels[None]]).to_tuple()
        features = outputs[0][0].astype(np.float32)
        maps = np.moveaxis(outputs[1], self._channels, 1)[0].astype(np.float32)
        probabilities = self._head.probabilities(features[None])[0]
        label = int(np.argmax(probabilities)) if label is None else int(label)
        slopes = self._slopes(maps, self._head.gradient(features, label))
        heat = np.maximum(np.einsum("chw,c->hw", maps.astype(np.float64), slopes), 0)
        most = heat.max()
        heat = (heat / most if most > 0 else heat).astype(np.float32)
        return Explanation(heat, label, float(probabilities[label]), features)

    def _slopes(self, maps: Floats, weights: Floats) -> NDArray[np.float64]:
        """The mean gradient of `weights @ features` over all positions of maps `[channels, rows, columns]`."""
        positions = maps[0].size
        if self._plain:
            exact: NDArray[np.float64] = weights.astype(np.float64) / positions
            return exact
        step = np.float32(_STEP * np.sqrt(np.mean(np.square(maps, dtype=np.float64))))
        if step == 0:
            return np.zeros(len(maps))
        rises = []
        for start in range(0, len(maps), _ROWS):
            moved = np.arange(start, min(start + _ROWS, len(maps)))
            up, down = (self._moved_features(maps, moved, by) for by in (step, -step))
            rises.append((up.astype(np.float64) - down) @ weights)
        slopes: NDArray[np.float64] = np.concatenate(rises) / (2 * float(step) * positions)
        return slopes

    def _moved_features(self, maps: Floats, moved: NDArray[np.int64], by: np.float32) -> Floats:
        rows = np.repeat(maps[None], len(moved), axis=0)
        rows[np.arange(len(moved)), moved] += by
        features: Floats = self._above([np.ascontiguousarray(np.moveaxis(rows, 1, self._channels))])[0]
        return features


def _last_map(model: Any, trunk: Path) -> tuple[Any, int, bool]:
    """The last feature map, its axis of channels, and whether its mean is the features."""
    for tensor in _bottlenecks(model):
        channels = _channel_axis(tensor)
        if channels is None:
            continue
        spatial = [axis for axis in (1, 2, 3) if axis != channels]
        sides = [tensor.get_partial_shape()[axis] for axis in spatial]
        if all(side.is_static and side.get_length() > 1 for side in sides):
            return tensor, channels, _is_mean(model, tensor, spatial)
    raise EngineError(f"{trunk} has no feature map to explain an image with: choose another backbone")


def _above(model: Any, tensor: Any) -> Any:
    """Cut the network at its last feature map; returns the part above."""
    import openvino
    from openvino import opset8

    maps = opset8.parameter(tensor.get_partial_shape(), np.float32)
    for reader in tensor.get_target_inputs():
        reader.replace_source_output(maps.output(0))
    return openvino.Model(model.get_results()[:1], [maps])


def _bottlenecks(model: Any) -> Iterator[Any]:
    """The tensors on every path from image to features, from the last to the first."""
    order = {node.get_name(): at for at, node in enumerate(model.get_ordered_ops())}
    moving: set[str] = set()
    for node in model.get_ordered_ops():
        sources = [tensor.get_node().get_name() for tensor in node.input_values()]
        if node.get_type_name() == "Parameter" or not moving.isdisjoint(sources):
            moving.add(node.get_name())
    tensor = model.get_results()[0].input_value(0)
    frontier = {_key(tensor): tensor}
    while frontier:
        if len(frontier) == 1:
            yield next(iter(frontier.values()))
        latest = max(frontier, key=lambda key: order[key[0]])
        node = frontier.pop(latest).get_node()
        sources = [tensor for tensor in node.input_values() if tensor.get_node().get_name() in moving]
        frontier |= {_key(tensor): tensor for tensor in sources}


def _channel_axis(tensor: Any) -> int | None:
    """The channel axis of a tensor of four axes, inferred from the layer that computes it; None if unknown."""
    axes = [0, 1, 2, 3]  # of the original tensor, in the order of the current one
    while tensor is not None and tensor.get_partial_shape().rank.is_static and len(tensor.get_partial_shape()) == 4:
        node = tensor.get_node()
        kind = node.get_type_name()
        if kind in _CHANNELS_FIRST:
            return axes[1]
        if kind == "MatMul":
            return axes[3]
        if kind == "Transpose":
            turned = _numbers(node.input_value(1))
            if turned is None:
                return None
            axes = [axes[turned.index(at)] for at in range(4)]
            tensor = node.input_value(0)
            continue
        same = (source for source in node.input_values() if kind == "Concat" or _alike(source, tensor))
        tensor = next(same, None)
    return None


def _is_mean(model: Any, tensor: Any, spatial: list[int]) -> bool:
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() in ("Reshape", "Squeeze"):  # one pixel of each channel, in the same order
        node = node.input_value(0).get_node()
    if node.get_type_name() != "ReduceMean" or _key(node.input_value(0)) != _key(tensor):
        return False
    axes = _numbers(node.input_value(1))
    return axes is not None and sorted(axis % 4 for axis in axes) == spatial


def _numbers(tensor: Any) -> list[int] | None:
    node = tensor.get_node()
    return [int(number) for number in node.data.ravel()] if node.get_type_name() == "Constant" else None


def _alike(source: Any, tensor: Any) -> bool:
    constant = source.get_node().get_type_name() == "Constant"
    return not constant and source.get_partial_shape() == tensor.get_partial_shape()


def _key(tensor: Any) -> tuple[str, int]:
    return tensor.get_node().get_name(), tensor.get_index()
