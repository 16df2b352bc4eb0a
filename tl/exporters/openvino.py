"""A run becomes OpenVINO IR, `classifier.xml` and `.bin`, made from the trunk it has already; without TensorFlow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.openvino import OpenVINOEngine
from tl.exporters.formats import Answering, Writing
from tl.exporters.resize import Side, resizing
from tl.learning.head import Head
from tl.networks.backbones import Recipe


def write(job: Writing) -> None:
    """The network at `path`, in int8 where there is a `calibration`; `about` in its run-time information.

    The folder is a version as OpenVINO Model Server wants it.
    """
    import openvino

    trunk = openvino.Core().read_model(job.run.trunk)
    if job.calibration:
        from tl.exporters.int8 import quantized

        trunk = quantized(trunk, job.calibration)
    whole = _whole(trunk, job.run.backbone.recipe, job.run.head)
    whole.set_rt_info(json.dumps(job.about, ensure_ascii=False).encode("utf-8", "replace").decode(), ["classifier"])
    job.path.parent.mkdir(parents=True)
    openvino.serialize(whole, job.path)


def opened(path: Path, precision: str = "f32") -> Answering:
    """The network, run by OpenVINO on the processor, in that precision ("auto": the processor's own)."""
    network = OpenVINOEngine(path, "", precision).network
    return lambda photos: np.asarray(network([photos])[0], np.float32)


def _whole(trunk: Any, recipe: Recipe, head: Head) -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    photos = ops.parameter(PartialShape([-1, -1, -1, 3]), Type.u8, name="photos")
    resized = _resized(photos, recipe)
    start = trunk.get_parameters()[0]
    for reader in start.output(0).get_target_inputs():
        reader.replace_source_output(resized.output(0))
    features = trunk.get_results()[0].input_value(0)
    kernel = ops.constant(np.ascontiguousarray(head.kernel / np.float32(head.temperature)))
    bias = ops.constant((head.bias / np.float32(head.temperature))[None])
    logits = ops.add(ops.matmul(features, kernel, False, False), bias)
    probabilities = ops.softmax(logits, 1)
    photos.output(0).set_names({"photos"})
    probabilities.output(0).set_names({"probabilities"})
    return Model([probabilities], [photos], "classifier")


def _resized(photos: Any, recipe: Recipe) -> Any:
    """Photos `[n, height, width, 3]` to uint8 `[n, size, size, 3]`, as `tl.data.images.fit` makes them."""
    from openvino import opset13 as ops

    shape, size = ops.shape_of(photos, "i32"), recipe.image_size
    by = resizing(_Operators, _side(shape, 1), _side(shape, 2), recipe)
    lines = ops.reshape(ops.convert(photos, "f32"), _whole_numbers([0, 0, -1]), True)  # the channels of a line together
    fewer = ops.matmul(by.rows.node, lines, False, False)
    width = ops.gather(shape, _whole_numbers([2]), _whole_numbers(0))
    apart = ops.concat([_whole_numbers([0, size]), width, _whole_numbers([3])], 0)
    channels = ops.transpose(ops.reshape(fewer, apart, True), _whole_numbers([0, 3, 1, 2]))
    narrow = ops.matmul(channels, by.columns.node, False, True)
    small = ops.round(narrow, "half_to_even")
    large = ops.matmul(ops.matmul(by.taller.node, small, False, False), by.wider.node, False, True)
    square = ops.clamp(ops.round(large, "half_to_even"), 0.0, 255.0)
    return ops.convert(ops.transpose(square, _whole_numbers([0, 2, 3, 1])), "u8")


def _side(shape: Any, axis: int) -> Side:
    from openvino import opset13 as ops

    length = ops.gather(shape, _whole_numbers([axis]), _whole_numbers(0))
    end = ops.squeeze(length, _whole_numbers([0]))
    places = ops.range(_whole_numbers(0), end, _whole_numbers(1), "i32")
    return _Value(ops.unsqueeze(length, _whole_numbers([0]))), _Value(ops.unsqueeze(places, _whole_numbers([0])))


def _whole_numbers(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.constant(value, np.int32)


class _Value:
    """A tensor that is added to and multiplied with plain numbers of its own type."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def __add__(self, other: Any) -> "_Value":
        return _apply("add", self, other)

    def __sub__(self, other: Any) -> "_Value":
        return _apply("subtract", self, other)

    def __rsub__(self, other: Any) -> "_Value":
        return _Value(_constant(other, self)) - self

    def __mul__(self, other: Any) -> "_Value":
        return _apply("multiply", self, other)

    def __truediv__(self, other: Any) -> "_Value":
        return _apply("divide", self, other)

    __radd__ = __add__
    __rmul__ = __mul__


class _Operators:
    """Functions of `keras.ops` as OpenVINO has them; divided are only numbers that are not negative."""

    @staticmethod
    def cast(value: _Value, kind: str) -> _Value:
        from openvino import opset13 as ops

        return _Value(ops.convert(value.node, {"float32": "f32", "int32": "i32"}[kind]))

    @staticmethod
    def absolute(value: _Value) -> _Value:
        from openvino import opset13 as ops

        return _Value(ops.absolute(value.node))

    @staticmethod
    def where(condition: _Value, first: _Value, second: _Value) -> _Value:
        from openvino import opset13 as ops

        return _Value(ops.select(condition.node, first.node, second.node))


def _operator(name: str) -> Callable[[_Value, Any], _Value]:
    return lambda value, other: _apply(name, value, other)


for _name, _there in {
    "minimum": "minimum",
    "maximum": "maximum",
    "equal": "equal",
    "greater": "greater",
    "greater_equal": "greater_equal",
    "logical_and": "logical_and",
    "floor_divide": "divide",
}.items():
    setattr(_Operators, _name, staticmethod(_operator(_there)))


def _apply(name: str, value: _Value, other: Any) -> _Value:
    from openvino import opset13 as ops

    return _Value(getattr(ops, name)(value.node, _constant(other, value)))


def _constant(value: Any, like: _Value) -> Any:
    from openvino import opset13 as ops

    return value.node if isinstance(value, _Value) else ops.constant(np.asarray(value), like.node.get_element_type())
