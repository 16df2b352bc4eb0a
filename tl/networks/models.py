"""A backbone and its weights become a Keras model, ending in pooled features, in whatever backend Keras runs on."""

import importlib
import re
import warnings
from typing import Any

import numpy as np

from tl.errors import WeightsError
from tl.networks.backbones import Backbone
from tl.networks.checkpoints import Checkpoint
from tl.networks.weights import Weights, is_official


def build(backbone: Backbone, weights: Weights, *, include_top: bool = False) -> Any:
    """A `keras.Model` from preprocessed pixels `[n, size, size, 3]` to features `[n, features]`.

    With `include_top` it ends in the 1000 ImageNet probabilities instead, which needs weights that have a top.
    Weights named "none" are drawn at random, from their seed; "tuned" ones are those of the folded network, which is
    what is then built. The image data format is Keras' present one.
    Raises WeightsError for weights of another network.
    """
    import keras

    if weights.seed is not None:
        keras.utils.set_random_seed(weights.seed)
    size = backbone.recipe.image_size
    first = keras.config.image_data_format() == "channels_first"
    model = _builder(backbone)(
        include_top=include_top,
        weights=None,
        pooling=None if include_top else "avg",
        input_shape=(3, size, size) if first else (size, size, 3),
    )
    if weights.choice == "tuned":
        from tl.networks.trainable import fold

        model = fold(model)
    if weights.path is not None:
        _load(model, backbone, weights)
    return model


def _builder(backbone: Backbone) -> Any:
    module, _, name = backbone.builder.rpartition(":")
    return getattr(importlib.import_module(module or "keras.applications"), name)


def _load(model: Any, backbone: Backbone, weights: Weights) -> None:
    from tl.networks.checkpoints import assign, is_keras3, read_h5

    path = weights.path
    if path is None:
        return
    if not is_keras3(path):
        checkpoint = read_h5(path)
        if is_official(backbone, weights):
            checkpoint = _rescaled(backbone, checkpoint)
        assign(model, checkpoint, source=str(path))
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns of what does not fit before it raises
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"weights of another network: {path} does not fit ({reason}); give a file made for {model.name}"
        ) from error


def _rescaled(backbone: Backbone, checkpoint: Checkpoint) -> Checkpoint:
    """The official files of EfficientNet B0 to B7 as they were trained: Keras divides by the square root of ImageNet's
    standard deviation once more, in a layer that it adds only for `weights="imagenet"`; the same is done here in the
    variance of the layer before it."""
    name = next((layer for layer in checkpoint if layer.startswith("normalization")), None)  # numbered by its maker
    if re.fullmatch(r"efficientnetb\d", backbone.name) is None or name is None:
        return checkpoint
    mean, variance, *rest = checkpoint[name]
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(variance.shape)
    return {**checkpoint, name: [mean, variance * deviation, *rest]}
