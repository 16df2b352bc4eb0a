"""Photos and a run's network become heat maps of what speaks for a class: Grad-CAM, without training's framework.

Selvaraju et al., Grad-CAM (ICCV 2017): each map of the last feature map is weighted with the mean slope of the class's
score, and what adds up to more than nothing is shown. Where that map goes into the head as its mean, the slope is the
head's own weight and exact. Elsewhere (dense layers, a normalisation) it is measured: the upper part of the network
runs again with one map a little brighter and a little darker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, decode, fit, read
from tl.errors import EngineError, UsageError
from tl.learning.head import Head
from tl.networks.backbones import Recipe

Floats = NDArray[np.float32]

_STEP = 0.002  # of the map's root mean square: smaller drowns in float32's rounding, larger goes around ReLU's corners
_ROWS = 64  # maps moved in one pass; more is no faster and takes more memory
_CHANNELS_FIRST = ("Convolution", "GroupConvolution", "MaxPool", "AvgPool")  # OpenVINO has these in no other layout


@dataclass(frozen=True)
class Explanation:
    """Where a picture speaks for class `label`, which has the calibrated probability `confidence`.

    `heat` is float32 `[rows, columns]` from 0 to 1, on the grid of the last feature map, over what the network sees of
    the picture: all of it, stretched, or its centre. It is 0 everywhere where nothing speaks for the class. `features`
    are the picture's, float32 `[features]`.
    """

    heat: Floats
    label: int
    confidence: float
    features: Floats


class Explainer:
    """A network and its head, ready to say why.

    `trunk` is OpenVINO IR from uint8 photos to features, `precision` that in which it runs up to its last feature map;
    what is above runs in float32. Raises EngineError for a network without such a map, or for another recipe or head.
    """

    def __init__(self, trunk: Path, recipe: Recipe, head: Head, *, precision: str = "f32") -> None:
        self._recipe, self._head = recipe, head
        self._network = _Network(trunk, precision)
        if self._network.shape != (recipe.image_size, len(head.kernel)):
            side, features = self._network.shape
            raise EngineError(
                f"{trunk} makes {features} features of photos of {side} px, its run has {len(head.kernel)} of "
                f"{recipe.image_size} px: make the run again"
            )

    def explain(self, pictures: Sequence[ImageLike], labels: Sequence[int] | None = None) -> list[Explanation]:
        """What speaks for the class of each picture; without `labels`, for the one it is most like.

        Raises ImageError, with the reason alone, for the first picture that cannot be read, UsageError for labels that
        are not one class a picture.
        """
        classes = self._head.kernel.shape[1]
        if labels is not None and (len(labels) != len(pictures) or not all(0 <= at < classes for at in labels)):
            raise UsageError(
                f"{len(labels)} labels of {len(pictures)} pictures: give one of 0 to {classes - 1} for each"
            )
        return [self._one(picture, None if labels is None else labels[at]) for at, picture in enumerate(pictures)]

    def _one(self, picture: ImageLike, label: int | None) -> Explanation:
        size = self._recipe.image_size
        photo = fit(decode(read(picture), size), size, self._recipe.resize)
        features, maps = self._network.run(photo)
        shares = self._head.probabilities(features[None])[0]
        label = int(np.argmax(shares)) if label is None else int(label)
        slopes = self._network.slopes(maps, self._head.kernel[:, label])
        heat = np.maximum(np.einsum("chw,c->hw", maps.astype(np.float64), slopes), 0)
        most = heat.max()
        heat = (heat / most if most > 0 else heat).astype(np.float32)
        return Explanation(heat, label, float(shares[label]), features)


class _Network:
    """A trunk, cut at its last feature map, which it has with channels first."""

    def __init__(self, trunk: Path, precision: str) -> None:
        from tl.engines.openvino import OpenVINOEngine

        options = {"PERFORMANCE_HINT": "LATENCY"}
        precision = OpenVINOEngine(
            trunk, "", precision
        ).precision  # it knows the names, and loads OpenVINO the quick way
        import openvino

        core = openvino.Core()
        try:
            whole = core.read_model(trunk)
            self.shape = _shape(whole)
            cut = _last_map(whole, trunk)
            self._channels, self._plain = cut.channels, cut.plain
            ends = [whole.get_results()[0].input_value(0), cut.tensor]
            both = openvino.Model(ends, whole.get_parameters())
            self._whole = core.compile_model(both, "CPU", options | {"INFERENCE_PRECISION_HINT": precision})
            self._above: Any = None
            if not cut.plain:
                above = _above(core.read_model(trunk), trunk)
                self._above = core.compile_model(above, "CPU", options | {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise EngineError(f"{trunk} cannot be run by OpenVINO ({reason[:160]}); make the run again") from error

    def run(self, photo: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Features `[features]` and the last feature map `[channels, rows, columns]` of a photo `[size, size, 3]`."""
        features, maps = self._whole([photo[None]]).to_tuple()
        return features[0].astype(np.float32), np.moveaxis(maps, self._channels, 1)[0].astype(np.float32)

    def slopes(self, maps: Floats, weights: Floats) -> NDArray[np.float64]:
        """The mean over all positions of the slope of `weights @ features`, for each channel."""
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
            up, down = (self._features(maps, moved, by) for by in (step, -step))
            rises.append((up.astype(np.float64) - down) @ weights)
        slopes: NDArray[np.float64] = np.concatenate(rises) / (2 * float(step) * positions)
        return slopes

    def _features(self, maps: Floats, moved: NDArray[np.int64], by: np.float32) -> Floats:
        rows = np.repeat(maps[None], len(moved), axis=0)
        rows[np.arange(len(moved)), moved] += by
        features: Floats = self._above([np.ascontiguousarray(np.moveaxis(rows, 1, self._channels))])[0]
        return features


