"""Tests of Grad-CAM against formulas, TensorFlow's gradients, and on photos."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.session import ROOT
from tl.data.images import decode, fit, read
from tl.engines import open_engine
from tl.engines.trunk import cached_trunk
from tl.errors import EngineError, ImageError, UsageError
from tl.evaluation.gradcam import Explainer
from tl.learning.head import Head
from tl.learning.head_fit import fit_head
from tl.networks.backbones import Recipe, backbone
from tl.networks.weights import build, resolve

CHANNELS = 6  # as many as the maps have rows and columns: nothing can be done from the sizes
RECIPE = Recipe(6, "stretch", False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Write = Callable[..., Path]
Numbers = np.ndarray


def numbers(*shape: int, seed: int = 0) -> Numbers:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def photo(size: int = 6, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def some_head(features: int, classes: int = 3) -> Head:
    return Head(numbers(features, classes, seed=1), numbers(classes, seed=2), 1.5)


@pytest.fixture
def write_network(tmp_path: Path) -> Write:
    """Write a network of one convolution and what `top` puts on its maps `[n, channels, rows, columns]`."""
    import openvino
    from openvino import opset8 as ops

    def write(top: Callable[[Any, Any], Any], extra: bool = False) -> Path:
        pixels = ops.parameter(openvino.PartialShape([-1, 6, 6, 3]), np.uint8)
        image = ops.transpose(ops.convert(pixels, "f32"), ops.constant(np.array([0, 3, 1, 2])))
        kernel = ops.constant(numbers(CHANNELS, 3, 3, 3) / 500)
        maps = ops.tanh(ops.convolution(image, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
        ends = [top(ops, maps), maps] if extra else [top(ops, maps)]
        openvino.serialize(openvino.Model(ends, [pixels]), tmp_path / "trunk.xml")
        return tmp_path / "trunk.xml"

    return write


def maps_of(pixels: Numbers) -> Numbers:
    """The network of `write_network` up to its maps, in NumPy: `[channels, rows, columns]`."""
    padded = np.pad(pixels.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    kernel = numbers(CHANNELS, 3, 3, 3).astype(np.float64) / 500
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.tanh(np.einsum("hwcij,kcij->khw", windows, kernel))


def heat_by(slopes: Numbers, maps: Numbers) -> Numbers:
    heat = np.maximum(np.einsum("khw,k->hw", maps, slopes), 0)
    return heat / heat.max() if heat.any() else heat


def mean(ops: Any, maps: Any, keep: bool = False) -> Any:
    return ops.reduce_mean(maps, ops.constant(np.array([2, -1])), keep)


def mean_of_channels_last(ops: Any, maps: Any) -> Any:
    turned = ops.relu(ops.transpose(maps, ops.constant(np.array([0, 2, 3, 1]))))
    return ops.reduce_mean(turned, ops.constant(np.array([1, 2])), False)


def mean_then_flat(ops: Any, maps: Any) -> Any:
    return ops.reshape(mean(ops, maps, keep=True), ops.constant(np.array([-1, CHANNELS])), False)


def gated_with_a_shortcut(ops: Any, maps: Any) -> Any:
    gated = ops.multiply(maps, ops.sigmoid(mean(ops, maps, keep=True)))
    return mean(ops, ops.relu(ops.add(gated, maps)))


def dense(ops: Any, maps: Any) -> Any:
    turned = ops.transpose(maps, ops.constant(np.array([0, 2, 3, 1])))
    flat = ops.reshape(turned, ops.constant(np.array([-1, CHANNELS * 36])), False)
    return ops.tanh(ops.matmul(flat, ops.constant(numbers(CHANNELS * 36, 5, seed=3) / 20), False, False))


def mean_then_convolution(ops: Any, maps: Any) -> Any:
    kernel = ops.constant(numbers(5, CHANNELS, 1, 1, seed=4))
    above = ops.convolution(mean(ops, maps, keep=True), kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return ops.reshape(ops.tanh(above), ops.constant(np.array([-1, 5])), False)


@pytest.mark.parametrize("top", [mean, mean_then_flat, mean_of_channels_last, gated_with_a_shortcut])
def test_heat_of_mean_pooling_is_weighted_by_the_head(write_network, top):
    head, pixels = some_head(CHANNELS), photo()
    maps = maps_of(pixels)
    if top is mean_of_channels_last:
        maps = np.maximum(maps, 0)
    if top is gated_with_a_shortcut:
        maps = np.maximum(maps / (1 + np.exp(-maps.mean((1, 2), keepdims=True))) + maps, 0)
    explainer = Explainer(write_network(top), RECIPE, head)
    probabilities = head.probabilities(maps.mean((1, 2))[None].astype(np.float32))[0]
    for label in range(3):
        [result] = explainer.explain([pixels], [label])
        np.testing.assert_allclose(result.heat, heat_by(head.kernel[:, label], maps), atol=1e-4)
        assert result.confidence == pytest.approx(probabilities[label], abs=1e-5)
        assert (result.label, result.heat.dtype) == (label, np.float32)
    [best] = explainer.explain([pixels])
    assert best.label == np.argmax(probabilities)


def test_heat_of_dense_layers(write_network):
    head, pixels = some_head(5), photo()
    maps = maps_of(pixels)
    kernel = numbers(CHANNELS * 36, 5, seed=3).astype(np.float64) / 20
    features = np.tanh(maps.transpose(1, 2, 0).ravel() @ kernel)
    [result] = Explainer(write_network(dense), RECIPE, head).explain([pixels], [1])
    slopes = (kernel @ (head.kernel[:, 1] * (1 - features**2))).reshape(36, CHANNELS).mean(0)
    np.testing.assert_allclose(result.heat, heat_by(slopes, maps), atol=2e-3)


def test_heat_of_layers_above_the_mean(write_network):
    head, pixels = some_head(5), photo()
    maps = maps_of(pixels)
    kernel = numbers(5, CHANNELS, 1, 1, seed=4)[:, :, 0, 0].astype(np.float64)
    features = np.tanh(kernel @ maps.mean((1, 2)))
    [result] = Explainer(write_network(mean_then_convolution), RECIPE, head).explain([pixels], [1])
    np.testing.assert_allclose(result.heat, heat_by((head.kernel[:, 1] * (1 - features**2)) @ kernel, maps), atol=2e-3)


def test_heat_of_two_paths_to_the_features(write_network):
    def two_ways(ops: Any, maps: Any) -> Any:
        return ops.concat([mean(ops, ops.relu(maps)), mean(ops, ops.sigmoid(maps))], 1)

    head, pixels = some_head(2 * CHANNELS), photo()
    maps = maps_of(pixels)
    share = 1 / (1 + np.exp(-maps))
    bends = np.concatenate([(maps > 0).mean((1, 2)), (share * (1 - share)).mean((1, 2))])
    slopes = (head.kernel[:, 1] * bends).reshape(2, CHANNELS).sum(0)
    [result] = Explainer(write_network(two_ways), RECIPE, head).explain([pixels], [1])
    np.testing.assert_allclose(result.heat, heat_by(slopes, maps), atol=5e-3)


def test_heat_of_a_mean_over_rows(write_network):
    def columns(ops: Any, maps: Any) -> Any:
        return ops.reduce_mean(maps, ops.constant(np.array([1, 2])), False)

    head, pixels = some_head(6), photo()
    label = int(np.argmax(head.kernel.sum(0)))
    [result] = Explainer(write_network(columns), RECIPE, head).explain([pixels], [label])
    np.testing.assert_allclose(result.heat, heat_by(np.ones(CHANNELS), maps_of(pixels)), atol=5e-3)


def test_explainer_ignores_other_outputs(write_network):
    for top, features in ((mean, CHANNELS), (dense, 5)):
        head = some_head(features)
        [alone], [beside] = (
            Explainer(write_network(top, extra), RECIPE, head).explain([photo()]) for extra in (False, True)
        )
        np.testing.assert_array_equal(alone.heat, beside.heat)


def test_heat_is_zero_if_nothing_supports_the_class(write_network):
    def bright(ops: Any, maps: Any) -> Any:
        return mean(ops, ops.relu(maps))

    head = Head(np.stack([np.ones(CHANNELS), -np.ones(CHANNELS)], 1).astype(np.float32), np.zeros(2, np.float32), 1.0)
    [result] = Explainer(write_network(bright), RECIPE, head).explain([photo()], [1])
    assert result.heat.shape == (6, 6)
    assert not result.heat.any()


def test_explain_refuses_wrong_labels_and_broken_images(write_network, tmp_path):
    explainer = Explainer(write_network(mean), RECIPE, some_head(CHANNELS))
    assert explainer.explain([]) == []
    for labels in ([0, 1], [3], [-1]):
        with pytest.raises(UsageError, match="one of 0 to 2 for each"):
            explainer.explain([photo()], labels)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(ImageError, match="not an image"):
        explainer.explain([photo(), tmp_path / "broken.jpg"])


def test_explainer_refuses_a_network_that_does_not_fit(write_network, tmp_path):
    with pytest.raises(EngineError, match="6 features of images of 6 px, its run has 5 of 6 px"):
        Explainer(write_network(mean), RECIPE, some_head(5))

    def shuffled(ops: Any, maps: Any) -> Any:
        return ops.reshape(maps, ops.constant(np.array([-1, CHANNELS * 36])), False)

    assert Explainer(write_network(shuffled), RECIPE, some_head(CHANNELS * 36)).explain([photo()])  # its maps
    with pytest.raises(EngineError, match="its run has 6 of 7 px"):
        Explainer(write_network(mean), replace(RECIPE, image_size=7), some_head(CHANNELS))
    (tmp_path / "trunk.xml").write_text("<net")
    with pytest.raises(EngineError, match="train the run again"):
        Explainer(tmp_path / "trunk.xml", RECIPE, some_head(CHANNELS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3small", "lenet5"], ids=["a mean", "dense layers"])
def test_heat_agrees_with_tensorflow_gradients(name):
    import keras
    import tensorflow as tf

    entry = backbone(name)
    weights = resolve(entry, "none", seed=7)
    trunk = cached_trunk(entry, weights)
    model = build(entry, weights)
    maps_end = model.get_layer("s4").output if name == "lenet5" else model.layers[-2].output
    below, above = keras.Model(model.input, maps_end), keras.Model(maps_end, model.output)
    head, pixels = some_head(entry.features), photo(entry.recipe.image_size)
    recipe = entry.recipe
    prepared = (pixels[..., ::-1] if recipe.bgr else pixels).astype(np.float32)
    maps = below(((prepared - recipe.mean) / recipe.std)[None].astype(np.float32), training=False)
    explainer = Explainer(trunk.xml, recipe, head)
    for label in range(3):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score = tf.linalg.matvec(head.kernel.T, above(maps, training=False)[0])[label]
        slopes = tape.gradient(score, maps).numpy()[0].astype(np.float64).mean((0, 1))
        expected = np.maximum(maps.numpy()[0].astype(np.float64) @ slopes, 0)
        [result] = explainer.explain([pixels], [label])
        assert result.heat.shape == expected.shape
        assert expected.any() == result.heat.any()
        np.testing.assert_allclose(result.heat * expected.max(), expected, atol=2e-3 * max(expected.max(), 1e-9))


FAMILIES = {  # side of the photos, grid of the last map
    "simple-cnn": (32, 6),
    "vgg16": (64, 2),
    "efficientnet-lite0": (64, 2),
    "googlenet": (64, 2),
    "alexnet": (67, 3),  # its last pooling leaves one pixel here
    "resnet18": (64, 2),
}
CONVERT = """
import sys
from dataclasses import replace
from pathlib import Path
from tl.engines.trunk import write_trunk
from tl.networks.backbones import backbone
from tl.networks.weights import resolve
for order in sys.argv[2:]:
    name, size = order.split(":")
    entry = backbone(name)
    entry = replace(entry, recipe=replace(entry.recipe, image_size=int(size)))
    (Path(sys.argv[1]) / name).mkdir()
    write_trunk(entry, resolve(entry, "none"), None, Path(sys.argv[1]) / name)
