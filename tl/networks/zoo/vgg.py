"""VGG: a photo becomes class probabilities, by 3×3 convolutions alone, in five blocks that each halve the image.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (ICLR 2015), table 1,
configurations A (VGG-11), D (VGG-16) and E (VGG-19). Weights are drawn as Glorot and Bengio do, which the paper found
to make its training in steps unnecessary (section 3.1). Layers have the names of Keras Applications' VGG16 and VGG19.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo import classify, flatten, image_input, network

# convolutions in each block
_A = (1, 1, 2, 2, 2)
_D = (2, 2, 3, 3, 3)
_E = (2, 2, 4, 4, 4)
_FILTERS = (64, 128, 256, 512, 512)


def vgg11(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 224, 224, 3]` to `[n, classes]`; 132,863,336 parameters for 1000 classes.

    Without its top it ends in the 4096 features of the last hidden dense layer, behind its dropout, whatever `pooling`
    says.
    """
    inputs = image_input(input_shape, 224)
    outputs = _network(inputs, _A, classes if include_top else None, classifier_activation)
    return network(inputs, outputs, weights, "vgg11")


def vgg19(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 224, 224, 3]` to `[n, classes]`; 143,667,240 parameters for 1000 classes.

    Without its top it ends as VGG-11 does, where Keras Applications' VGG19 ends in 512 pooled maps.
    """
    inputs = image_input(input_shape, 224)
    outputs = _network(inputs, _E, classes if include_top else None, classifier_activation)
    return network(inputs, outputs, weights, "vgg19")


def vgg16_cifar(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """VGG-16 for small images, `[n, 32, 32, 3]` to `[n, classes]`; 34,006,948 parameters for 100 classes.

    The five blocks leave one pixel of 512 maps, so that its first dense layer is a fiftieth of the original's.
    Without its top it ends as VGG-11 does.
    """
    inputs = image_input(input_shape, 32)
    outputs = _network(inputs, _D, classes if include_top else None, classifier_activation)
    return network(inputs, outputs, weights, "vgg16_cifar")


def _network(x: Any, configuration: tuple[int, ...], classes: int | None, activation: str | None) -> Any:
    from keras import layers

    for block, (convolutions, filters) in enumerate(zip(configuration, _FILTERS, strict=True), start=1):
        for at in range(1, convolutions + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = flatten(x)
    for at in (1, 2):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    return x if classes is None else classify(x, classes, activation)
