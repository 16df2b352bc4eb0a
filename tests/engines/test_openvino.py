"""The engines against Keras itself: same network, same weights, same photos."""

import subprocess
import sys

import numpy as np
import pytest

from support.session import ROOT
from tl import engines as opening
from tl.engines import open_engine
from tl.engines.trunk import cached_trunk, trunk_key
from tl.errors import EngineError, WeightsError
from tl.networks.backbones import backbone
from tl.networks.weights import Weights, build, resolve
from tl.settings import Settings


def photos(size: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def by_keras(name: str, weights: Weights, pixels: np.ndarray) -> np.ndarray:
    """Features by Keras' own preprocessing and network, nothing of ours but the weights."""
    import keras

    entry = backbone(name)
    homes = {"mobilenetv2": "mobilenet_v2", "resnet50": "resnet50", "efficientnetb0": "efficientnet"}
    model = build(entry, weights)
    prepared = getattr(keras.applications, homes[name]).preprocess_input(pixels.astype(np.float32))
    return model(prepared, training=False).numpy()


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnetb0"], ids=["channels first", "by way of TensorFlow"])
def test_openvino_and_tensorflow_give_what_keras_gives(name, tmp_path):
    import keras

    entry = backbone(name)
    keras.utils.set_random_seed(5)
    model = getattr(keras.applications, entry.builder)(
        include_top=False, weights=None, pooling="avg", input_shape=(224, 224, 3)
    )
    path = tmp_path / "random.weights.h5"
    model.save_weights(path)
    weights = resolve(entry, str(path))
    pixels = photos(224)
    expected = by_keras(name, weights, pixels)
    for engine in ("openvino", "tensorflow"):
        ready = open_engine(entry, weights, engine=engine, precision="f32")
        found = ready.run_one(pixels)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < 1e-4, (engine, error)
        assert getattr(ready, "shape", (224, entry.features)) == (224, entry.features)


def test_resnet50_is_that_of_keras_with_imagenet_weights(imagenet):
    entry = backbone("resnet50")
    pixels = photos(224)
    expected = by_keras("resnet50", imagenet, pixels)
    exact = open_engine(entry, imagenet, engine="openvino", precision="f32").run_one(pixels)
    assert np.abs(exact - expected).max() / np.abs(expected).max() < 1e-4
    fast = open_engine(entry, imagenet, engine="openvino")
    error = np.linalg.norm(fast.run_one(pixels) - expected) / np.linalg.norm(expected)
    assert error < (0.05 if fast.precision == "bf16" else 1e-4)


def test_batches_of_any_size_and_an_empty_one(tiny_run):
    from tl.engines.openvino import OpenVINOEngine

    engine = OpenVINOEngine(tiny_run / "trunk.xml", "key", "f32")
    pixels = photos(engine.shape[0], 40)
    together = engine.run_one(pixels)
    sizes = [16, 0, 1, 16, 7]
    starts = np.cumsum([0, *sizes])
    batches = [(at, pixels[starts[at] : starts[at + 1]]) for at in range(len(sizes))]
    found = dict(engine.run(batches))
    assert {at: len(vectors) for at, vectors in found.items()} == dict(enumerate(sizes))
    for at, vectors in found.items():
        if len(vectors):
            np.testing.assert_allclose(vectors, together[starts[at] : starts[at + 1]], rtol=1e-3, atol=1e-4)


def test_random_weights_follow_their_seed():
    entry = backbone("mobilenetv3small")
    keys = {seed: trunk_key(entry, resolve(entry, "none", seed=seed)) for seed in (0, 1)}
    assert keys[0] != keys[1]
    assert trunk_key(entry, resolve(entry, "none", seed=0)) == keys[0]


def test_a_trunk_is_converted_once(cache_dir, tiny_run):
    entry = backbone("mobilenetv3small")
    trunk = cached_trunk(entry, resolve(entry, "none"))
    before = trunk.xml.stat().st_mtime_ns
    assert cached_trunk(entry, resolve(entry, "none")).xml.stat().st_mtime_ns == before
    assert trunk.bin.stat().st_ino == (tiny_run / "trunk.bin").stat().st_ino  # a hard link, not a copy


def test_a_damaged_trunk_is_converted_again(tiny_run, tmp_path, monkeypatch):
    import shutil

    entry = backbone("mobilenetv3small")
    trunk = cached_trunk(entry, resolve(entry, "none"))
    where = Settings(tmp_path, 10**9, offline=True, keras_dir=tmp_path)
    copied = shutil.copytree(trunk.xml.parent, tmp_path / "trunks" / trunk.xml.parent.name)
    (copied / "trunk.bin").write_bytes(b"damaged")
    assert cached_trunk(entry, resolve(entry, "none"), where=where).bin.read_bytes() == trunk.bin.read_bytes()


def test_damaged_weights_are_not_converted(imagenet, tmp_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(imagenet.path.read_bytes()[:-1000])
    weights = Weights("imagenet", damaged, imagenet.source, "0" * 64)
    with pytest.raises(WeightsError, match="damaged"):
        cached_trunk(backbone("resnet50"), weights)


def test_a_precision_that_the_processor_has_not(tiny_run, monkeypatch):
    from tl.engines.openvino import _precision

    assert _precision("auto", ["FP32", "BF16"]) == "bf16"
    assert _precision("auto", ["FP32"]) == "f32"
    assert _precision("f32", ["FP32"]) == "f32"
    with pytest.raises(EngineError, match="does not compute in bf16: choose auto or f32"):
        _precision("bf16", ["FP32"])


def test_tensorflow_is_chosen_where_there_is_a_card(monkeypatch):
    chosen = []
    monkeypatch.setattr(opening, "has_gpu", lambda: True)
    monkeypatch.setattr("tl.engines.tensorflow.TensorFlowEngine", lambda *given: chosen.append(given) or "it")
    entry = backbone("mobilenetv3small")
    assert open_engine(entry, resolve(entry, "none")) == "it"
    assert chosen[0][0] is entry


FREED = """
import sys
import numpy as np
from pathlib import Path
from tl.engines.openvino import OpenVINOEngine
photos = np.zeros((1, 224, 224, 3), np.uint8)
for _ in range(40):
    engine = OpenVINOEngine(Path(sys.argv[1]), "key", "f32")
    for tag, vectors in engine.run((at, photos) for at in range(3)):
        pass
    del engine
print("done")
"""


def test_a_network_can_be_freed_the_moment_its_last_result_is_there(tiny_run):
    command = [sys.executable, "-c", FREED, str(tiny_run / "trunk.xml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.stdout == "done\n", done.stderr
