"""ResNet: a photo becomes class probabilities, by blocks that each add something to what they are given.

He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (CVPR 2016), table 1: basic blocks for 18 and 34
layers, bottlenecks for 50. Where a stage begins, the shortcut is a projection (option B) and, in the bottleneck, the
first 1×1 convolution takes the stride, as in the paper's own models; elsewhere the shortcut is the identity. Weights
are drawn as He et al. (ICCV 2015) do. Layers have the names of Keras Applications' ResNet50.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo import channel_axis, classify, image_input, network, pool

_WEIGHT_DECAY = 1e-4  # half of it multiplies the squared weights in the paper, all of it in Keras' L2


def resnet18(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 224, 224, 3]` to `[n, classes]`; 11,699,112 parameters for 1000 classes.

    Of these the 9,600 means and variances of its BatchNorm are not trainable. Without its top it ends in 512 features
    ("avg" or "max" pooling) or in its last maps (None).
    """
    inputs = image_input(input_shape, 224)
    x = pool(_maps(inputs, (2, 2, 2, 2), _basic), "avg" if include_top else pooling)
    return network(inputs, classify(x, classes, classifier_activation) if include_top else x, weights, "resnet18")


def resnet34(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 224, 224, 3]` to `[n, classes]`; 21,814,696 parameters for 1000 classes.

    Of these 17,024 are not trainable. Without its top it ends as ResNet-18 does.
    """
    inputs = image_input(input_shape, 224)
    x = pool(_maps(inputs, (3, 4, 6, 3), _basic), "avg" if include_top else pooling)
    return network(inputs, classify(x, classes, classifier_activation) if include_top else x, weights, "resnet34")


def resnet50_cifar(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """ResNet-50 for small images, `[n, 32, 32, 3]` to `[n, classes]`; 23,766,052 parameters for 100 classes.

    Of these 53,120 are not trainable. Convolutions have no bias, which BatchNorm would take out again; all kernels have
    an L2 penalty of 1e-4, and the classifier starts as N(0, 0.01). Without its top it ends in 2048 features ("avg" or
    "max" pooling) or in its last maps (None).
    """
    import keras

    inputs = image_input(input_shape, 32)
    penalty = {"kernel_regularizer": keras.regularizers.L2(_WEIGHT_DECAY)}
    x = pool(_maps(inputs, (3, 4, 6, 3), _bottleneck, penalty), "avg" if include_top else pooling)
    if include_top:
        start = keras.initializers.RandomNormal(stddev=0.01)
        x = classify(x, classes, classifier_activation, kernel_initializer=start, **penalty)
    return network(inputs, x, weights, "resnet50_cifar")


def _maps(x: Any, blocks: tuple[int, ...], block: Any, penalty: dict[str, Any] | None = None) -> Any:
    from keras import layers

    penalty = penalty or {}
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _activated(_convolution(x, 64, 7, 2, "conv1", penalty, padding="valid"), "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, count in enumerate(blocks, start=2):
        for at in range(1, count + 1):
            stride = 2 if at == 1 and stage > 2 else 1
            x = block(x, 64 * 2 ** (stage - 2), stride, f"conv{stage}_block{at}", penalty)
    return x


def _basic(inputs: Any, filters: int, stride: int, name: str, penalty: dict[str, Any]) -> Any:
    x = _activated(_convolution(inputs, filters, 3, stride, f"{name}_1", penalty), f"{name}_1")
    x = _convolution(x, filters, 3, 1, f"{name}_2", penalty)
    return _joined(x, inputs, stride, name, penalty)


def _bottleneck(inputs: Any, filters: int, stride: int, name: str, penalty: dict[str, Any]) -> Any:
    x = _activated(_convolution(inputs, filters, 1, stride, f"{name}_1", penalty), f"{name}_1")
    x = _activated(_convolution(x, filters, 3, 1, f"{name}_2", penalty), f"{name}_2")
    x = _convolution(x, 4 * filters, 1, 1, f"{name}_3", penalty)
    return _joined(x, inputs, stride, name, penalty)


def _joined(x: Any, inputs: Any, stride: int, name: str, penalty: dict[str, Any]) -> Any:
    from keras import layers

    shortcut, maps = inputs, x.shape[channel_axis()]
    if stride != 1 or inputs.shape[channel_axis()] != maps:
        shortcut = _convolution(inputs, maps, 1, stride, f"{name}_0", penalty)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(
    x: Any, filters: int, kernel: int, stride: int, name: str, penalty: dict[str, Any], padding: str = "same"
) -> Any:
    from keras import layers

    options = {"use_bias": False, "kernel_initializer": "he_normal", **penalty}
    x = layers.Conv2D(filters, kernel, stride, padding, name=f"{name}_conv", **options)(x)
    return layers.BatchNormalization(channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _activated(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_relu")(x)
