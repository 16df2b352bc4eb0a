"""LeNet-5: a small image becomes class probabilities, by convolution and averaging in turns.

LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (Proc. IEEE 1998), figure 2.
Three simplifications that have become usual: C3 reads all six maps where the paper's table I leaves some out, the
averages have no coefficients of their own, and softmax takes the place of the radial basis functions.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo.frame import classified, flattened, image, model


def lenet5(
    include_top: bool = True,
    weights: Path | str | None = None,
    pooling: str | None = None,  # noqa: ARG001 - as in every builder
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> Any:
    """A `keras.Model` from pixels `[n, 32, 32, 3]` to `[n, classes]`; 69,656 parameters for 100 classes.

    Without its top it ends in the 84 features of F6, its last hidden layer, whatever `pooling` says.
    """
    from keras import layers

    inputs = image(input_shape, 32)
    x = layers.Conv2D(6, 5, activation="tanh", name="c1")(inputs)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    # The paper calls C5 a convolution: at 32 pixels its 5×5 kernels cover all of S4, which makes it dense.
    x = layers.Dense(120, "tanh", name="c5")(flattened(x))
    x = layers.Dense(84, "tanh", name="f6")(x)
    if include_top:
        x = classified(x, classes, classifier_activation)
    return model(inputs, x, weights, "lenet5")
