"""A backbone and its weights become a Keras model, ending in pooled features, in whatever backend Keras runs on."""

import importlib
from typing import Any

from tl.errors import WeightsError
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights


def build(backbone: Backbone, weights: Weights, *, include_top: bool = False) -> Any:
    """A `keras.Model` from preprocessed pixels `[n, size, size, 3]` to features `[n, features]`.

    With `include_top` it ends in the 1000 ImageNet probabilities instead, which needs weights that have a top.
    Weights named "none" are drawn at random, from their seed. The image data format is Keras' present one.
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
    if weights.path is not None:
        _load(model, weights)
    return model


def _builder(backbone: Backbone) -> Any:
    module, _, name = backbone.builder.rpartition(":")
    return getattr(importlib.import_module(module or "keras.applications"), name)


def _load(model: Any, weights: Weights) -> None:
    from tl.networks.checkpoints import assign, is_keras3, read_h5

    path = weights.path
    if path is None:
        return
    if not is_keras3(path):
        assign(model, read_h5(path), source=str(path))
        return
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"weights of another network: {path} does not fit {model.name} ({reason}); give a file made for {model.name}"
        ) from error