"""


@pytest.mark.slow
def test_explainer_takes_every_architecture(tmp_path):
    orders = [f"{name}:{size}" for name, (size, _) in FAMILIES.items()]
    environment = {**os.environ, "KERAS_BACKEND": "openvino", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", CONVERT, str(tmp_path), *orders], check=True, cwd=ROOT, env=environment)
    for name, (size, grid) in FAMILIES.items():
        entry = backbone(name)
        recipe = replace(entry.recipe, image_size=size)
        explainer = Explainer(tmp_path / name / "trunk.xml", recipe, some_head(entry.features))
        results = explainer.explain([photo(size)] * 3, [0, 1, 2])
        assert {answer.heat.shape for answer in results} == {(grid, grid)}, name
        assert max(answer.heat.max() for answer in results) == 1, name
        assert sum(answer.confidence for answer in results) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.photos
def test_hot_regions_matter_more_than_cold_ones(imagenet, photos):
    entry = backbone("resnet50")
    cats, dogs = (sorted((photos / kind).iterdir())[:50] for kind in ("Cat", "Dog"))
    files = [path for pair in zip(cats, dogs, strict=True) for path in pair]
    labels = np.arange(len(files)) % 2
    size = entry.recipe.image_size
    pixels = np.stack([fit(decode(read(path), size), size) for path in files])
    engine = open_engine(entry, imagenet, engine="openvino")
    known = np.concatenate([engine.run_one(pixels[at : at + 16]) for at in range(20, 100, 16)])
    prints = [path.name.encode() for path in files[20:]]
    head = fit_head(known, labels[20:], 2, fingerprints=prints).head
    trunk = cached_trunk(entry, imagenet)
    results = Explainer(trunk.xml, entry.recipe, head).explain(files[:20], labels[:20].tolist())

    def margin(changed: Numbers) -> Numbers:
        scores = head.logits(engine.run_one(np.stack(changed)))
        return np.where(labels[:20] == 1, 1, -1) * (scores[:, 1] - scores[:, 0])

    whole = margin(pixels[:20])
    lost = {}
    for which in ("hottest", "coldest"):
        changed = pixels[:20].copy()
        for image, answer in zip(changed, results, strict=True):
            ranked = np.argsort(answer.heat, axis=None)
            blank = np.zeros(answer.heat.size, bool)
            blank[ranked[-12:] if which == "hottest" else ranked[:12]] = True
            cells = np.kron(blank.reshape(answer.heat.shape), np.ones((32, 32), bool))
            image[cells] = image.mean((0, 1)).astype(np.uint8)
        lost[which] = whole - margin(changed)
    assert np.mean(lost["hottest"] > lost["coldest"]) >= 0.8
    assert np.mean(lost["hottest"]) > 2 * np.mean(lost["coldest"])
    assert (results[0].heat.shape, results[0].label, results[1].label) == ((7, 7), 0, 1)
