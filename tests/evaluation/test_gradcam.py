"""Grad-CAM without a framework: against formulas, against TensorFlow's gradients, and on photos."""

import json
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
from tl.learning import head as heads
from tl.learning.head import Head
from tl.networks.backbones import Recipe, backbone
from tl.networks.weights import build, resolve

CHANNELS = 6  # as many as the maps have rows and columns: nothing can be told from the sizes
RECIPE = Recipe(6, "stretch", False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Made = Callable[..., Path]
Numbers = np.ndarray


def numbers(*shape: int, seed: int = 0) -> Numbers:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def photo(size: int = 6, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def some_head(features: int, classes: int = 3) -> Head:
    return Head(numbers(features, classes, seed=1), numbers(classes, seed=2), 1.5)


@pytest.fixture
def made(tmp_path: Path) -> Made:
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
    """The network of `made` up to its maps, in NumPy: `[channels, rows, columns]`."""
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
def test_a_mean_below_the_head_is_weighted_by_the_head(made: Made, top: Callable[[Any, Any], Any]) -> None:
    head, pixels = some_head(CHANNELS), photo()
    maps = maps_of(pixels)
    if top is mean_of_channels_last:
        maps = np.maximum(maps, 0)
    if top is gated_with_a_shortcut:
        maps = np.maximum(maps / (1 + np.exp(-maps.mean((1, 2), keepdims=True))) + maps, 0)
    explainer = Explainer(made(top), RECIPE, head)
    shares = head.probabilities(maps.mean((1, 2))[None].astype(np.float32))[0]
    for label in range(3):
        [found] = explainer.explain([pixels], [label])
        np.testing.assert_allclose(found.heat, heat_by(head.kernel[:, label], maps), atol=1e-4)
        assert found.confidence == pytest.approx(shares[label], abs=1e-5)
        assert (found.label, found.heat.dtype) == (label, np.float32)
    [best] = explainer.explain([pixels])
    assert best.label == np.argmax(shares)


def test_dense_layers_over_maps(made: Made) -> None:
    head, pixels = some_head(5), photo()
    maps = maps_of(pixels)
    kernel = numbers(CHANNELS * 36, 5, seed=3).astype(np.float64) / 20
    features = np.tanh(maps.transpose(1, 2, 0).ravel() @ kernel)
    [found] = Explainer(made(dense), RECIPE, head).explain([pixels], [1])
    slopes = (kernel @ (head.kernel[:, 1] * (1 - features**2))).reshape(36, CHANNELS).mean(0)
    np.testing.assert_allclose(found.heat, heat_by(slopes, maps), atol=2e-3)


def test_layers_above_the_mean(made: Made) -> None:
    head, pixels = some_head(5), photo()
    maps = maps_of(pixels)
    kernel = numbers(5, CHANNELS, 1, 1, seed=4)[:, :, 0, 0].astype(np.float64)
    features = np.tanh(kernel @ maps.mean((1, 2)))
    [found] = Explainer(made(mean_then_convolution), RECIPE, head).explain([pixels], [1])
    np.testing.assert_allclose(found.heat, heat_by((head.kernel[:, 1] * (1 - features**2)) @ kernel, maps), atol=2e-3)


def test_two_ways_from_the_maps_to_the_features(made: Made) -> None:
    def two_ways(ops: Any, maps: Any) -> Any:
        return ops.concat([mean(ops, ops.relu(maps)), mean(ops, ops.sigmoid(maps))], 1)

    head, pixels = some_head(2 * CHANNELS), photo()
    maps = maps_of(pixels)
    share = 1 / (1 + np.exp(-maps))
    bends = np.concatenate([(maps > 0).mean((1, 2)), (share * (1 - share)).mean((1, 2))])
    slopes = (head.kernel[:, 1] * bends).reshape(2, CHANNELS).sum(0)
    [found] = Explainer(made(two_ways), RECIPE, head).explain([pixels], [1])
    np.testing.assert_allclose(found.heat, heat_by(slopes, maps), atol=5e-3)


def test_a_mean_that_leaves_the_columns(made: Made) -> None:
    def columns(ops: Any, maps: Any) -> Any:
        return ops.reduce_mean(maps, ops.constant(np.array([1, 2])), False)

    head, pixels = some_head(6), photo()
    label = int(np.argmax(head.kernel.sum(0)))
    [found] = Explainer(made(columns), RECIPE, head).explain([pixels], [label])
    np.testing.assert_allclose(found.heat, heat_by(np.ones(CHANNELS), maps_of(pixels)), atol=5e-3)


def test_a_network_with_results_besides_its_features(made: Made) -> None:
    for top, features in ((mean, CHANNELS), (dense, 5)):
        head = some_head(features)
        [alone], [beside] = (Explainer(made(top, extra), RECIPE, head).explain([photo()]) for extra in (False, True))
        np.testing.assert_array_equal(alone.heat, beside.heat)


def test_nothing_speaks_for_a_class(made: Made) -> None:
    def bright(ops: Any, maps: Any) -> Any:
        return mean(ops, ops.relu(maps))

    head = Head(np.stack([np.ones(CHANNELS), -np.ones(CHANNELS)], 1).astype(np.float32), np.zeros(2, np.float32), 1.0)
    [found] = Explainer(made(bright), RECIPE, head).explain([photo()], [1])
    assert found.heat.shape == (6, 6)
    assert not found.heat.any()


def test_what_cannot_be_explained(made: Made, tmp_path: Path) -> None:
    explainer = Explainer(made(mean), RECIPE, some_head(CHANNELS))
    assert explainer.explain([]) == []
    for labels in ([0, 1], [3], [-1]):
        with pytest.raises(UsageError, match="one of 0 to 2 for each"):
            explainer.explain([photo()], labels)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(ImageError, match="not an image"):
        explainer.explain([photo(), tmp_path / "broken.jpg"])


def test_networks_that_cannot_explain(made: Made, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="6 features of photos of 6 px, its run has 5 of 6 px"):
        Explainer(made(mean), RECIPE, some_head(5))

    def shuffled(ops: Any, maps: Any) -> Any:
        return ops.reshape(maps, ops.constant(np.array([-1, CHANNELS * 36])), False)

    assert Explainer(made(shuffled), RECIPE, some_head(CHANNELS * 36)).explain([photo()])  # its maps, not its rows
    with pytest.raises(EngineError, match="its run has 6 of 7 px"):
        Explainer(made(mean), replace(RECIPE, image_size=7), some_head(CHANNELS))
    (tmp_path / "trunk.xml").write_text("<net")
    with pytest.raises(EngineError, match="make the run again"):
        Explainer(tmp_path / "trunk.xml", RECIPE, some_head(CHANNELS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3small", "lenet5"], ids=["a mean", "dense layers"])
def test_it_is_what_tensorflows_gradients_give(name: str) -> None:
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
        [found] = explainer.explain([pixels], [label])
        assert found.heat.shape == expected.shape
        assert expected.any() == found.heat.any()
        np.testing.assert_allclose(found.heat * expected.max(), expected, atol=2e-3 * max(expected.max(), 1e-9))


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
def test_backbones_of_every_build(tmp_path: Path) -> None:
    orders = [f"{name}:{size}" for name, (size, _) in FAMILIES.items()]
    environment = {**os.environ, "KERAS_BACKEND": "openvino", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", CONVERT, str(tmp_path), *orders], check=True, cwd=ROOT, env=environment)
    for name, (size, grid) in FAMILIES.items():
        entry = backbone(name)
        recipe = replace(entry.recipe, image_size=size)
        explainer = Explainer(tmp_path / name / "trunk.xml", recipe, some_head(entry.features))
        found = explainer.explain([photo(size)] * 3, [0, 1, 2])
        assert {answer.heat.shape for answer in found} == {(grid, grid)}, name
        assert max(answer.heat.max() for answer in found) == 1, name
        assert sum(answer.confidence for answer in found) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.photos
def test_what_is_hot_matters_more_than_what_is_cold(imagenet: Any, photos: Path) -> None:
    entry = backbone("resnet50")
    cats, dogs = (sorted((photos / kind).iterdir())[:50] for kind in ("Cat", "Dog"))
    files = [path for pair in zip(cats, dogs, strict=True) for path in pair]
    labels = np.arange(len(files)) % 2
    size = entry.recipe.image_size
    pixels = np.stack([fit(decode(read(path), size), size) for path in files])
    engine = open_engine(entry, imagenet, engine="openvino")
    known = np.concatenate([engine.run_one(pixels[at : at + 16]) for at in range(20, 100, 16)])
    prints = [path.name.encode() for path in files[20:]]
    head = heads.fit(known, labels[20:], 2, fingerprints=prints).head
    trunk = cached_trunk(entry, imagenet)
    found = Explainer(trunk.xml, entry.recipe, head).explain(files[:20], labels[:20].tolist())

    def margin(changed: Numbers) -> Numbers:
        scores = head.logits(engine.run_one(np.stack(changed)))
        return np.where(labels[:20] == 1, 1, -1) * (scores[:, 1] - scores[:, 0])

    whole = margin(pixels[:20])
    lost = {}
    for which in ("hottest", "coldest"):
        changed = pixels[:20].copy()
        for image, answer in zip(changed, found, strict=True):
            ranked = np.argsort(answer.heat, axis=None)
            blank = np.zeros(answer.heat.size, bool)
            blank[ranked[-12:] if which == "hottest" else ranked[:12]] = True
            cells = np.kron(blank.reshape(answer.heat.shape), np.ones((32, 32), bool))
            image[cells] = image.mean((0, 1)).astype(np.uint8)
        lost[which] = whole - margin(changed)
    assert np.mean(lost["hottest"] > lost["coldest"]) >= 0.8
    assert np.mean(lost["hottest"]) > 2 * np.mean(lost["coldest"])
    assert (found[0].heat.shape, found[0].label, found[1].label) == ((7, 7), 0, 1)


def test_the_command(tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    images = [shapes / "noise" / "00.png", "broken.png", shapes / "stripes" / "01.png"]
    done = tl("explain", *images, "--run", tiny_run, cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()[:2]] == ["noise", "stripes"]
    assert "explain.png: 2 images" in done.stdout
    assert done.stderr.startswith("broken.png: error: ")
    told = tl("explain", images[0], "--run", tiny_run, "--label", "stripes", "--json", "--out", "a.png", cwd=tmp_path)
    [answer] = json.loads(told.stdout)
    predicted = json.loads(tl("predict", images[0], "--run", tiny_run, "--format", "json").stdout)[0]
    shares = {entry["label"]: entry["confidence"] for entry in predicted["top"]}
    assert (answer["label"], answer["path"]) == ("stripes", str(images[0]))
    assert answer["confidence"] == shares["stripes"]
    assert np.array(answer["heat"]).shape == (7, 7)
    assert (tmp_path / "a.png").is_file()


def test_the_command_refuses(tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    image = shapes / "noise" / "00.png"
    wrong = tl("explain", image, "--run", tiny_run, "--label", "stripe", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines() == [
        f"error: --label 'stripe': run {tiny_run.name} has no such class; did you mean stripes?"
    ]
    assert "it has noise, stripes" in tl("explain", image, "--run", tiny_run, "--label", "q", cwd=tmp_path).stderr
    many = tl("explain", *[image] * 101, "--run", tiny_run, cwd=tmp_path)
    assert "101 images: at most 100" in many.stderr
    assert not list(tmp_path.iterdir())


def test_no_framework_is_loaded(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    code = (
        "import sys, tl\n"
        f"tl.load({str(tiny_run)!r}).explain({str(shapes / 'noise' / '00.png')!r}).save('explain.png')\n"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'matplotlib', 'openvino.tools.ovc'} & set(sys.modules)))"
    )
    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ | path, check=True
    )
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "explain.png").is_file()
