"""Converting trunks and their frozen parts: the same outputs as Keras, once per machine."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from support.session import TINY
from tl.engines import open_engine
from tl.engines.openvino import OpenVINOEngine
from tl.engines.tensorflow import preprocess
from tl.engines.trunk import cached_trunk, trunk_key
from tl.errors import UsageError, WeightsError
from tl.networks.backbones import backbone
from tl.networks.trainable import frozen_part
from tl.networks.weights import Weights, build, resolve
from tl.settings import Settings

SIZE = 72
CASES = {"pretrained": ("last", (3, 3, 1024)), "random": ("half", (5, 5, 512))}


@pytest.fixture(scope="module", params=CASES)
def network(request, tmp_path_factory):
    """ResNet50 for small photos, its weights, the `unfreeze` option, and the activations of the frozen part by Keras.

    With weights from a file, Keras' OpenVINO backend converts it with channels first, and it stores every second row.
    Random weights are drawn again wherever they are used and must be the same: the frozen part runs in OpenVINO, the
    rest is trained by TensorFlow, which therefore converts them as well, with channels last.
    """
    import keras

    found = backbone("resnet50")
    found = replace(found, recipe=replace(found.recipe, image_size=SIZE))
    weights = resolve(found, "none", seed=4)
    unfreeze, shape = CASES[request.param]
    if request.param == "pretrained":
        path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
        build(found, weights).save_weights(path)
        weights = resolve(found, str(path))
    frozen = frozen_part(build(found, weights), unfreeze)
    assert frozen.output_shape[1:] == shape
    pixels = preprocess(photos().astype(np.float32), found.recipe)
    keras.utils.set_random_seed(99)  # the engines must not depend on the state of this process
    return found, weights, unfreeze, np.asarray(frozen(pixels, training=False))


def photos(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def error(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, np.float16)
    return float(np.linalg.norm(found.astype(np.float32) - expected) / np.linalg.norm(expected))


@pytest.mark.slow
def test_engines_compute_the_activations_of_keras(network):
    found, weights, unfreeze, expected = network
    for engine in ("openvino", "tensorflow"):
        ready = open_engine(found, weights, engine=engine, precision="f32", unfreeze=unfreeze)
        assert error(ready.run_one(photos()), expected) < 1e-3  # half of the last of 11 bits
        parts = dict(ready.run([(1, photos()[:2]), (2, photos()[2:])]))
        assert error(np.concatenate([parts[1], parts[2]]), expected) < 1e-3
    ready = open_engine(found, weights, engine="openvino", unfreeze=unfreeze)
    assert isinstance(ready, OpenVINOEngine)
    assert error(ready.run_one(photos()), expected) < (0.05 if ready.precision == "bf16" else 1e-3)


def test_trunk_key_depends_on_unfreeze_which_must_freeze_a_part_and_seed():
    found = backbone(TINY)
    cases = [(None, 0), ("last", 0), ("half", 0), (None, 1)]
    keys = [trunk_key(found, resolve(found, "none", seed=seed), unfreeze) for unfreeze, seed in cases]
    assert len(set(keys)) == 4
    assert trunk_key(found, resolve(found, "none", seed=0)) == keys[0]
    with pytest.raises(UsageError, match="no frozen part with --unfreeze all"):
        open_engine(found, resolve(found, "none"), engine="tensorflow", unfreeze="all")


def test_cached_trunk_converts_once_and_a_damaged_one_again(tiny_run, tmp_path):
    entry = backbone("mobilenetv3small")
    trunk = cached_trunk(entry, resolve(entry, "none"))
    before = trunk.xml.stat().st_mtime_ns
    assert cached_trunk(entry, resolve(entry, "none")).xml.stat().st_mtime_ns == before
    assert trunk.bin.stat().st_ino == (tiny_run / "trunk.bin").stat().st_ino  # a hard link, not a copy
    where = Settings(tmp_path, 10**9, offline=True, keras_dir=tmp_path)
    copied = shutil.copytree(trunk.xml.parent, tmp_path / "trunks" / trunk.xml.parent.name)
    (copied / "trunk.bin").write_bytes(b"damaged")
    assert cached_trunk(entry, resolve(entry, "none"), where=where).bin.read_bytes() == trunk.bin.read_bytes()


def test_cached_trunk_refuses_damaged_weights(imagenet, tmp_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(imagenet.path.read_bytes()[:-1000])
    weights = Weights("imagenet", damaged, imagenet.source, "0" * 64)
    with pytest.raises(WeightsError, match="damaged"):
        cached_trunk(backbone("resnet50"), weights)
