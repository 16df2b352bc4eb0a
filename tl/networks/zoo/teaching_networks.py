"""The networks of the teaching material: a simple CNN, LeNet-5, AlexNet, VGG, GoogLeNet and ResNet.

The simple CNN follows no paper: convolution and pooling twice, then a hidden dense layer, as in LeNet-5, with ReLU
(Nair and Hinton, ICML 2010), maximum pooling and 3×3 kernels without padding: 32 pixels become 30, 15, 13, 6.

LeNet-5: LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (Proc. IEEE 1998),
figure 2. With three usual simplifications: C3 reads all six maps, where the paper's table I leaves some out; the
averages have no coefficients of their own; softmax replaces the radial basis functions.

AlexNet: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (NIPS 2012),
section 3.5, as one network: the paper splits conv2, conv4 and conv5 over two GPUs, which saves 1.4 M of 62.4 M
parameters. The paper says 224 pixels; its 55×55 maps need 227. Weights are initialized as by Glorot and Bengio
(AISTATS 2010): the paper's small kernels with biases of one need ninety epochs of ImageNet and do not learn in a few
steps of Adam.

VGG: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (ICLR 2015), table 1,
configurations A and D. Weights are initialized as by Glorot and Bengio, which makes the paper's training in steps
unnecessary (section 3.1). Layers have the names of Keras Applications' VGG16.

GoogLeNet: Szegedy et al., Going Deeper with Convolutions (CVPR 2015), table 1. Without the two auxiliary classifiers,
which only help training. The paper does not say how its weights are initialized; here as by He et al. (ICCV 2015),
made for ReLU. Like AlexNet it has no local response normalization, which does not help (Simonyan and Zisserman, 4.1).

ResNet: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (CVPR 2016), table 1: basic blocks for 18
and 34
layers, bottlenecks for 50. At the start of a stage the shortcut is a projection (option B) and, in a bottleneck, the
first 1×1 convolution has the stride, as in the paper's own models; elsewhere the shortcut is the identity. Weights are
initialized as by He et al. (ICCV 2015). Layers have the names of Keras Applications' ResNet50.
"""

from typing import Any

from tl.networks.zoo import builder, channel_axis, flatten


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


@builder(224)
def vgg11(x: Any) -> Any:
    """Images of 224 pixels to the 4096 features of the last hidden layer; 132,863,336 parameters with 1000 classes."""
    return _vgg(x, (1, 1, 2, 2, 2))


@builder(32)
def vgg16_cifar(x: Any) -> Any:
    """Images of 32 pixels to the 4096 features of the last hidden layer; 34,006,948 parameters with 100 classes.

    The five blocks leave one pixel of 512 maps, so the first dense layer has a fiftieth of the original's parameters.
    """
    return _vgg(x, (2, 2, 3, 3, 3))


def _vgg(x: Any, convolutions: tuple[int, ...]) -> Any:
    """Blocks that each halve the image, with so many 3×3 convolutions, then two hidden dense layers."""
    from keras import layers

    for block, count in enumerate(convolutions, start=1):
        filters = min(64 * 2 ** (block - 1), 512)
        for at in range(1, count + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv{at}")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = flatten(x)
    for at in (1, 2):
        x = layers.Dense(4096, "relu", name=f"fc{at}")(x)
        x = layers.Dropout(0.5, name=f"drop{at}")(x)
    return x


# Maps of the branches of each module: 1×1; 1×1 and 3×3; 1×1 and 5×5; 1×1 after pooling. Groups halve the image.
_INCEPTION = (
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
    from keras import layers

    x = _convolution(x, 64, 7, "conv1", stride=2)
    x = layers.MaxPooling2D(3, 2, "same", name="pool1")(x)
    x = _convolution(x, 64, 1, "conv2_reduce")
    x = _convolution(x, 192, 3, "conv2")
    for group, modules in enumerate(_INCEPTION, start=2):
        x = layers.MaxPooling2D(3, 2, "same", name=f"pool{group}")(x)
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


Options = dict[str, Any]


def _penalty() -> Options:
    import keras

    # Half of it multiplies the squared weights in the paper, and all of it in Keras' L2.
    return {"kernel_regularizer": keras.regularizers.L2(1e-4)}


def _penalized_dense() -> Options:
    import keras

    return {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01), **_penalty()}


@builder(224)
def resnet18(x: Any) -> Any:
    """Images of 224 pixels to 512 maps; 11,699,112 parameters with 1000 classes, 9,600 of them not trainable."""
    return _stages(x, (2, 2, 2, 2), _basic, {})


@builder(224)
def resnet34(x: Any) -> Any:
    """Images of 224 pixels to 512 maps; 21,814,696 parameters with 1000 classes, 17,024 of them not trainable."""
    return _stages(x, (3, 4, 6, 3), _basic, {})


@builder(32, dense=_penalized_dense)
def resnet50_cifar(x: Any) -> Any:
    """Images of 32 pixels to 2048 maps; 23,766,052 parameters with 100 classes, 53,120 of them not trainable.

    Convolutions have no bias, which BatchNorm would cancel; all kernels have an L2 penalty of 1e-4, and those of the
    classifier start as N(0, 0.01).
    """
    return _stages(x, (3, 4, 6, 3), _bottleneck, _penalty())


def _stages(x: Any, blocks: tuple[int, ...], block: Any, options: Options) -> Any:
    from keras import layers

    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _relu(_resnet_convolution(x, 64, 7, "conv1", stride=2, padding="valid", **options), "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, count in enumerate(blocks, start=2):
        for at in range(1, count + 1):
            stride = 2 if at == 1 and stage > 2 else 1
            x = block(x, 64 * 2 ** (stage - 2), f"conv{stage}_block{at}", stride=stride, options=options)
    return x


def _basic(inputs: Any, filters: int, name: str, *, stride: int, options: Options) -> Any:
    x = _relu(_resnet_convolution(inputs, filters, 3, f"{name}_1", stride=stride, **options), f"{name}_1")
    x = _resnet_convolution(x, filters, 3, f"{name}_2", **options)
    return _add(x, inputs, name, stride=stride, options=options)


def _bottleneck(inputs: Any, filters: int, name: str, *, stride: int, options: Options) -> Any:
    x = _relu(_resnet_convolution(inputs, filters, 1, f"{name}_1", stride=stride, **options), f"{name}_1")
    x = _relu(_resnet_convolution(x, filters, 3, f"{name}_2", **options), f"{name}_2")
    x = _resnet_convolution(x, 4 * filters, 1, f"{name}_3", **options)
    return _add(x, inputs, name, stride=stride, options=options)


def _add(x: Any, inputs: Any, name: str, *, stride: int, options: Options) -> Any:
    from keras import layers

    shortcut, maps = inputs, x.shape[channel_axis()]
    if stride != 1 or inputs.shape[channel_axis()] != maps:
        shortcut = _resnet_convolution(inputs, maps, 1, f"{name}_0", stride=stride, **options)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _resnet_convolution(
    x: Any, filters: int, kernel: int, name: str, *, stride: int = 1, padding: str = "same", **options: Any
) -> Any:
    from keras import layers

    options = {"use_bias": False, "kernel_initializer": "he_normal", **options}
    x = layers.Conv2D(filters, kernel, stride, padding, name=f"{name}_conv", **options)(x)
    return layers.BatchNormalization(channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _relu(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_relu")(x)
