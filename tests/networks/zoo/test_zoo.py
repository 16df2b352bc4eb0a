"""Networks of the zoo have the sizes, shapes and connections of their papers, on both backends."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.outlines import outline, registered
from support.session import ROOT
from tl.networks.stages import functional, graph, stages
from tl.networks.zoo.efficientnet_lite import efficientnet_lite0
from tl.networks.zoo.teaching_networks import (
    alexnet,
    googlenet,
    lenet5,
    resnet18,
    resnet34,
    resnet50_cifar,
    simple_cnn,
    vgg11,
    vgg16_cifar,
)

# builder, pixels, classes, parameters, those not trainable, features, parameters without the top
NETWORKS = [
    (simple_cnn, 32, 100, 325_956, 0, 256, 300_256),
    (lenet5, 32, 100, 69_656, 0, 84, 61_156),
    (vgg16_cifar, 32, 100, 34_006_948, 0, 4096, 33_597_248),
    (resnet50_cifar, 32, 100, 23_766_052, 53_120, 2048, 23_561_152),
    (alexnet, 227, 1000, 62_378_344, 0, 4096, 58_281_344),
    (vgg11, 224, 1000, 132_863_336, 0, 4096, 128_766_336),
    (googlenet, 224, 1000, 6_998_552, 0, 1024, 5_973_552),
    (resnet18, 224, 1000, 11_699_112, 9_600, 512, 11_186_112),
    (resnet34, 224, 1000, 21_814_696, 17_024, 512, 21_301_696),
    (efficientnet_lite0, 224, 1000, 4_694_024, 42_016, 1280, 3_413_024),
]
SMALL = [simple_cnn, lenet5, vgg16_cifar, resnet50_cifar]


def name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("builder", "side", "classes", "total", "fixed", "features", "trunk"), NETWORKS, ids=name)
def test_parameters_are_exact(builder, side, classes, total, fixed, features, trunk):
    whole = outline(builder, classes=classes)
    assert whole.count_params() == total
    assert sum(int(np.prod(weight.shape)) for weight in whole.non_trainable_weights) == fixed
    assert (whole.input_shape, whole.output_shape) == ((None, side, side, 3), (None, classes))
    bare = outline(builder, include_top=False, pooling="avg", input_shape=(side, side, 3))
    assert (bare.count_params(), bare.output_shape) == (trunk, (None, features))
    assert trunk + (features + 1) * classes == total  # the top is a dense layer


@pytest.mark.parametrize("builder", SMALL, ids=name)
def test_small_networks_return_probabilities(builder):
    import keras

    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    answers = np.asarray(builder(classes=7)(pixels, training=False))
    assert answers.shape == (4, 7)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert np.ptp(answers, axis=0).max() > 0  # the image matters


def test_lenet5_learns():
    import keras

    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0)
    labels = np.arange(32) % 2
    pixels = draw.random((32, 32, 32, 3), np.float32) * 0.5
    pixels[labels == 1, :16] += 0.5
    model = lenet5(classes=2)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pixels, labels, batch_size=8, epochs=8, verbose=0)
    assert model.evaluate(pixels, labels, verbose=0)[1] > 0.9


def test_lenet5_and_alexnet_have_the_shapes_of_their_papers():
    shapes = {layer.name: layer.output.shape[1:] for layer in outline(lenet5).layers}
    expected = {"c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16), "c5": (120,), "f6": (84,)}
    assert {layer: shapes[layer] for layer in expected} == expected
    layers = {layer.name: layer for layer in outline(alexnet).layers}
    assert layers["conv1"].output.shape == (None, 55, 55, 96)
    assert (layers["conv1"].kernel_size, layers["conv1"].strides) == ((11, 11), (4, 4))
    assert [layers[f"pool{at}"].output.shape[1:] for at in (1, 2, 5)] == [(27, 27, 96), (13, 13, 256), (6, 6, 256)]
    assert all(layers[f"pool{at}"].pool_size > layers[f"pool{at}"].strides for at in (1, 2, 5))  # they overlap
    assert layers["drop6"].rate == layers["drop7"].rate == 0.5


def test_vgg16_cifar_has_the_layers_of_keras_applications():
    models = (outline(vgg16_cifar, classes=100), registered("VGG16", input_shape=(32, 32, 3), classes=100))
    ours, keras = ([(weight.path, weight.shape) for weight in model.weights] for model in models)
    assert ours == keras


def test_googlenet_has_nine_inception_modules():
    model = outline(googlenet)
    modules = [layer for layer in model.layers if layer.name.endswith("_concat")]
    assert [layer.output.shape[1:] for layer in modules] == [
        *((28, 28, maps) for maps in (256, 480)),
        *((14, 14, maps) for maps in (512, 512, 512, 528, 832)),
        *((7, 7, maps) for maps in (832, 1024)),
    ]
    for module in modules:
        branches = [tensor._keras_history.operation.name.split("_", 2)[2] for tensor in module.input]
        assert branches == ["1x1", "3x3", "5x5", "pool_proj"]
        prefix = module.name.removesuffix("concat")
        starts = [model.get_layer(f"{prefix}{start}") for start in ("1x1", "3x3_reduce", "5x5_reduce", "pool")]
        assert len({id(layer.input) for layer in starts}) == 1  # all read the same maps


@pytest.mark.parametrize(
    ("builder", "layers"), [(googlenet, 22), (resnet18, 18), (resnet34, 34), (resnet50_cifar, 50)], ids=name
)
def test_networks_have_the_depth_of_their_papers(builder, layers):
    assert _depth(outline(builder)) == layers


def _depth(model: Any) -> int:
    """Convolutions and dense layers on the longest path."""
    import keras

    deepest: dict[int, int] = {}
    for call in graph(functional(model)):
        before = max((deepest[id(tensor)] for tensor in call.input_tensors), default=0)
        counts = isinstance(call.operation, keras.layers.Conv2D | keras.layers.Dense)
        deepest[id(call.output_tensors[0])] = before + counts
    return max(deepest.values())


@pytest.mark.parametrize(("builder", "blocks"), [(resnet18, (2, 2, 2, 2)), (resnet34, (3, 4, 6, 3))], ids=name)
def test_resnet_shortcuts_are_identities_or_projections(builder, blocks):
    model = outline(builder)
    for stage, count in enumerate(blocks, start=2):
        for at in range(1, count + 1):
            block = f"conv{stage}_block{at}"
            shortcut = model.get_layer(f"{block}_add").input[0]
            if stage > 2 and at == 1:
                assert shortcut is model.get_layer(f"{block}_0_bn").output
                assert model.get_layer(f"{block}_0_conv").kernel_size == (1, 1)
            else:
                assert shortcut is model.get_layer(f"{block}_1_conv").input


def test_resnet50_cifar_is_version_1_of_resnet():
    import keras

    model = resnet50_cifar(classes=100)
    keras_model = registered("ResNet50", input_shape=(32, 32, 3), classes=100)
    shapes = [{layer.name: layer.output.shape for layer in each.layers[1:]} for each in (model, keras_model)]
    assert shapes[0] == shapes[1]
    strides = {layer.name: layer.strides for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    halving = {name for name, stride in strides.items() if stride == (2, 2)}
    assert halving == {"conv1_conv", *(f"conv{stage}_block1_{at}_conv" for stage in (3, 4, 5) for at in (0, 1))}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            assert float(layer.kernel_regularizer.l2) == pytest.approx(1e-4)
    kernel = np.asarray(model.get_layer("predictions").kernel)
    assert (kernel.mean(), kernel.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(0.01, rel=0.02))


@pytest.mark.parametrize("builder", [googlenet, resnet18], ids=name)
def test_pooling_option_is_used(builder):
    maps = outline(builder, include_top=False, input_shape=(64, 64, 3))
    assert len(maps.output_shape) == 4
    pooled = outline(builder, include_top=False, pooling="max", input_shape=(64, 64, 3))
    assert pooled.layers[-1].name == "max_pool"
    assert pooled.output_shape == (None, maps.output_shape[-1])


@pytest.mark.parametrize(("builder", "expected"), [
    (simple_cnn, ["pool1", "pool2"]),
    (lenet5, ["s2", "s4"]),
    (alexnet, ["pool1", "pool2", "pool5"]),
    (vgg16_cifar, [f"block{at}_pool" for at in range(1, 6)]),
    (googlenet, ["pool1", "pool2", "pool3", "pool4", "inception_5b_concat"]),
    (resnet18, ["pool1_pool", *(f"conv{at}_block2_out" for at in range(2, 6))]),
], ids=name)  # fmt: skip
def test_stages_end_where_the_image_is_halved(builder, expected):
    model = outline(builder, include_top=False, pooling="avg")
    found = stages(model)
    assert [stage.layer for stage in found] == expected
    assert sum(stage.parameters for stage in found) == model.count_params()


def test_builder_loads_a_weights_file(tmp_path: Path):
    path = tmp_path / "lenet5.weights.h5"
    model = lenet5(classes=10)
    model.save_weights(path)
    for ours, read in zip(model.get_weights(), lenet5(classes=10, weights=path).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, read)


# 60 pixels halve to 30, 15, 8, 4, 2: even and odd sides.
SAME = [(simple_cnn, 32), (lenet5, 32), (googlenet, 32), (resnet18, 32), (efficientnet_lite0, 60)]
ELSEWHERE = """
import importlib, sys
import keras, numpy as np, openvino
keras.config.set_image_data_format("channels_first")
for row in sys.argv[2:]:
    module, name, side = row.split(":")
    shape = (3, int(side), int(side))
    model = getattr(importlib.import_module(module), name)(include_top=False, pooling="avg", input_shape=shape)
    stored = np.load(f"{sys.argv[1]}/{name}.npz")
    model.set_weights([stored[f"arr_{at}"] for at in range(len(stored.files) - 1)])
    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32")]
    model.export(f"{sys.argv[1]}/{name}.xml", format="openvino", verbose=False, input_signature=signature)
    network = openvino.Core().compile_model(f"{sys.argv[1]}/{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.save(f"{sys.argv[1]}/{name}.npy", network(stored["pixels"].transpose(0, 3, 1, 2))[0])
"""


def test_networks_compute_the_same_with_channels_first_on_openvino(tmp_path: Path):
    import keras

    keras.utils.set_random_seed(0)
    expected = {}
    for builder, side in SAME:
        model = builder(include_top=False, pooling="avg", input_shape=(side, side, 3))
        pixels = np.random.default_rng(0).random((2, side, side, 3), np.float32)
        np.savez(tmp_path / f"{builder.__name__}.npz", *model.get_weights(), pixels=pixels)
        expected[builder.__name__] = np.asarray(model(pixels, training=False))
    rows = [f"{builder.__module__}:{builder.__name__}:{side}" for builder, side in SAME]
    environment = {**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path), *rows]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    for network, features in expected.items():
        found = np.load(tmp_path / f"{network}.npy")
        assert np.ptp(features) > 0
        np.testing.assert_allclose(found, features, atol=1e-4 * np.abs(features).max(), err_msg=network)
