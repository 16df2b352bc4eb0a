"""Networks that Keras Applications does not have, and what their builders share."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def builder(
    side: int, *, dropout: float = 0.0, dense: Callable[[], dict[str, Any]] = dict
) -> Callable[[Callable[[Any], Any]], Callable[..., Any]]:
    """Make a builder, with the signature of those in `keras.applications`, from a function that adds the layers.

    The function maps pixels to feature maps, which are then pooled, or to a vector of features, which is not. The image
    has `side` pixels by default. The top is `dropout` and a dense layer with the options that `dense()` returns.
    """

    def decorate(add_layers: Callable[[Any], Any]) -> Callable[..., Any]:
        @functools.wraps(add_layers)
        def build(
            include_top: bool = True,
            weights: Path | str | None = None,
            pooling: str | None = None,
            input_shape: tuple[int | None, ...] | None = None,
            classes: int = 1000,
            classifier_activation: str | None = "softmax",
        ) -> Any:
            import keras
            from keras import layers

            image = keras.Input(input_shape or ((3, side, side) if channel_axis() == 1 else (side, side, 3)))
            x = add_layers(image)
            pooling = "avg" if include_top else pooling
            if len(x.shape) == 4 and pooling is not None:
                pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
                x = pool(name=f"{pooling}_pool")(x)
            if include_top:
                x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
                x = layers.Dense(classes, classifier_activation, name="predictions", **dense())(x)
            model = keras.Model(image, x, name=add_layers.__name__)
            if weights is not None:
                model.load_weights(weights)
            return model

        return build

    return decorate


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
