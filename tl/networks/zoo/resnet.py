"""ResNet-18, ResNet-34, and ResNet-50 for small images: blocks that each add to their input.

He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (CVPR 2016), table 1: basic blocks for 18 and 34
layers, bottlenecks for 50. At the start of a stage the shortcut is a projection (option B) and, in a bottleneck, the
first 1×1 convolution has the stride, as in the paper's own models; elsewhere the shortcut is the identity. Weights are
initialized as by He et al. (ICCV 2015). Layers have the names of Keras Applications' ResNet50.
"""

from typing import Any

from tl.networks.zoo import builder, channel_axis

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
    x = _relu(_convolution(x, 64, 7, "conv1", stride=2, padding="valid", **options), "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, count in enumerate(blocks, start=2):
        for at in range(1, count + 1):
            stride = 2 if at == 1 and stage > 2 else 1
            x = block(x, 64 * 2 ** (stage - 2), f"conv{stage}_block{at}", stride=stride, options=options)
    return x


def _basic(inputs: Any, filters: int, name: str, *, stride: int, options: Options) -> Any:
    x = _relu(_convolution(inputs, filters, 3, f"{name}_1", stride=stride, **options), f"{name}_1")
    x = _convolution(x, filters, 3, f"{name}_2", **options)
    return _add(x, inputs, name, stride=stride, options=options)


def _bottleneck(inputs: Any, filters: int, name: str, *, stride: int, options: Options) -> Any:
    x = _relu(_convolution(inputs, filters, 1, f"{name}_1", stride=stride, **options), f"{name}_1")
    x = _relu(_convolution(x, filters, 3, f"{name}_2", **options), f"{name}_2")
    x = _convolution(x, 4 * filters, 1, f"{name}_3", **options)
    return _add(x, inputs, name, stride=stride, options=options)


def _add(x: Any, inputs: Any, name: str, *, stride: int, options: Options) -> Any:
    from keras import layers

    shortcut, maps = inputs, x.shape[channel_axis()]
    if stride != 1 or inputs.shape[channel_axis()] != maps:
        shortcut = _convolution(inputs, maps, 1, f"{name}_0", stride=stride, **options)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(
    x: Any, filters: int, kernel: int, name: str, *, stride: int = 1, padding: str = "same", **options: Any
) -> Any:
    from keras import layers

    options = {"use_bias": False, "kernel_initializer": "he_normal", **options}
    x = layers.Conv2D(filters, kernel, stride, padding, name=f"{name}_conv", **options)(x)
    return layers.BatchNormalization(channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _relu(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_relu")(x)
