"""The architecture of a network: its blocks, branches and repeats are those of its paper, and none is lost."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from support.outlines import outline, registered
from tl.errors import BackboneError
from tl.networks.zoo.teaching_networks import googlenet, lenet5, resnet18, resnet50_cifar, vgg16_cifar
from tl.views.pictures.model_graph import Chain, Junction, LayerStep, Repeat, architecture, label


def junctions(items: Chain) -> Iterator[tuple[Junction, int]]:
    """All junctions that stand in a row themselves or repeat, with how often."""
    for item in items:
        if isinstance(item, Junction):
            yield item, 1
        if isinstance(item, Repeat):
            yield from ((inner, times * item.times) for inner, times in junctions(item.body))


def texts(chain: Chain) -> list[str]:
    return [item.text if isinstance(item, LayerStep) else type(item).__name__ for item in chain]


def layers(model: Any) -> set[str]:
    """The names of the layers, those of models within the model in their place."""
    names: set[str] = set()
    for layer in model.layers:
        names |= layers(layer) if hasattr(layer, "layers") else {layer.name}
    return names - {"input_layer"}


def test_lenet_is_a_sequence_of_steps():
    found = architecture(outline(lenet5, classes=10), "lenet5")
    assert (found.name, found.image, found.fixed) == ("lenet5", (32, 32, 3), 0)
    layers = "5×5 conv, 6; 2×2 average pool, /2; 5×5 conv, 16; 2×2 average pool, /2; flatten"
    assert texts(found.items) == [*layers.split("; "), "dense 120", "dense 84", "dense 10"]
    assert [item.notes for item in found.items if isinstance(item, LayerStep)][-1] == ("softmax",)
    assert found.items[0].shape == (28, 28, 6)


KERAS_NETWORKS = ("DenseNet121", "InceptionV3", "ConvNeXtTiny", "MobileNetV3Small", "NASNetMobile")


@pytest.mark.parametrize("network", [googlenet, resnet50_cifar, *KERAS_NETWORKS])
def test_architecture_has_every_layer_and_parameter(network):
    model = registered(network) if isinstance(network, str) else outline(network)
    found = architecture(model)
    assert found.parameters == model.count_params()
    assert found.fixed == sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
    held = [name for item in found.items for name in item.layers]
    assert set(held) >= {name for name in layers(model) if not name.startswith("input_layer")}
    assert len(held) == len(set(held))


def test_resnet50_has_its_residual_blocks():
    found = architecture(registered("ResNet50"))
    blocks = list(junctions(found.items))
    assert [times for _, times in blocks] == [1, 2, 1, 3, 1, 5, 1, 2]
    for at, (block, _) in enumerate(blocks):
        assert (block.join, block.notes) == ("add", ("ReLU",))
        longest, shortest = sorted(block.branches, key=len, reverse=True)
        assert len(longest) == 3
        assert bool(shortest) == (at % 2 == 0)  # a projection where the stage begins, then nothing but the input itself
    repeat = next(item for item in found.items if isinstance(item, Repeat))
    assert (repeat.name, repeat.shape) == ("conv2_block2–3", (56, 56, 256))
    assert repeat.parameters == 2 * 71_552


def test_basic_blocks_have_skip_connections():
    blocks = [block for block, times in junctions(architecture(outline(resnet18)).items) for _ in range(times)]
    assert [() in block.branches for block in blocks] == [True, True, False, True, False, True, False, True]
    assert texts(max(blocks[2].branches, key=len)) == ["3×3 conv, 128, /2", "3×3 conv, 128"]
    assert texts(min(blocks[2].branches, key=len)) == ["1×1 conv, 128, /2"]


def test_inception_modules_have_four_branches_which_may_branch_again():
    modules = [block for block, _ in junctions(architecture(outline(googlenet)).items)]
    names = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    assert [module.name.removeprefix("inception_") for module in modules] == names
    assert [texts(branch) for branch in modules[0].branches] == [
        ["1×1 conv, 64"],
        ["1×1 conv, 96", "3×3 conv, 128"],
        ["1×1 conv, 16", "5×5 conv, 32"],
        ["3×3 max pool", "1×1 conv, 32"],
    ]
    assert {module.join for module in modules} == {"concat"}
    last = list(junctions(architecture(registered("InceptionV3")).items))[-1][0]
    assert [texts(branch) for branch in last.branches] == [
        ["1×1 conv, 320"],
        ["1×1 conv, 384", "Junction"],
        ["1×1 conv, 448", "3×3 conv, 384", "Junction"],
        ["3×3 average pool", "1×1 conv, 192"],
    ]


def test_layers_repeat_alone_or_in_pairs_until_their_stage_ends():
    found = architecture(outline(vgg16_cifar, classes=100))
    repeats = {item.name: item.times for item in found.items if isinstance(item, Repeat)}
    blocks = {f"block{at}_conv1–{times}": times for at, times in enumerate((2, 2, 3, 3, 3), 1)}
    assert repeats == blocks | {"fc1–2": 2}
    pairs = architecture(registered("MobileNet"))
    repeat = next(item for item in pairs.items if isinstance(item, Repeat))
    assert (repeat.times, texts(repeat.body)) == (5, ["3×3 depthwise", "1×1 conv, 512"])
    assert repeat.layers[0] == "conv_dw_7"


def test_dense_blocks_concatenate_their_input():
    found = architecture(registered("DenseNet121"))
    blocks = list(junctions(found.items))
    assert [times for _, times in blocks] == [6, 12, 24, 16]
    for block, _ in blocks:
        assert block.join == "concat"
        assert () in block.branches
        first = block.branches[0][0]
        assert isinstance(first, LayerStep)
        assert (first.before, first.text, first.notes) == (("BN", "ReLU"), "1×1 conv, 128", ("BN", "ReLU"))
    assert next(item.shape for item in found.items if isinstance(item, Repeat)) == (56, 56, 256)


def test_squeeze_and_excitation_and_cells_of_nasnet_are_one_step():
    found = architecture(registered("EfficientNetB0"))
    gates = [item for item in found.items if isinstance(item, LayerStep) and item.kind == "gate"]
    assert [gate.text for gate in gates][:2] == ["squeeze-excite, 8", "squeeze-excite, 4"]
    assert len(gates[0].layers) == 5
    cells = [item for item in architecture(registered("NASNetMobile")).items if item.shape == (28, 28, 264)]
    step, repeat = cells
    assert isinstance(step, LayerStep)
    assert isinstance(repeat, Repeat)
    assert (step.kind, step.reads, repeat.times) == ("cell", 2, 3)
    assert "10 separable" in step.text


def test_nested_models_are_replaced_by_their_layers():
    import keras

    inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 3, padding="same", name="inside")])
    image = keras.Input((8, 8, 4))
    once = inner(image)
    model = keras.Model(image, keras.layers.Add()([once, inner(once)]))
    found = architecture(model)
    first, second = found.items
    assert isinstance(first, LayerStep)
    assert isinstance(second, Junction)
    assert (first.text, first.layers) == ("3×3 conv, 4", ("inside",))
    assert texts(second.branches[0]) == ["3×3 conv, 4"]
    assert (first.parameters, second.parameters, found.parameters) == (148, 0, 148)  # shared: counted once


def test_shapes_have_channels_last():
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = outline(resnet18, input_shape=(3, 224, 224))
    finally:
        keras.config.set_image_data_format(before)
    assert model.get_layer("conv1_conv").output.shape == (None, 64, 112, 112)
    found = architecture(model)
    assert (found.image, found.items[0].shape) == ((224, 224, 3), (112, 112, 64))
    assert [times for _, times in junctions(found.items)] == [2, 1, 1, 1, 1, 1, 1]


def test_architecture_refuses_a_model_that_is_no_graph():
    import keras

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(BackboneError, match="not a graph of layers"):
        architecture(Own(name="own"))


def test_label_names_layers():
    import keras

    kinds = keras.layers
    expected = {
        kinds.Conv2D(8, (1, 7), strides=2): ("1×7 conv, 8, /2", "convolution", ()),
        kinds.Conv2D(8, 3, dilation_rate=2, activation="silu"): ("3×3 conv, 8, dilated 2", "convolution", ("SiLU",)),
        kinds.Conv2D(8, 3, groups=4): ("3×3 conv, 8, 4 groups", "convolution", ()),
        kinds.Conv2D(8, 7, groups=8): ("7×7 depthwise", "convolution", ()),
        kinds.DepthwiseConv2D(5, 2): ("5×5 depthwise, /2", "convolution", ()),
        kinds.SeparableConv2D(8, 3): ("3×3 separable, 8", "convolution", ()),
        kinds.Dense(4096, "tanh"): ("dense 4,096", "dense", ("tanh",)),
        kinds.MaxPooling2D(3, 1): ("3×3 max pool", "pooling", ()),
        kinds.ReLU(6.0): ("ReLU6", "note", ()),
        kinds.ReLU(): ("ReLU", "note", ()),
        kinds.Activation("linear"): ("", "hidden", ()),
        kinds.Dropout(0.5): ("dropout 0.5", "note", ()),
        kinds.Dropout(0.1, noise_shape=(None, 1, 1, 1)): ("drop path", "note", ()),
        kinds.GaussianNoise(0.1): ("gaussian noise", "other", ()),
        kinds.Add(): ("add", "join", ()),
    }
    for layer, words in expected.items():
        found = label(layer)
        assert (found.text, found.kind, found.notes) == words
