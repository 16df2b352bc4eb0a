"""A small image becomes class probabilities in two convolutions: the first network that lessons build by hand.

No paper: convolution and pooling twice, then one hidden dense layer, as LeNet-5 has them, with ReLU (Nair and Hinton,
ICML 2010), maximum pooling and 3×3 kernels. The kernels do not reach over the edge: 32 pixels become 30, 15, 13, 6.

LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (Proc. IEEE 1998), figure 2.
Three simplifications that have become usual: C3 reads all six maps where the paper's table I leaves some out, the
averages have no coefficients of their own, and softmax takes the place of the radial basis functions.

Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (NIPS 2012), section
3.5, as one network: the paper split conv2, conv4 and conv5 over two GPUs, which saves 1.4 M of 62.4 M parameters.
Local response normalization is left out: Simonyan and Zisserman (2014, section 4.1) found that it does not help.
The paper writes 224 pixels; its 55×55 maps need 227. Weights are drawn as Glorot and Bengio do (AISTATS 2010): the
paper's own start, small kernels with biases of one, was made for ninety rounds of gradient descent over ImageNet and
does not get under way in a few steps of Adam.
"""

from pathlib import Path
from typing import Any

from tl.networks.zoo import classify, flatten, image_input, network


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

    inputs = image_input(input_shape, 32)
    x = inputs
    for at, filters in enumerate((16, 32), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{at}")(x)
    x = layers.Dense(256, "relu", name="fc1")(flatten(x))
    if include_top:
        x = classify(x, classes, classifier_activation)
    return network(inputs, x, weights, "simple_cnn")


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

    inputs = image_input(input_shape, 32)
    x = layers.Conv2D(6, 5, activation="tanh", name="c1")(inputs)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    # The paper calls C5 a convolution: at 32 pixels its 5×5 kernels cover all of S4, which makes it dense.
    x = layers.Dense(120, "tanh", name="c5")(flatten(x))
    x = layers.Dense(84, "tanh", name="f6")(x)
    if include_top:
        x = classify(x, classes, classifier_activation)
    return network(inputs, x, weights, "lenet5")


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

    inputs = image_input(input_shape, 227)
    x = layers.Conv2D(96, 11, 4, activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)  # pools of 3 every 2 pixels overlap
    x = layers.Conv2D(256, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    for at, filters in ((3, 384), (4, 384), (5, 256)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{at}")(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = flatten(x)
    for at in (6, 7):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    if include_top:
        x = classify(x, classes, classifier_activation)
    return network(inputs, x, weights, "alexnet")
