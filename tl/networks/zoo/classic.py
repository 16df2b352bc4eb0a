"""A small image becomes class probabilities in two convolutions: the first network that lessons build by hand.

No paper: convolution and pooling twice, then one hidden dense layer, as LeNet-5 has them, with ReLU (Nair and Hinton,
ICML 2010), maximum pooling and 3×3 kernels. The kernels do not reach over the edge: 32 pixels become 30, 15, 13, 6.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo.frame import classified, flattened, image, model


def simple_cnn(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 32, 32, 3]` to `[n, classes]`; 325,956 parameters for 100 classes.

    Without its top it ends in the 256 features of the hidden dense layer, whatever `pooling` says.
    """
    from keras import layers

    inputs = image(input_shape, 32)
    x = inputs
    for at, filters in enumerate((16, 32), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{at}")(x)
    x = layers.Dense(256, "relu", name="fc1")(flattened(x))
    if include_top:
        x = classified(x, classes, classifier_activation)
    return model(inputs, x, weights, "simple_cnn")
