"""Export a run as OpenVINO IR, `classifier.xml` and `.bin`, from the trunk it already has; without TensorFlow."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.engines.openvino import OpenVINOEngine
from tl.exporters.formats import Classify, ExportJob, quantize
from tl.exporters.network import Side, resize_matrices
from tl.learning.head import IMAGENET_LEVEL, IMAGENET_WEIGHT, Head
from tl.networks.backbones import Recipe


def write(job: ExportJob) -> None:
    """Write the network, with the metadata in its run-time information, as a version for OpenVINO Model Server."""
    import openvino

    trunk = openvino.Core().read_model(job.run.trunk)
    if job.calibration:
        trunk = quantize(trunk, job.calibration)
    whole = _whole_network(trunk, job.run.backbone.recipe, job.run.head)
    whole.set_rt_info(json.dumps(job.metadata, ensure_ascii=False).encode("utf-8", "replace").decode(), ["classifier"])
    job.path.parent.mkdir(parents=True)
    openvino.serialize(whole, job.path)


def load(path: Path) -> Classify:
    """The network, run by OpenVINO on the CPU in f32."""
    network = OpenVINOEngine(path, "", "f32").network
    return lambda images: np.asarray(network([images])[0], np.float32)


def _whole_network(trunk: Any, recipe: Recipe, head: Head) -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    photos = ops.parameter(PartialShape([-1, -1, -1, 3]), Type.u8, name="photos")
    resized = _resize(photos, recipe)
    start = trunk.get_parameters()[0]
    for reader in start.output(0).get_target_inputs():
        reader.replace_source_output(resized.output(0))
    features = trunk.get_results()[0].input_value(0)
    probabilities = ops.softmax(_logits(features, head), 1)
    photos.output(0).set_names({"photos"})
    probabilities.output(0).set_names({"probabilities"})
    return Model([probabilities], [photos], "classifier")


def _logits(features: Any, head: Head) -> Any:
    """The calibrated logits of features `[n, features]`, as `Head` computes them."""
    from openvino import opset13 as ops

    def weights(array: NDArray[np.float32]) -> Any:
        return ops.constant(np.ascontiguousarray(array / np.float32(head.temperature)))

    logits = ops.add(ops.matmul(features, weights(head.kernel), False, False), weights(head.bias[None]))
    if head.normalized_kernel is None:
        return logits
    last = _integers([1])
    parts = [ops.normalize_l2(ops.multiply(ops.sign(features), ops.sqrt(ops.absolute(features))), last, 1e-24, "max")]
    if head.imagenet is not None:
        scores = ops.matmul(features, ops.constant(head.imagenet), False, False)
        centred = ops.subtract(scores, ops.reduce_mean(scores, last, True))
        spread = ops.sqrt(ops.reduce_mean(ops.multiply(centred, centred), last, True))
        kept = ops.relu(ops.subtract(centred, ops.multiply(spread, np.float32(IMAGENET_LEVEL))))
        parts.append(ops.multiply(ops.normalize_l2(kept, last, 1e-24, "max"), np.float32(IMAGENET_WEIGHT)))
    normalized = ops.concat(parts, 1)
    return ops.add(logits, ops.matmul(normalized, weights(head.normalized_kernel), False, False))


def _resize(photos: Any, recipe: Recipe) -> Any:
    """Images `[n, height, width, 3]` to uint8 `[n, size, size, 3]`, as `tl.data.images.fit` makes them."""
    from openvino import opset13 as ops

    shape, size = ops.shape_of(photos, "i32"), recipe.image_size
    by = resize_matrices(_side(shape, 1), _side(shape, 2), recipe)
    lines = ops.reshape(ops.convert(photos, "f32"), _integers([0, 0, -1]), True)  # [n, height, width * 3]
    fewer = ops.matmul(by.rows.node, lines, False, False)
    width = ops.gather(shape, _integers([2]), _integers(0))
    split = ops.concat([_integers([0, size]), width, _integers([3])], 0)
    channels = ops.transpose(ops.reshape(fewer, split, True), _integers([0, 3, 1, 2]))
    narrow = ops.matmul(channels, by.columns.node, False, True)
    small = ops.round(narrow, "half_to_even")
    large = ops.matmul(ops.matmul(by.taller.node, small, False, False), by.wider.node, False, True)
    square = ops.clamp(ops.round(large, "half_to_even"), 0.0, 255.0)
    return ops.convert(ops.transpose(square, _integers([0, 2, 3, 1])), "u8")


def _side(shape: Any, axis: int) -> Side:
    from openvino import opset13 as ops

    length = ops.gather(shape, _integers([axis]), _integers(0))
    end = ops.squeeze(length, _integers([0]))
    places = ops.range(_integers(0), end, _integers(1), "i32")
    length, places = (_Value(ops.unsqueeze(each, _integers([0]))) for each in (length, places))
    return Side(_OPERATORS, length, places)


def _integers(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(value, np.int32)


def _operator(name: str) -> Callable[["_Value", Any], "_Value"]:
    """An operator of OpenVINO for two tensors, or a tensor and plain numbers of its type."""

    def apply(value: "_Value", other: Any) -> "_Value":
        from openvino import opset13 as ops

        if not isinstance(other, _Value):
            other = _Value(ops.constant(np.asarray(other), value.node.get_element_type()))
        return _Value(getattr(ops, name)(value.node, other.node))

    return apply


class _Value:
    """A tensor that can be combined with plain numbers of its own type."""

    def __init__(self, node: Any) -> None:
        self.node = node

    __add__ = __radd__ = _operator("add")
    __sub__ = _operator("subtract")
    __mul__ = __rmul__ = _operator("multiply")
    __truediv__ = _operator("divide")

    def __rsub__(self, other: Any) -> "_Value":
        difference: _Value = self * -1 + other
        return difference


def _function(name: str) -> Callable[..., "_Value"]:
    def apply(*values: Any) -> "_Value":
        from openvino import opset13 as ops

        return _Value(getattr(ops, name)(*(each.node if isinstance(each, _Value) else each for each in values)))

    return apply


_OPERATORS = SimpleNamespace(
    cast=lambda value, kind: _function("convert")(value, {"float32": "f32", "int32": "i32"}[kind]),
    absolute=_function("absolute"),
    where=_function("select"),
    floor_divide=_operator("divide"),  # only numbers that are not negative are divided
    **{name: _operator(name) for name in ("minimum", "maximum", "equal", "greater", "greater_equal", "logical_and")},
)
"""Functions of `keras.ops` in OpenVINO."""
