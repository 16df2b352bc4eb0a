"""Small classic networks: a CNN with two convolutions, LeNet-5 and AlexNet.

The simple CNN follows no paper: convolution and pooling twice, then a hidden dense layer, as in LeNet-5, with ReLU
(Nair and Hinton, ICML 2010), maximum pooling and 3×3 kernels without padding: 32 pixels become 30, 15, 13, 6.

LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (Proc. IEEE 1998), figure 2.
With three usual simplifications: C3 reads all six maps, where the paper's table I leaves some out; the averages have no
coefficients of their own; softmax replaces the radial basis functions.

Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (NIPS 2012), section
3.5, as one network: the paper splits conv2, conv4 and conv5 over two GPUs, which saves 1.4 M of 62.4 M parameters.
Without local response normalization, which does not help (Simonyan and Zisserman 2014, section 4.1). The paper says 224
pixels; its 55×55 maps need 227. Weights are initialized as by Glorot and Bengio (AISTATS 2010): the paper's small
kernels with biases of one need ninety epochs of ImageNet and do not learn in a few steps of Adam.
"""

from typing import Any

from tl.networks.zoo import builder, flatten


@builder(32)
def simple_cnn(x: Any) -> Any:
    """Images of 32 pixels to 256 features of a hidden dense layer; 325,956 parameters with 100 classes."""
    from keras import layers

    for at, filters in enumerate((16, 32), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{at}")(x)
    return layers.Dense(256, "relu", name="fc1")(flatten(x))


@builder(32)
def lenet5(x: Any) -> Any:
    """Images of 32 pixels to the 84 features of F6, the last hidden layer; 69,656 parameters with 100 classes."""
    from keras import layers

    x = layers.Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    # The paper calls C5 a convolution: at 32 pixels its 5×5 kernels cover all of S4, so it is a dense layer.
    x = layers.Dense(120, "tanh", name="c5")(flatten(x))
    return layers.Dense(84, "tanh", name="f6")(x)


@builder(227)
def alexnet(x: Any) -> Any:
    """Images of 227 pixels to the 4096 features of the last hidden layer; 62,378,344 parameters with 1000 classes."""
    from keras import layers

    x = layers.Conv2D(96, 11, 4, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = layers.Conv2D(256, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    for at, filters in ((3, 384), (4, 384), (5, 256)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{at}")(x)
    x = flatten(layers.MaxPooling2D(3, 2, name="pool5")(x))
    for at in (6, 7):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    return x
