"""A folded network computes what the network computed, trains, and keeps its weights in a file."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl.errors import BackboneError
from tl.networks.stages import stages
from tl.networks.trainable import above, below, fold

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5  # relative to the largest output; float32 in another order
NETWORKS = [
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "MobileNetV2",
    "DenseNet121",
    "EfficientNetB0",
    "ConvNeXtTiny",
    "InceptionV3",
    "efficientnet_lite0",
]
# BatchNorm layers that no convolution can take in: they stand before one, or behind a sum or a concatenation.
LEFT = {"ResNet50V2": 17, "DenseNet121": 62}
# The published numbers less four arrays for each BatchNorm, plus a bias where there was none
# (ResNet50 has 26,560 normalised channels and biases; MobileNetV2 has 17,056 channels and no biases).
PARAMETERS = {
    "VGG16": 14_714_688,
    "ResNet50": 23_587_712 - 4 * 26_560,
    "MobileNetV2": 2_257_984 - 3 * 17_056,
}


def _network(name: str, seed: int = 1) -> Any:
    import keras

    from tl.networks.zoo.efficientnet_lite import efficientnet_lite0

    keras.utils.set_random_seed(seed)
    size = 96 if name == "InceptionV3" else 64
    first = keras.config.image_data_format() == "channels_first"
    make = efficientnet_lite0 if name == "efficientnet_lite0" else getattr(keras.applications, name)
    model = make(
        include_top=False, weights=None, pooling="avg", input_shape=(3, size, size) if first else (size, size, 3)
    )
    _randomise(model, seed)
    return model


def _randomise(model: Any, seed: int) -> None:
    """Give every BatchNorm statistics, gamma and beta far from the identity, some gammas negative; biases too."""
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


def _pixels(model: Any) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 2, (3, *model.input_shape[1:])).astype(np.float32)


def _outputs(model: Any, pixels: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(model(pixels, training=False))


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _normalizations(model: Any) -> list[Any]:
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_computes_the_same(name: str) -> None:
    model = _network(name)
    folded = fold(model)
    pixels = _pixels(model)
    expected = _outputs(model, pixels)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    assert _difference(_outputs(folded, pixels), expected) < TOLERANCE
    assert folded.name == model.name
    gone = {layer.name for layer in model.layers[1:]} - {layer.name for layer in folded.layers}
    assert gone <= {layer.name for layer in _normalizations(model)}
    assert len(_normalizations(folded)) == LEFT.get(name, 0)
    if name in PARAMETERS:
        assert folded.count_params() == PARAMETERS[name] == sum(stage.parameters for stage in stages(folded))
        assert folded.non_trainable_weights == []


def test_every_parameter_gets_a_gradient() -> None:
    import tensorflow as tf

    frozen = _network("MobileNetV2")
    frozen.trainable = False  # whoever froze the network, its folded copy can be trained
    folded = fold(frozen)
    with tf.GradientTape() as tape:
        features = folded(_pixels(folded), training=True)
        loss = tf.reduce_sum(features * np.random.default_rng(0).normal(size=features.shape))
    variables = [variable.value for variable in folded.trainable_variables]
    gradients = tape.gradient(loss, variables)
    assert len(variables) >= sum(hasattr(layer, "kernel") for layer in folded.layers)
    for variable, gradient in zip(folded.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_training_above_a_cut_trains_the_whole_network_and_no_statistics() -> None:
    import keras
    import tensorflow as tf

    folded = fold(_network("ResNet50V2"))
    cut = stages(folded)[-2].layer
    lower, upper = below(folded, cut), above(folded, cut)
    pixels = _pixels(folded)
    stored = _outputs(lower, pixels)
    before = {layer.name: layer.get_weights() for layer in folded.layers}
    upper.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    upper.fit(tf.constant(stored), tf.zeros((3, 2048)), epochs=1, verbose=0)
    changed = {
        layer.name
        for layer in folded.layers
        if any((old != new).any() for old, new in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    assert changed == {layer.name for layer in upper.layers if layer.weights} - {
        layer.name for layer in _normalizations(folded)
    }
    assert not changed & {layer.name for layer in lower.layers}
    assert _difference(_outputs(upper, stored), _outputs(folded, pixels)) < TOLERANCE


def _unnamed() -> Any:
    """Two branches of layers that Keras numbers anew in each model."""
    import keras

    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    branches = []
    for size in (1, 3):
        x = layers.Conv2D(6, size, padding="same", use_bias=False)(inputs)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        branches.append(layers.BatchNormalization()(layers.DepthwiseConv2D(size, padding="same")(x)))
    return keras.Model(inputs, layers.BatchNormalization()(layers.Concatenate()(branches)), name="unnamed")


@pytest.mark.parametrize("name", ["MobileNetV2", "unnamed"])
def test_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    first, second = (_unnamed() if name == "unnamed" else _network(name) for _ in range(2))
    _randomise(first, 5)
    folded, fresh = fold(first), fold(second)
    folded.save_weights(tmp_path / "trunk.weights.h5")
    pixels = _pixels(folded)
    expected = _outputs(folded, pixels)
    assert _difference(_outputs(fresh, pixels), expected) > 0.01
    fresh.load_weights(tmp_path / "trunk.weights.h5")
    assert _difference(_outputs(fresh, pixels), expected) < TOLERANCE


_ELSEWHERE = """
import sys
import numpy as np, keras
keras.config.set_image_data_format("channels_first")
from networks.test_folding import *
from networks.test_folding import _after, _difference, _network, _normalizations, _outputs, _pixels, _randomise
folder = sys.argv[1]
assert keras.backend.backend() == "openvino"
for name in sys.argv[2:]:
    pixels = np.load(f"{folder}/{name}-pixels.npy").transpose(0, 3, 1, 2)
    model = _network(name, seed=3)
    folded = fold(model)
    cut = stages(folded)[-2].layer
    found = _outputs(above(folded, cut), _outputs(below(folded, cut), pixels))
    here = _difference(found, _outputs(model, pixels))
    folded.load_weights(f"{folder}/{name}.weights.h5")
    loaded = _difference(_outputs(folded, pixels), np.load(f"{folder}/{name}.npy"))
    print("compared", name, len(_normalizations(folded)), here, loaded)