@dataclass(frozen=True)
class _Cut:
    """The last feature map: a tensor of the graph, its axis of channels, and whether its mean is the features."""

    tensor: Any
    channels: int
    plain: bool


def _shape(model: Any) -> tuple[int, int]:
    """The side of its photos in pixels and the length of its features; zeros if it has not one of each."""
    shapes = [end.partial_shape for end in (*model.inputs, *model.outputs[:1])]
    if [len(shape) for shape in shapes] != [4, 2] or shapes[0][1].is_dynamic or shapes[1][1].is_dynamic:
        return 0, 0
    return int(shapes[0][1].get_length()), int(shapes[1][1].get_length())


def _last_map(model: Any, trunk: Path) -> _Cut:
    for tensor in _waists(model):
        channels = _channel_axis(tensor)
        if channels is None:
            continue
        spatial = [axis for axis in (1, 2, 3) if axis != channels]
        sides = [tensor.get_partial_shape()[axis] for axis in spatial]
        if all(side.is_static and side.get_length() > 1 for side in sides):
            return _Cut(tensor, channels, _is_mean(model, tensor, spatial))
    raise EngineError(f"{trunk} has no feature map to explain a photo on: choose another backbone")


def _above(model: Any, trunk: Path) -> Any:
    """The part of the network above its last feature map, as a network of its own."""
    import openvino
    from openvino import opset8

    tensor = _last_map(model, trunk).tensor
    maps = opset8.parameter(tensor.get_partial_shape(), np.float32)
    for reader in tensor.get_target_inputs():
        reader.replace_source_output(maps.output(0))
    return openvino.Model(model.get_results()[:1], [maps])


def _waists(model: Any) -> Iterator[Any]:
    """The tensors through which every path from photo to features goes, from the last to the first."""
    order = {node.get_name(): at for at, node in enumerate(model.get_ordered_ops())}
    moving = set()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Parameter" or any(name in moving for name in map(_source_name, node.inputs())):
            moving.add(node.get_name())
    under_way = {_key(tensor): tensor for tensor in [model.get_results()[0].input_value(0)]}
    while under_way:
        if len(under_way) == 1:
            yield next(iter(under_way.values()))
        latest = max(under_way, key=lambda key: order[key[0]])
        node = under_way.pop(latest).get_node()
        sources = [tensor for tensor in node.input_values() if tensor.get_node().get_name() in moving]
        under_way |= {_key(tensor): tensor for tensor in sources}


def _channel_axis(tensor: Any) -> int | None:
    """Where a tensor of four axes has its channels, told by the layer that made it; None if that cannot be told."""
    axes = [0, 1, 2, 3]  # of the tensor, in the order of the tensor that is looked at
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


def _source_name(end: Any) -> str:
    return str(end.get_source_output().get_node().get_name())
