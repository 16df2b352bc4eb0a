"""GoogLeNet: nine inception modules, each of which looks at several scales at once.

Szegedy et al., Going Deeper with Convolutions (CVPR 2015), table 1. Without the two auxiliary classifiers, which only
help training, and without local response normalization, which does not help (Simonyan and Zisserman 2014, section 4.1).
The paper does not say how its weights are initialized; here as by He et al. (ICCV 2015), made for ReLU.
"""

from typing import Any

from tl.networks.zoo import builder, channel_axis

# Maps of the branches of each module: 1×1; 1×1 and 3×3; 1×1 and 5×5; 1×1 after pooling. Groups halve the image.
_GROUPS = (
    {"3a": (64, (96, 128), (16, 32), 32), "3b": (128, (128, 192), (32, 96), 64)},
    {
        "4a": (192, (96, 208), (16, 48), 64),
        "4b": (160, (112, 224), (24, 64), 64),
        "4c": (128, (128, 256), (24, 64), 64),
        "4d": (112, (144, 288), (32, 64), 64),
        "4e": (256, (160, 320), (32, 128), 128),
    },
    {"5a": (256, (160, 320), (32, 128), 128), "5b": (384, (192, 384), (48, 128), 128)},
)


@builder(224, dropout=0.4)
def googlenet(x: Any) -> Any:
    """Images of 224 pixels to 1024 maps; 6,998,552 parameters with 1000 classes."""
    x = _convolution(x, 64, 7, "conv1", stride=2)
    x = _halve(x, "pool1")
    x = _convolution(x, 64, 1, "conv2_reduce")
    x = _convolution(x, 192, 3, "conv2")
    for group, modules in enumerate(_GROUPS, start=2):
        x = _halve(x, f"pool{group}")
        for name, maps in modules.items():
            x = _inception(x, f"inception_{name}_", maps)
    return x


def _inception(x: Any, name: str, maps: Any) -> Any:
    from keras import layers

    one, (three_reduce, three), (five_reduce, five), pooled = maps
    ones = _convolution(x, one, 1, f"{name}1x1")
    threes = _convolution(x, three_reduce, 1, f"{name}3x3_reduce")
    threes = _convolution(threes, three, 3, f"{name}3x3")
    fives = _convolution(x, five_reduce, 1, f"{name}5x5_reduce")
    fives = _convolution(fives, five, 5, f"{name}5x5")
    pool = layers.MaxPooling2D(3, 1, "same", name=f"{name}pool")(x)
    pool = _convolution(pool, pooled, 1, f"{name}pool_proj")
    return layers.Concatenate(channel_axis(), name=f"{name}concat")([ones, threes, fives, pool])


def _convolution(x: Any, filters: int, kernel: int, name: str, *, stride: int = 1) -> Any:
    from keras import layers

    options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    return layers.Conv2D(filters, kernel, stride, name=name, **options)(x)


def _halve(x: Any, name: str) -> Any:
    from keras import layers

    return layers.MaxPooling2D(3, 2, "same", name=name)(x)
