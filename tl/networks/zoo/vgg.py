"""VGG-11, and VGG-16 for small images: 3×3 convolutions alone, in five blocks that each halve the image.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (ICLR 2015), table 1,
configurations A and D. Weights are initialized as by Glorot and Bengio, which makes the paper's training in steps
unnecessary (section 3.1). Layers have the names of Keras Applications' VGG16.
"""

from typing import Any

from tl.networks.zoo import builder, flatten

# convolutions in each block
_A = (1, 1, 2, 2, 2)
_D = (2, 2, 3, 3, 3)
_FILTERS = (64, 128, 256, 512, 512)


@builder(224)
def vgg11(x: Any) -> Any:
    """Images of 224 pixels to the 4096 features of the last hidden layer; 132,863,336 parameters with 1000 classes."""
    return _layers(x, _A)


@builder(32)
def vgg16_cifar(x: Any) -> Any:
    """Images of 32 pixels to the 4096 features of the last hidden layer; 34,006,948 parameters with 100 classes.

    The five blocks leave one pixel of 512 maps, so the first dense layer has a fiftieth of the original's parameters.
    """
    return _layers(x, _D)


def _layers(x: Any, configuration: tuple[int, ...]) -> Any:
    from keras import layers

    for block, (convolutions, filters) in enumerate(zip(configuration, _FILTERS, strict=True), start=1):
        for at in range(1, convolutions + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = flatten(x)
    for at in (1, 2):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    return x
