"""GoogLeNet: a photo becomes class probabilities, by nine inception modules that look at several scales side by side.

Szegedy et al., Going Deeper with Convolutions (CVPR 2015), table 1. Its two auxiliary classifiers, which help training
alone, and its local response normalization, which does not (Simonyan and Zisserman 2014, section 4.1), are left out.
The paper does not say how its weights are drawn; here as He et al. (ICCV 2015) do, for ReLU without normalization.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.networks.zoo import channel_axis, classify, image_input, network, pool


@dataclass(frozen=True)
class _Inception:
    """Maps of each branch; `reduce` counts those of the 1×1 convolution that comes before a dear one."""

    name: str
    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int


# Between the groups the image halves.
_GROUPS = (
    (
        _Inception("3a", 64, 96, 128, 16, 32, 32),
        _Inception("3b", 128, 128, 192, 32, 96, 64),
    ),
    (
        _Inception("4a", 192, 96, 208, 16, 48, 64),
        _Inception("4b", 160, 112, 224, 24, 64, 64),
        _Inception("4c", 128, 128, 256, 24, 64, 64),
        _Inception("4d", 112, 144, 288, 32, 64, 64),
        _Inception("4e", 256, 160, 320, 32, 128, 128),
    ),
    (
        _Inception("5a", 256, 160, 320, 32, 128, 128),
        _Inception("5b", 384, 192, 384, 48, 128, 128),
    ),
)


def googlenet(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 224, 224, 3]` to `[n, classes]`; 6,998,552 parameters for 1000 classes.

    Without its top it ends in 1024 features ("avg" or "max" pooling) or in its last maps (None).
    """
    from keras import layers

    inputs = image_input(input_shape, 224)
    x = _convolution(inputs, 64, 7, "conv1", stride=2)
    x = _halved(x, "pool1")
    x = _convolution(x, 64, 1, "conv2_reduce")
    x = _convolution(x, 192, 3, "conv2")
    for group, modules in enumerate(_GROUPS, start=2):
        x = _halved(x, f"pool{group}")
        for module in modules:
            x = _inception(x, module)
    x = pool(x, "avg" if include_top else pooling)
    if include_top:
        x = layers.Dropout(0.4, name="dropout")(x)
        x = classify(x, classes, classifier_activation)
    return network(inputs, x, weights, "googlenet")


def _inception(x: Any, module: _Inception) -> Any:
    from keras import layers

    name = f"inception_{module.name}_"
    one = _convolution(x, module.one, 1, f"{name}1x1")
    three = _convolution(x, module.three_reduce, 1, f"{name}3x3_reduce")
    three = _convolution(three, module.three, 3, f"{name}3x3")
    five = _convolution(x, module.five_reduce, 1, f"{name}5x5_reduce")
    five = _convolution(five, module.five, 5, f"{name}5x5")
    pool = layers.MaxPooling2D(3, 1, "same", name=f"{name}pool")(x)
    pool = _convolution(pool, module.pool, 1, f"{name}pool_proj")
    return layers.Concatenate(channel_axis(), name=f"{name}concat")([one, three, five, pool])


def _convolution(x: Any, filters: int, kernel: int, name: str, stride: int = 1) -> Any:
    from keras import layers

    options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    return layers.Conv2D(filters, kernel, stride, name=name, **options)(x)


def _halved(x: Any, name: str) -> Any:
    from keras import layers

    return layers.MaxPooling2D(3, 2, "same", name=name)(x)