layers = keras.layers
for layer in [
    layers.Conv2D(6, 3, groups=2, use_bias=False),
    layers.DepthwiseConv2D(3, depth_multiplier=3),
    layers.SeparableConv2D(6, 3, depth_multiplier=2, use_bias=False),
]:
    model = _after(layer, layers.BatchNormalization(axis=1), shape=(4, 8, 8))
    _randomise(model, 1)
    pixels, folded = _pixels(model), fold(model)
    difference = _difference(_outputs(folded, pixels), _outputs(model, pixels))
    print("compared", layer.name, len(_normalizations(folded)), difference)
across = _after(layers.Conv2D(6, 3), layers.BatchNormalization(axis=-1), shape=(4, 8, 8))
print("left", len(_normalizations(fold(across))))
"""


@pytest.mark.slow
def test_the_same_with_channels_first_on_openvino(tmp_path: Path) -> None:
    """Folded there, cut there, and with the weights of the network that was folded and trained by TensorFlow."""
    names = ["ResNet50V2", "MobileNetV2"]
    for name in names:
        folded = fold(_network(name))
        pixels = _pixels(folded)
        folded.save_weights(tmp_path / f"{name}.weights.h5")
        np.save(tmp_path / f"{name}.npy", _outputs(folded, pixels))
        np.save(tmp_path / f"{name}-pixels.npy", pixels)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "openvino",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    command = [sys.executable, "-c", _ELSEWHERE, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    compared = {line[1]: line[2:] for line in lines if line[0] == "compared"}
    assert [*compared] == [*names, "conv2d", "depthwise_conv2d", "separable_conv2d"]
    for name, (left, *differences) in compared.items():
        assert int(left) == LEFT.get(name, 0)
        assert all(float(difference) < TOLERANCE for difference in differences), (name, differences)
    assert lines[-1] == ["left", "1"]


def _after(*made: Callable[[Any], Any], shape: tuple[int, ...] = (8, 8, 4)) -> Any:
    import keras

    inputs = x = keras.Input(shape)
    for layer in made:
        x = layer(x)
    return keras.Model(inputs, x)


def _graphs() -> dict[str, tuple[Callable[[Any], Any], int]]:
    """Small graphs made from `keras.layers`, with how many BatchNorm layers folding must leave."""

    def two_readers(kl: Any) -> Any:
        return _after(kl.Conv2D(4, 1), lambda x: kl.Add()([x, kl.BatchNormalization()(x)]))

    def an_output_itself(kl: Any) -> Any:
        import keras

        model = two_readers(kl)
        inputs = keras.Input((8, 8, 4))
        x = kl.Conv2D(4, 1)(inputs)
        return keras.Model(inputs, [x, kl.BatchNormalization()(x)], name=model.name)

    def shared_convolution(kl: Any) -> Any:
        shared = kl.Conv2D(4, 3, padding="same")
        return _after(shared, kl.BatchNormalization(), kl.ReLU(), shared, kl.BatchNormalization())

    def shared_normalization(kl: Any) -> Any:
        shared = kl.BatchNormalization()
        return _after(kl.Conv2D(4, 1), shared, kl.Conv2D(4, 1), shared)

    def operations(kl: Any) -> Any:
        import keras

        adapted = kl.Normalization()
        adapted.adapt(np.random.default_rng(0).normal(1, 2, (5, 8, 8, 4)).astype(np.float32))
        first = (kl.Rescaling(0.1, 2.0), adapted, kl.ZeroPadding2D(1))
        branches = (
            kl.BatchNormalization(),
            keras.ops.relu,
            lambda x: x + 0.5 * keras.ops.concatenate([x, x], -1)[..., :6],
        )
        return _after(*first, kl.Conv2D(6, 3), *branches, kl.Conv2D(2, 1, use_bias=False), kl.BatchNormalization())

    return {
        "bias": (lambda kl: _after(kl.Conv2D(6, 3), kl.BatchNormalization()), 0),
        "no bias": (lambda kl: _after(kl.Conv2D(6, 3, use_bias=False), kl.BatchNormalization()), 0),
        "no gamma or beta": (
            lambda kl: _after(kl.Conv2D(6, 3), kl.BatchNormalization(scale=False, center=False, epsilon=0.1)),
            0,
        ),
        "groups": (lambda kl: _after(kl.Conv2D(6, 3, groups=2, use_bias=False), kl.BatchNormalization()), 0),
        "depthwise": (lambda kl: _after(kl.DepthwiseConv2D(3), kl.BatchNormalization()), 0),
        "depth multiplier": (
            lambda kl: _after(kl.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False), kl.BatchNormalization()),
            0,
        ),
        "separable": (
            lambda kl: _after(kl.SeparableConv2D(6, 3, depth_multiplier=2), kl.BatchNormalization()),
            0,
        ),
        "dense": (
            lambda kl: _after(kl.Dense(6), kl.BatchNormalization(), kl.Flatten(), kl.Dense(5), kl.BatchNormalization()),
            0,
        ),
        "activation between": (lambda kl: _after(kl.Conv2D(6, 3), kl.ReLU(), kl.BatchNormalization()), 1),
        "activation inside": (lambda kl: _after(kl.Conv2D(6, 3, activation="relu"), kl.BatchNormalization()), 1),
        "before the convolution": (lambda kl: _after(kl.BatchNormalization(), kl.Conv2D(6, 3)), 1),
        "another axis": (lambda kl: _after(kl.Conv2D(6, 3), kl.BatchNormalization(axis=1)), 1),
        "transposed": (lambda kl: _after(kl.Conv2DTranspose(6, 3), kl.BatchNormalization()), 1),
        "twice": (lambda kl: _after(kl.Conv2D(6, 3), kl.BatchNormalization(), kl.BatchNormalization()), 1),
        "two readers": (two_readers, 1),
        "an output itself": (an_output_itself, 1),
        "shared convolution": (shared_convolution, 2),
        "shared normalization": (shared_normalization, 1),
        "operations": (operations, 0),
        "regularised": (
            lambda kl: _after(
                kl.Conv2D(6, 3, kernel_regularizer="l2", kernel_constraint="non_neg"), kl.BatchNormalization()
            ),
            0,
        ),
        "nested without BatchNorm": (
            lambda kl: _after(_after(kl.Conv2D(4, 3), kl.ReLU()), kl.Conv2D(6, 3), kl.BatchNormalization()),
            0,
        ),
    }


@pytest.mark.parametrize("case", list(_graphs()))
def test_only_what_can_be_folded_is(case: str) -> None:
    import keras

    build, left = _graphs()[case]
    keras.utils.set_random_seed(1)
    model = build(keras.layers)
    _randomise(model, 1)
    folded = fold(model)
    assert len(_normalizations(folded)) == left
    assert not any(layer.trainable for layer in _normalizations(folded))
    pixels = _pixels(model)
    expected, found = (m(pixels, training=False) for m in (model, folded))
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        assert _difference(np.asarray(other), np.asarray(one)) < TOLERANCE
    assert folded.losses == []
    assert not any(getattr(layer, "kernel_constraint", None) for layer in folded.layers)
    assert all(weight.dtype == "float32" for weight in folded.trainable_weights)


def test_the_model_that_is_folded_stays_as_it_was() -> None:
    import keras

    model = _after(keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization())
    _randomise(model, 1)
    pixels = _pixels(model)
    before = _outputs(model, pixels)
    folded = fold(model)
    folded.set_weights([weight * 0 for weight in folded.get_weights()])
    np.testing.assert_array_equal(_outputs(model, pixels), before)
    assert all(layer.trainable for layer in model.layers)
    assert len(model.layers) == 3


def test_half_precision_becomes_float32() -> None:
    import keras

    policy = {"dtype": "mixed_bfloat16"}
    model = _after(keras.layers.Conv2D(6, 3, **policy), keras.layers.BatchNormalization(**policy))
    folded = fold(model)
    assert folded.compute_dtype == folded.layers[1].compute_dtype == "float32"
    assert folded.outputs[0].dtype == "float32"


def test_a_sequential_network_is_folded() -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    _randomise(model, 1)
    folded = fold(model)
    assert _normalizations(folded) == []
    assert _difference(_outputs(folded, _pixels(model)), _outputs(model, _pixels(model))) < TOLERANCE


def test_batchnorm_inside_a_nested_model_is_refused() -> None:
    import keras

    inner = _after(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    outer = _after(_after(inner), keras.layers.ReLU())
    with pytest.raises(BackboneError, match=r"cannot be folded: its layer \S+ is a model with BatchNorm of its own"):
        fold(outer)
    wrapped = _after(keras.layers.TimeDistributed(keras.layers.BatchNormalization()))
    with pytest.raises(BackboneError, match=r"cannot be folded: its layer time_distributed"):
        fold(wrapped)


def test_a_cut_that_is_none_is_refused_with_the_reason() -> None:
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU(name="sum")(layers.BatchNormalization(name="bn")(layers.Conv2D(3, 1, name="first")(inputs)))
    x = layers.Add(name="last")([x, layers.Conv2D(3, 1, name="inner")(x)])
    folded = fold(keras.Model(inputs, x, name="small"))
    with pytest.raises(BackboneError, match="small cannot be cut after 'bn': it has no such layer; take the layer of"):
        below(folded, "bn")
    with pytest.raises(BackboneError, match="'inner': not everything goes through it, once"):
        above(folded, "inner")
    with pytest.raises(BackboneError, match="small has nothing after last: cut it at a layer before"):
        above(folded, "last")
