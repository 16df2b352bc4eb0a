"""OpenVINO computes what Keras computes, in batches of any size."""

import subprocess
import sys

import numpy as np
import pytest

from support.networks import difference
from support.session import ROOT
from tl import engines as opening
from tl.engines import open_engine
from tl.engines.openvino import OpenVINOEngine, _precision
from tl.errors import EngineError
from tl.networks.backbones import backbone
from tl.networks.weights import Weights, build, resolve


def photos(size: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def by_keras(name: str, weights: Weights, pixels: np.ndarray) -> np.ndarray:
    """Features from Keras' own preprocessing and network."""
    import keras

    entry = backbone(name)
    homes = {"mobilenetv2": "mobilenet_v2", "resnet50": "resnet50", "efficientnetb0": "efficientnet"}
    model = build(entry, weights)
    prepared = getattr(keras.applications, homes[name]).preprocess_input(pixels.astype(np.float32))
    return model(prepared, training=False).numpy()


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnetb0"], ids=["channels first", "by way of TensorFlow"])
def test_engines_compute_what_keras_computes(name, tmp_path):
    entry = backbone(name)
    path = tmp_path / "random.weights.h5"
    build(entry, resolve(entry, "none")).save_weights(path)
    weights = resolve(entry, str(path))
    pixels = photos(224)
    expected = by_keras(name, weights, pixels)
    for engine in ("openvino", "tensorflow"):
        ready = open_engine(entry, weights, engine=engine, precision="f32")
        assert difference(ready.run_one(pixels), expected) < 1e-4
        assert getattr(ready, "shape", (224, entry.features)) == (224, entry.features)


def test_resnet50_computes_what_keras_computes(imagenet):
    entry = backbone("resnet50")
    pixels = photos(224)
    expected = by_keras("resnet50", imagenet, pixels)
    exact = open_engine(entry, imagenet, engine="openvino", precision="f32").run_one(pixels)
    assert difference(exact, expected) < 1e-4
    fast = open_engine(entry, imagenet, engine="openvino")
    error = np.linalg.norm(fast.run_one(pixels) - expected) / np.linalg.norm(expected)
    assert error < (0.05 if fast.precision == "bf16" else 1e-4)


def test_run_takes_batches_of_any_size(tiny_run):
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


def test_precision_must_be_supported_by_the_processor():
    cases = [("auto", "BF16", "bf16"), ("auto", "FP32", "f32"), ("f32", "FP32", "f32"), ("f16", "FP16", "f16")]
    for precision, supported, expected in cases:
        assert _precision(precision, ["FP32", supported]) == expected
    with pytest.raises(EngineError, match="does not compute in bf16: choose auto or f32"):
        _precision("bf16", ["FP32", "FP16"])


def test_open_engine_uses_tensorflow_with_a_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(opening, "has_gpu", lambda: True)
    monkeypatch.setattr("tl.engines.tensorflow.TensorFlowEngine", lambda *arguments: chosen.append(arguments) or "it")
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


def test_network_can_be_freed_with_its_last_result(tiny_run):
    command = [sys.executable, "-c", FREED, str(tiny_run / "trunk.xml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.stdout == "done\n", done.stderr
