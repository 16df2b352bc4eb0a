"""Weights files become Keras models, as Keras itself would read them."""

import numpy as np
import pytest

from tl.errors import WeightsError
from tl.networks.backbones import backbone
from tl.networks.checkpoints import write_h5
from tl.networks.models import build
from tl.networks.weights import Weights, resolve


@pytest.fixture(scope="module")
def efficientnet_file(tmp_path_factory):
    """Random weights for EfficientNetB0, in the layout of the official file."""
    import keras

    keras.utils.set_random_seed(3)
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(224, 224, 3))
    checkpoint = {
        layer.name: [np.asarray(array) for array in layer.get_weights()] for layer in model.layers if layer.weights
    }
    name = next(layer for layer in checkpoint if layer.startswith("normalization"))
    checkpoint[name] = [
        np.float32([0.485, 0.456, 0.406]),
        np.float32([0.229, 0.224, 0.225]) ** 2,
        np.float32(0),
    ]
    path = tmp_path_factory.mktemp("weights") / "efficientnetb0_notop.h5"
    write_h5(checkpoint, path)
    return path


def test_official_efficientnets_are_rescaled_as_keras_does(efficientnet_file, monkeypatch):
    import keras
    import keras.src.utils.file_utils as file_utils

    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(efficientnet_file))
    options = {"include_top": False, "pooling": "avg", "input_shape": (224, 224, 3)}
    theirs = keras.applications.EfficientNetB0(weights="imagenet", **options)
    plain = keras.applications.EfficientNetB0(weights=str(efficientnet_file), **options)
    ours = build(backbone("efficientnetb0"), Weights("imagenet", efficientnet_file, "", ""))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    expected, without, found = (np.asarray(model(pixels, training=False)) for model in (theirs, plain, ours))
    assert np.abs(expected - without).max() / np.abs(expected).max() > 0.01  # the layer matters
    assert np.abs(expected - found).max() / np.abs(expected).max() < 1e-4


def test_a_keras3_file_of_another_network_is_named(tmp_path):
    import keras

    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(WeightsError, match=r"weights of another network: .*other.weights.h5.*made for vgg16"):
        build(backbone("vgg16"), resolve(backbone("vgg16"), str(path)))
