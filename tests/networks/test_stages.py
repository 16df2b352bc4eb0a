"""Stages are those of the papers, and a network can be cut after each."""

import numpy as np
import pytest

from support.networks import difference, outputs, random_network
from tl.errors import BackboneError, UsageError
from tl.networks.stages import cut_for, cut_points, stages
from tl.networks.trainable import above, below, fold

# The layer that ends each stage: after a halving of the image, where the tensor is smallest. None: Keras numbers it.
_EFFICIENTNET = ["block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "top_activation"]
ENDS = {
    "VGG16": [f"block{at}_pool" for at in range(1, 6)],
    "ResNet50": ["pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"],
    "ResNet50V2": ["pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "post_relu"],
    "DenseNet121": ["pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"],
    "MobileNet": [f"conv_pw_{at}_relu" for at in (1, 3, 5, 11, 13)],
    "MobileNetV2": ["expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"],
    "EfficientNetB0": _EFFICIENTNET,
    "efficientnet_lite0": _EFFICIENTNET,
    "InceptionV3": [None, None, "mixed2", "mixed7", "mixed10"],
    "ConvNeXtTiny": [None, None, None, None],
}
NAMES = {"VGG16": "block", "ResNet50": "conv", "ResNet50V2": "conv", "DenseNet121": "conv"}  # else: stage
CHANNELS = {"InceptionV3": [64, 192, 288, 768, 2048], "ConvNeXtTiny": [96, 192, 384, 768]}


@pytest.fixture(scope="module")
def network(request):
    """A network of the registry on small images, with random weights."""
    return request.param, random_network(request.param)


@pytest.mark.parametrize("network", ENDS, indirect=True)
def test_stages_end_where_the_image_is_halved(network):
    name, model = network
    found = stages(model)
    assert [stage.name for stage in found] == [f"{NAMES.get(name, 'stage')}{at + 1}" for at in range(len(ENDS[name]))]
    for stage, end in zip(found, ENDS[name], strict=True):
        assert end is None or stage.layer == end
    tensors = {point.layer.name: point.tensor for point in cut_points(model)}
    shapes = [tensors[stage.layer].shape[1:] for stage in found]
    assert name not in CHANNELS or [shape[-1] for shape in shapes] == CHANNELS[name]
    assert sum(stage.parameters for stage in found) == model.count_params()
    assert all(stage.parameters > 0 for stage in found)
    if name == "VGG16":
        assert [stage.parameters for stage in found] == [38720, 221440, 1475328, 5899776, 7079424]


@pytest.mark.parametrize(
    "network", ["VGG16", "ResNet50V2", "MobileNetV2", "InceptionV3", "ConvNeXtTiny"], indirect=True
)
def test_both_sides_of_a_cut_compute_the_whole_network(network):
    _, model = network
    pixels = np.random.default_rng(0).normal(0, 50, (2, *model.input_shape[1:])).astype(np.float32)
    expected = outputs(model, pixels)
    for stage in stages(model):
        middle = below(model, stage.layer)(pixels, training=False)
        upper = above(model, stage.layer)
        assert upper.input_shape == (None, *middle.shape[1:])
        assert difference(outputs(upper, middle), expected) < 1e-5


@pytest.mark.parametrize("network", ["ResNet50V2", "MobileNetV2", "EfficientNetB0"], indirect=True)
def test_folding_keeps_the_stages(network):
    _, model = network
    folded = fold(model)
    shapes = [below(model, stage.layer).output_shape for stage in stages(model)]
    assert [stage.name for stage in stages(folded)] == [stage.name for stage in stages(model)]
    assert [below(folded, stage.layer).output_shape for stage in stages(folded)] == shapes


@pytest.mark.parametrize(("network", "unfreeze", "layer"), [
    ("ResNet50", "last", "conv4_block6_out"),
    ("ResNet50", "half", "conv3_block4_out"),
    ("ResNet50", "all", None),
    ("VGG16", "last", "block4_pool"),
    ("InceptionV3", "half", "mixed2"),
], indirect=["network"])  # fmt: skip
def test_cut_for_returns_the_last_frozen_layer_and_names_the_allowed_values(network, unfreeze, layer):
    assert cut_for(network[1], unfreeze) == layer
    with pytest.raises(UsageError, match="--unfreeze none: choose last, half or all"):
        cut_for(network[1], "none")


def test_stages_are_the_same_with_channels_first():
    import keras

    usual = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(3, 96, 96))
    finally:
        keras.config.set_image_data_format(usual)
    assert [stage.layer for stage in stages(model)] == ENDS["MobileNetV2"]


def test_cut_points_are_on_every_path():
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="inner")(x)
    y = layers.Multiply(name="squared")([y, y])
    x = layers.Add(name="sum")([x, y])
    x = keras.ops.relu(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D(name="pool")(x))
    names = [point.layer.name for point in cut_points(model)]
    assert (names[:2], names[3:]) == (["first", "sum"], ["pool"])
    assert [layer.name for layer in cut_points(model)[1].since] == ["inner", "squared", "sum"]


def test_cut_points_are_not_between_calls_of_a_shared_layer():
    import keras
    from keras import layers

    relu = layers.ReLU(name="relu")
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((8, 8, 3))
    x = relu(shared(inputs))
    x = layers.Conv2D(3, 3, padding="same", name="between")(x)
    x = relu(shared(x))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="after")(x))
    assert [point.layer.name for point in cut_points(model)] == ["after"]
    assert sum(stage.parameters for stage in stages(model)) == model.count_params() == 84 + 84 + 112


def test_a_sequential_model_has_stages():
    import keras
    from keras import layers

    first = [layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D(name="a_pool")]
    second = [layers.Conv2D(8, 3, padding="same"), layers.MaxPooling2D(name="b_pool")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *first, *second, layers.Flatten(), layers.Dense(10)])
    parameters = [("a_pool", 112), ("b_pool", 296 + 512 * 10 + 10)]
    assert [(stage.layer, stage.parameters) for stage in stages(model)] == parameters
    assert cut_for(model, "half") == cut_for(model, "last") == "a_pool"


def test_stages_name_a_model_that_cannot_be_cut():
    import keras
    from keras import layers

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    first, second, pixels = keras.Input((4,)), keras.Input((4,)), keras.Input((None, None, 3))
    for model, message in (
        (Own(name="it"), "it is not a graph of layers: build it with Keras' functional API"),
        (keras.Sequential(name="it"), "it is not a graph of layers"),
        (keras.Model([first, second], layers.Add()([first, second]), name="it"), "it has 2 inputs and 1 output"),
        (keras.Model(first, layers.Dense(2)(first), name="it"), "it has no stages: no single image-shaped tensor"),
        (keras.Model(pixels, layers.Conv2D(2, 3)(pixels), name="it"), "it has no fixed image size"),
    ):
        with pytest.raises(BackboneError, match=message):
            stages(model)
