"""Small Keras networks with weights far from the identity, and how their outputs differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.images import decode, fit, read

CATS, DOGS = range(281, 286), range(151, 269)  # ImageNet's five domestic cats and its 118 breeds of dogs


def random_network(name: str, seed: int = 1, size: int | None = None) -> Any:
    """A network on small images, of Keras Applications or EfficientNet-Lite0."""
    import keras

    from tl.networks.zoo.efficientnet_lite import efficientnet_lite0

    keras.utils.set_random_seed(seed)
    size = size or (96 if name == "InceptionV3" else 64)
    first = keras.config.image_data_format() == "channels_first"
    make = efficientnet_lite0 if name == "efficientnet_lite0" else getattr(keras.applications, name)
    model = make(
        include_top=False, weights=None, pooling="avg", input_shape=(3, size, size) if first else (size, size, 3)
    )
    randomize(model, seed)
    return model


def randomize(model: Any, seed: int) -> None:
    """Set statistics, gamma and beta of every BatchNorm far from the identity, some gammas negative; biases too."""
    import keras

    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable, (low, high) in {"gamma": (-0.5, 1.5), "beta": (-0.5, 0.5)}.items():
                if getattr(layer, variable) is not None:
                    getattr(layer, variable).assign(draw.uniform(low, high, getattr(layer, variable).shape))
            layer.moving_mean.assign(draw.uniform(-0.5, 0.5, layer.moving_mean.shape))
            layer.moving_variance.assign(draw.uniform(0.2, 3.0, layer.moving_variance.shape))
        elif getattr(layer, "bias", None) is not None and not isinstance(layer, keras.Model):
            layer.bias.assign(draw.uniform(-0.5, 0.5, layer.bias.shape))


def random_pixels(model: Any) -> np.ndarray:
    """Three random images for a model."""
    return np.random.default_rng(7).normal(0, 2, (3, *model.input_shape[1:])).astype(np.float32)


def outputs(model: Any, pixels: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(model(pixels, training=False))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def recognized(
    predict: Callable[[np.ndarray], np.ndarray], photos: Path, count: int = 12, *, top: int = 5
) -> tuple[float, float]:
    """The shares of photos of cats and of dogs with a cat and a dog among the `top` most probable ImageNet classes."""
    shares = []
    for animal, classes in (("Cat", CATS), ("Dog", DOGS)):
        paths = sorted((photos / animal).iterdir())[:count]
        pixels = np.stack([fit(decode(read(path), 224), 224) for path in paths]).astype(np.float32)
        ranked = np.argsort(-predict(pixels), axis=1)[:, :top]
        shares.append(float(np.isin(ranked, list(classes)).any(axis=1).mean()))
    return shares[0], shares[1]


def normalizations(model: Any) -> list[Any]:
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def chain(*layers: Callable[[Any], Any], shape: tuple[int, ...] = (8, 8, 4)) -> Any:
    import keras

    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)
