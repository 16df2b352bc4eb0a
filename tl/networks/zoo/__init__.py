"""Networks that Keras Applications does not have, and the layers at both ends that their builders share.

Each builder has the signature and the behaviour of those in `keras.applications`: `include_top`, `weights` (the path of
an .h5 file; None initializes at random), `pooling`, `input_shape`, `classes`, `classifier_activation`.
"""

import math
from pathlib import Path
from typing import Any


def image_input(input_shape: tuple[int | None, ...] | None, side: int) -> Any:
    """The input of a network; without a shape, RGB images of `side` pixels in Keras' image data format."""
    import keras

    return keras.Input(input_shape or ((3, side, side) if channel_axis() == 1 else (side, side, 3)))


def channel_axis() -> int:
    """The axis of the channels in Keras' image data format: 1 or -1."""
    import keras

    return 1 if keras.config.image_data_format() == "channels_first" else -1


def flatten(x: Any) -> Any:
    """Feature maps to a vector, channels last in either image data format, as the weights expect them."""
    import keras

    kind = keras.layers.Flatten if keras.backend.backend() != "openvino" else _flatten_for_openvino()
    return kind(name="flatten")(x)


def _flatten_for_openvino() -> Any:
    """Keras traces a network with a batch of one for OpenVINO, and its own Flatten would fix that size."""
    import keras

    class Flatten(keras.layers.Flatten):  # type: ignore[misc]  # Keras has no types
        def call(self, inputs: Any) -> Any:
            last = inputs if channel_axis() == -1 else keras.ops.transpose(inputs, (0, 2, 3, 1))
            return keras.ops.reshape(last, (-1, math.prod(last.shape[1:])))

    return Flatten


def pool(x: Any, pooling: str | None) -> Any:
    """Feature maps to features: the mean ("avg") or maximum ("max") of each map; the maps themselves for None."""
    from keras import layers

    if pooling is None:
        return x
    kind = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
    return kind(name=f"{pooling}_pool")(x)


def classify(features: Any, classes: int, activation: str | None, **options: Any) -> Any:
    """Features to one number per class; `options` are those of `keras.layers.Dense`."""
    from keras import layers

    return layers.Dense(classes, activation, name="predictions", **options)(features)


def network(inputs: Any, outputs: Any, weights: Path | str | None, name: str) -> Any:
    """The `keras.Model` between two tensors, with the weights of an .h5 file unless None."""
    import keras

    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model
