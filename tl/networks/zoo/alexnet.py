"""AlexNet: a photo becomes class probabilities, by the network that won ImageNet 2012.

Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (NIPS 2012), section
3.5, as one network: the paper split conv2, conv4 and conv5 over two GPUs, which saves 1.4 M of 62.4 M parameters.
Local response normalization is left out: Simonyan and Zisserman (2014, section 4.1) found that it does not help.
The paper writes 224 pixels; its 55×55 maps need 227. Weights are drawn as Glorot and Bengio do (AISTATS 2010): the
paper's own start, small kernels with biases of one, was made for ninety rounds of gradient descent over ImageNet and
does not get under way in a few steps of Adam.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo.frame import classified, flattened, image, model


def alexnet(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 227, 227, 3]` to `[n, classes]`; 62,378,344 parameters for 1000 classes.

    Without its top it ends in the 4096 features of the last hidden dense layer, behind its dropout, whatever `pooling`
    says.
    """
    from keras import layers

    inputs = image(input_shape, 227)
    x = layers.Conv2D(96, 11, 4, activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)  # pools of 3 every 2 pixels overlap
    x = layers.Conv2D(256, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    for at, filters in ((3, 384), (4, 384), (5, 256)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{at}")(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = flattened(x)
    for at in (6, 7):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    if include_top:
        x = classified(x, classes, classifier_activation)
    return model(inputs, x, weights, "alexnet")
