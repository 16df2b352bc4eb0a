"""A layer becomes the words under which people know it: `3×3 conv, 64, /2`, as the papers write it."""

import re
from dataclasses import dataclass
from typing import Any

_ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "silu": "SiLU",
    "gelu": "GELU",
    "hard_silu": "hard SiLU",
    "hard_sigmoid": "hard sigmoid",
}
_NORMALIZATIONS = {"BatchNormalization": "BN", "LayerNormalization": "LN", "LayerScale": "scale"}
_HIDDEN = ("InputLayer", "ZeroPadding2D", "Cropping2D", "Reshape")  # they only fit the shape for a neighbour
_CONVOLUTIONS = {"Conv2D": "conv", "DepthwiseConv2D": "depthwise", "SeparableConv2D": "separable"}
_POOLS = {"MaxPooling2D": "max pool", "AveragePooling2D": "average pool"}
_JOINS = {"Add": "add", "Concatenate": "concat", "Multiply": "multiply", "CustomScaleLayer": "scale and add"}
_PLAIN = {
    "GlobalAveragePooling2D": ("pooling", "global average pool"),
    "GlobalMaxPooling2D": ("pooling", "global max pool"),
    "Flatten": ("other", "flatten"),
    "Rescaling": ("other", "rescale pixels"),
    "Normalization": ("other", "normalize pixels"),
}


@dataclass(frozen=True)
class Label:
    """What a layer is called, and its kind: convolution, pooling, dense, join or other; a note or hidden.

    A note, such as BatchNorm, is written beside the layer that it serves; `notes` are those a layer brings itself.
    """

    text: str
    kind: str
    notes: tuple[str, ...] = ()


def label(layer: Any) -> Label:
    """The words for a layer or an operation of Keras."""
    name = type(layer).__name__
    if name in _HIDDEN:
        return Label(words(name), "hidden")
    if name in _NORMALIZATIONS:
        return Label(_NORMALIZATIONS[name], "note")
    if name in _JOINS:
        return Label(_JOINS[name], "join")
    if name in _PLAIN:
        kind, text = _PLAIN[name]
        return Label(text, kind)
    if name in _CONVOLUTIONS:
        return Label(_convolution(layer, _CONVOLUTIONS[name]), "convolution", _activation(layer))
    if name in _POOLS:
        return Label(f"{_sides(layer.pool_size)} {_POOLS[name]}{_stride(layer)}", "pooling")
    if name == "Dense":
        return Label(f"dense {layer.units:,}", "dense", _activation(layer))
    return _remark(layer, name)


def words(name: str) -> str:
    """`ZeroPadding2D` as `zero padding`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("2D")).lower()


def _remark(layer: Any, name: str) -> Label:
    if name == "ReLU":
        return Label(f"ReLU{layer.max_value:g}" if layer.max_value is not None else "ReLU", "note")
    if name == "Activation":
        notes = _activation(layer)
        return Label(notes[0], "note") if notes else Label("", "hidden")
    if name == "StochasticDepth" or getattr(layer, "noise_shape", None):
        return Label("drop path", "note")  # at rates that grow from block to block
    if name.endswith("Dropout"):
        return Label(f"dropout {layer.rate:.2g}", "note")
    return Label(words(name), "other")


def _convolution(layer: Any, kind: str) -> str:
    groups = getattr(layer, "groups", 1)
    if groups > 1 and groups == layer.filters:
        kind, groups = "depthwise", 1
    filters = "" if kind == "depthwise" else f", {layer.filters:,}"
    apart = f", {groups} groups" if groups > 1 else ""
    dilation = f", dilated {layer.dilation_rate[0]}" if max(layer.dilation_rate) > 1 else ""
    return f"{_sides(layer.kernel_size)} {kind}{filters}{apart}{_stride(layer)}{dilation}"


def _activation(layer: Any) -> tuple[str, ...]:
    name = getattr(layer.activation, "__name__", words(type(layer.activation).__name__))
    return () if name == "linear" else (_ACTIVATIONS.get(name, name),)


def _stride(layer: Any) -> str:
    strides = layer.strides if isinstance(layer.strides, tuple | list) else (layer.strides,)
    return f", /{strides[0]}" if max(strides) > 1 else ""


def _sides(sides: Any) -> str:
    return "×".join(map(str, sides))
