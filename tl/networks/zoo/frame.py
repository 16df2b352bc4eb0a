"""A shape becomes a network's input, and its last tensor a model: the two ends that networks of the zoo share."""

import math
from pathlib import Path
from typing import Any


def image(input_shape: tuple[int | None, ...] | None, side: int) -> Any:
    """The input of a network, in Keras' present image data format; without a shape, `side` pixels each way in RGB."""
    import keras

    channels_first = keras.config.image_data_format() == "channels_first"
    return keras.Input(input_shape or ((3, side, side) if channels_first else (side, side, 3)))


def channel_axis() -> int:
    """Where the maps are counted in Keras' present image data format."""
    import keras

    return 1 if keras.config.image_data_format() == "channels_first" else -1


def flattened(x: Any) -> Any:
    """Maps to a row of numbers, channels last in either image data format, as weights expect them."""
    import keras

    kind = keras.layers.Flatten if keras.backend.backend() != "openvino" else _flatten_any_batch()
    return kind(name="flatten")(x)


def _flatten_any_batch() -> Any:
    """Keras exports to OpenVINO what it computes for one image, and its Flatten would keep that one in its shape."""
    import keras

    class Flatten(keras.layers.Flatten):  # type: ignore[misc]  # Keras has no types
        def call(self, inputs: Any) -> Any:
            last = inputs if channel_axis() == -1 else keras.ops.transpose(inputs, (0, 2, 3, 1))
            return keras.ops.reshape(last, (-1, math.prod(last.shape[1:])))

    return Flatten


def pooled(x: Any, pooling: str | None) -> Any:
    """Maps to features: each map's mean ("avg") or largest value ("max"), or the maps as they are (None)."""
    from keras import layers

    if pooling is None:
        return x
    pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
    return pool(name=f"{pooling}_pool")(x)


def classified(features: Any, classes: int, activation: str | None, **options: Any) -> Any:
    """Features to one number a class; `options` are those of `keras.layers.Dense`."""
    from keras import layers

    return layers.Dense(classes, activation, name="predictions", **options)(features)


def model(inputs: Any, outputs: Any, weights: Path | str | None, name: str) -> Any:
    """The `keras.Model` between two tensors; `weights` is the path of an .h5 file, None leaves them drawn at random."""
    import keras

    made = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        made.load_weights(weights)
    return made
