"""The part of a network that stays frozen: OpenVINO and TensorFlow give what Keras gives, in 16 bits, channels last."""

from dataclasses import replace

import numpy as np
import pytest

from support.session import TINY
from tl.engines import open_engine
from tl.engines.openvino import OpenVINOEngine
from tl.engines.tensorflow import preprocess
from tl.engines.trunk import trunk_key
from tl.errors import UsageError
from tl.networks.backbones import backbone
from tl.networks.trainable import frozen_part
from tl.networks.weights import build, resolve

pytestmark = pytest.mark.slow
SIZE = 72
CASES = {"pretrained": ("last", (3, 3, 1024)), "random": ("half", (5, 5, 512))}


@pytest.fixture(scope="module", params=CASES)
def network(request, tmp_path_factory):
    """ResNet50 for small photos, its weights, what is trained, and the activations of the rest by Keras.

    With weights from a file, OpenVINO's own backend converts it with channels first, and it stores every second row.
    Random weights are drawn anew wherever they are used, and must be the same: what is below the cut runs in OpenVINO,
    what is above is trained by TensorFlow, which therefore converts them, with channels last.
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
    keras.utils.set_random_seed(99)  # what is drawn later does not depend on this process
    return found, weights, unfreeze, np.asarray(frozen(pixels, training=False))


def photos(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def error(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == np.float16
    return float(np.linalg.norm(found.astype(np.float32) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_an_engine_gives_the_activations_of_keras(network, engine):
    found, weights, unfreeze, expected = network
    ready = open_engine(found, weights, engine=engine, precision="f32", unfreeze=unfreeze)
    assert error(ready.run_one(photos()), expected) < 1e-3  # half of the last of 11 bits
    parts = dict(ready.run([(1, photos()[:2]), (2, photos()[2:])]))
    assert error(np.concatenate([parts[1], parts[2]]), expected) < 1e-3


def test_in_bf16_activations_are_nearly_the_same(network):
    found, weights, unfreeze, expected = network
    ready = open_engine(found, weights, engine="openvino", unfreeze=unfreeze)
    assert isinstance(ready, OpenVINOEngine)
    assert error(ready.run_one(photos()), expected) < (0.05 if ready.precision == "bf16" else 1e-3)


def test_activations_are_not_taken_for_features():
    found = backbone(TINY)
    weights = resolve(found, "none")
    keys = {trunk_key(found, weights, unfreeze) for unfreeze in (None, "last", "half")}
    assert len(keys) == 3


def test_a_network_that_is_trained_whole_has_no_frozen_part():
    found = backbone(TINY)
    with pytest.raises(UsageError, match="no frozen part with --unfreeze all"):
        open_engine(found, resolve(found, "none"), engine="tensorflow", unfreeze="all")
