"""Folding BatchNorm, cutting a network, and the part of it that is trained."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.networks import chain, difference, normalizations, outputs, random_network, random_pixels, randomize
from support.session import ROOT
from tl.errors import BackboneError, UsageError
from tl.networks.stages import cut_for, depths, stages
from tl.networks.trainable import above, below, fold, frozen_part, lower_part, read_stride, upper_part

TOLERANCE = 1e-5  # relative to the largest output; float32 in another order
NETWORKS = (
    "VGG16 ResNet50 ResNet50V2 MobileNetV2 DenseNet121 EfficientNetB0 ConvNeXtTiny InceptionV3 efficientnet_lite0"
)
# BatchNorm layers that cannot be folded: before a convolution, or after a sum or a concatenation.
LEFT = {"ResNet50V2": 17, "DenseNet121": 62}
# The published numbers less four arrays for each BatchNorm, plus a bias where there was none
# (ResNet50 has 26,560 normalised channels and biases; MobileNetV2 has 17,056 channels and no biases).
PARAMETERS = {"VGG16": 14_714_688, "ResNet50": 23_587_712 - 4 * 26_560, "MobileNetV2": 2_257_984 - 3 * 17_056}
SIZE = 72  # its halvings are odd from the fourth on: 72, 36, 18, 9, 5, 3


@pytest.fixture(scope="module")
def networks():
    """Networks on small images by name, and what folding makes of them, each built once."""

    def build(name: str) -> tuple[Any, Any]:
        model = random_network(name, size=None if name == "InceptionV3" else SIZE)
        return model, fold(model)

    return cache(build)


@pytest.mark.parametrize("name", NETWORKS.split())
def test_fold_keeps_the_outputs(networks, name: str) -> None:
    model, folded = networks(name)
    pixels = random_pixels(model)
    expected = outputs(model, pixels)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    assert difference(outputs(folded, pixels), expected) < TOLERANCE
    assert folded.name == model.name
    gone = {layer.name for layer in model.layers[1:]} - {layer.name for layer in folded.layers}
    assert gone <= {layer.name for layer in normalizations(model)}
    assert len(normalizations(folded)) == LEFT.get(name, 0)
    if name in PARAMETERS:
        assert folded.count_params() == PARAMETERS[name] == sum(stage.parameters for stage in stages(folded))
        assert folded.non_trainable_weights == []


def test_folded_network_has_gradients() -> None:
    import tensorflow as tf

    frozen = random_network("MobileNetV2")
    frozen.trainable = False  # whoever froze the network, its folded copy can be trained
    folded = fold(frozen)
    with tf.GradientTape() as tape:
        features = folded(random_pixels(folded), training=True)
        loss = tf.reduce_sum(features * np.random.default_rng(0).normal(size=features.shape))
    variables = [variable.value for variable in folded.trainable_variables]
    gradients = tape.gradient(loss, variables)
    assert len(variables) >= sum(hasattr(layer, "kernel") for layer in folded.layers)
    for variable, gradient in zip(folded.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_training_above_a_cut_changes_no_statistics() -> None:
    import keras
    import tensorflow as tf

    folded = fold(random_network("ResNet50V2"))
    cut = stages(folded)[-2].layer
    lower, upper = below(folded, cut), above(folded, cut)
    pixels = random_pixels(folded)
    stored = outputs(lower, pixels)
    before = {layer.name: layer.get_weights() for layer in folded.layers}
    upper.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    upper.fit(tf.constant(stored), tf.zeros((3, 2048)), epochs=1, verbose=0)
    changed = {
        layer.name
        for layer in folded.layers
        if any((old != new).any() for old, new in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    trained = {layer.name for layer in upper.layers if layer.weights}
    assert changed == trained - {layer.name for layer in normalizations(folded)}
    assert not changed & {layer.name for layer in lower.layers}
    assert difference(outputs(upper, stored), outputs(folded, pixels)) < TOLERANCE


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
def test_folded_weights_can_be_saved_and_loaded(name: str, tmp_path: Path) -> None:
    first, second = (_unnamed() if name == "unnamed" else random_network(name) for _ in range(2))
    randomize(first, 5)
    folded, fresh = fold(first), fold(second)
    folded.save_weights(tmp_path / "trunk.weights.h5")
    pixels = random_pixels(folded)
    expected = outputs(folded, pixels)
    assert difference(outputs(fresh, pixels), expected) > 0.01
    fresh.load_weights(tmp_path / "trunk.weights.h5")
    assert difference(outputs(fresh, pixels), expected) < TOLERANCE


_ELSEWHERE = """
import keras
keras.config.set_image_data_format("channels_first")
from support.networks import *
from tl.networks.trainable import fold
assert keras.backend.backend() == "openvino"
layers, models = keras.layers, [random_network("MobileNetV2")]
for axis, layer in [
    (1, layers.Conv2D(6, 3, groups=2, use_bias=False)),
    (1, layers.DepthwiseConv2D(3, depth_multiplier=3)),
    (1, layers.SeparableConv2D(6, 3, depth_multiplier=2, use_bias=False)),
    (-1, layers.Conv2D(6, 3)),
]:
    models.append(chain(layer, layers.BatchNormalization(axis=axis), shape=(4, 8, 8)))
for model in models:
    randomize(model, 1)
    pixels, folded = random_pixels(model), fold(model)
    print(len(normalizations(folded)), difference(outputs(folded, pixels), outputs(model, pixels)))
"""


@pytest.mark.slow
def test_fold_works_with_channels_first_on_openvino(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": path}
    command = [sys.executable, "-c", _ELSEWHERE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [left for left, _ in lines] == ["0", "0", "0", "0", "1"]
    assert all(float(found) < TOLERANCE for _, found in lines)


def _graphs() -> dict[str, tuple[Callable[[Any], Any], int]]:
    """Small graphs made from `keras.layers`, with how many BatchNorm layers folding must leave."""

    def an_output_itself(kl: Any) -> Any:
        import keras

        inputs = keras.Input((8, 8, 4))
        x = kl.Conv2D(4, 1)(inputs)
        return keras.Model(inputs, [x, kl.BatchNormalization()(x)])

    def shared_convolution(kl: Any) -> Any:
        shared = kl.Conv2D(4, 3, padding="same")
        return chain(shared, kl.BatchNormalization(), kl.ReLU(), shared, kl.BatchNormalization())

    def shared_normalization(kl: Any) -> Any:
        shared = kl.BatchNormalization()
        return chain(kl.Conv2D(4, 1), shared, kl.Conv2D(4, 1), shared)

    def operations(kl: Any) -> Any:
        import keras

        adapted = kl.Normalization()
        adapted.adapt(np.random.default_rng(0).normal(1, 2, (5, 8, 8, 4)).astype(np.float32))
        first = (kl.Rescaling(0.1, 2.0), adapted, kl.ZeroPadding2D(1), kl.Conv2D(6, 3), kl.BatchNormalization())
        functions = (keras.ops.relu, lambda x: x + 0.5 * keras.ops.concatenate([x, x], -1)[..., :6])
        return chain(*first, *functions, kl.Conv2D(2, 1, use_bias=False), kl.BatchNormalization())

    def sequential(kl: Any) -> Any:
        import keras

        return keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(4, 3), kl.BatchNormalization(), kl.ReLU()])

    def before_bn(*layers: Callable[[Any], Any], **options: Any) -> Callable[[Any], Any]:
        return lambda kl: chain(*(layer(kl) for layer in layers), kl.BatchNormalization(**options))

    penalty = {"kernel_regularizer": "l2", "kernel_constraint": "non_neg"}
    return {
        "bias": (before_bn(lambda kl: kl.Conv2D(6, 3)), 0),
        "no bias": (before_bn(lambda kl: kl.Conv2D(6, 3, use_bias=False)), 0),
        "no gamma or beta": (before_bn(lambda kl: kl.Conv2D(6, 3), scale=False, center=False, epsilon=0.1), 0),
        "groups": (before_bn(lambda kl: kl.Conv2D(6, 3, groups=2, use_bias=False)), 0),
        "depthwise": (before_bn(lambda kl: kl.DepthwiseConv2D(3)), 0),
        "depth multiplier": (before_bn(lambda kl: kl.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False)), 0),
        "separable": (before_bn(lambda kl: kl.SeparableConv2D(6, 3, depth_multiplier=2)), 0),
        "dense": (before_bn(lambda kl: kl.Dense(6)), 0),
        "dense after flatten": (before_bn(lambda kl: kl.Flatten(), lambda kl: kl.Dense(5)), 0),
        "activation between": (before_bn(lambda kl: kl.Conv2D(6, 3), lambda kl: kl.ReLU()), 1),
        "activation inside": (before_bn(lambda kl: kl.Conv2D(6, 3, activation="relu")), 1),
        "before the convolution": (lambda kl: chain(kl.BatchNormalization(), kl.Conv2D(6, 3)), 1),
        "another axis": (before_bn(lambda kl: kl.Conv2D(6, 3), axis=1), 1),
        "transposed": (before_bn(lambda kl: kl.Conv2DTranspose(6, 3)), 1),
        "twice": (before_bn(lambda kl: kl.Conv2D(6, 3), lambda kl: kl.BatchNormalization()), 1),
        "two readers": (lambda kl: chain(kl.Conv2D(4, 1), lambda x: kl.Add()([x, kl.BatchNormalization()(x)])), 1),
        "an output itself": (an_output_itself, 1),
        "shared convolution": (shared_convolution, 2),
        "shared normalization": (shared_normalization, 1),
        "operations": (operations, 0),
        "regularized": (before_bn(lambda kl: kl.Conv2D(6, 3, **penalty)), 0),
        "nested without BatchNorm": (
            before_bn(lambda kl: chain(kl.Conv2D(4, 3), kl.ReLU()), lambda kl: kl.Conv2D(6, 3)),
            0,
        ),
        "sequential": (sequential, 0),
    }


@pytest.mark.parametrize("case", list(_graphs()))
def test_fold_folds_only_what_it_can(case: str) -> None:
    import keras

    build, left = _graphs()[case]
    keras.utils.set_random_seed(1)
    model = build(keras.layers)
    randomize(model, 1)
    folded = fold(model)
    assert len(normalizations(folded)) == left
    assert not any(layer.trainable for layer in normalizations(folded))
    pixels = random_pixels(model)
    expected, found = (m(pixels, training=False) for m in (model, folded))
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        assert difference(np.asarray(other), np.asarray(one)) < TOLERANCE
    assert folded.losses == []
    assert not any(getattr(layer, "kernel_constraint", None) for layer in folded.layers)
    assert all(weight.dtype == "float32" for weight in folded.trainable_weights)


def test_fold_does_not_change_the_model() -> None:
    import keras

    model = chain(keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization())
    randomize(model, 1)
    pixels = random_pixels(model)
    before = outputs(model, pixels)
    folded = fold(model)
    folded.set_weights([weight * 0 for weight in folded.get_weights()])
    np.testing.assert_array_equal(outputs(model, pixels), before)
    assert all(layer.trainable for layer in model.layers)
    assert len(model.layers) == 3


def test_fold_computes_in_float32() -> None:
    import keras

    policy = {"dtype": "mixed_bfloat16"}
    folded = fold(chain(keras.layers.Conv2D(6, 3, **policy), keras.layers.BatchNormalization(**policy)))
    assert folded.compute_dtype == folded.layers[1].compute_dtype == "float32"
    assert folded.outputs[0].dtype == "float32"


def test_fold_refuses_batchnorm_in_a_nested_model() -> None:
    import keras

    inner = chain(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    with pytest.raises(BackboneError, match=r"cannot be folded: its layer \S+ is a model with its own BatchNorm"):
        fold(chain(chain(inner), keras.layers.ReLU()))
    with pytest.raises(BackboneError, match=r"cannot be folded: its layer time_distributed"):
        fold(chain(keras.layers.TimeDistributed(keras.layers.BatchNormalization())))


def test_below_and_above_name_the_reason_for_a_wrong_cut() -> None:
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU(name="sum")(layers.BatchNormalization(name="bn")(layers.Conv2D(3, 1, name="first")(inputs)))
    x = layers.Add(name="last")([x, layers.Conv2D(3, 1, name="inner")(x)])
    folded = fold(keras.Model(inputs, x, name="small"))
    with pytest.raises(BackboneError, match="small cannot be cut after 'bn': it has no such layer; take the layer of"):
        below(folded, "bn")
    with pytest.raises(BackboneError, match="'inner': not every path goes through it once"):
        above(folded, "inner")
    with pytest.raises(BackboneError, match="small has nothing after last: cut it at a layer before"):
        above(folded, "last")


def pixels(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 50, (count, SIZE, SIZE, 3)).astype(np.float32)


def assert_close(found, expected) -> None:
    """Equal except for float32 in another order, relative to the largest value."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(("name", "unfreeze"), [
    *(("ResNet50", unfreeze) for unfreeze in ("last", "half")),
    *((name, unfreeze) for name in ("VGG16", "MobileNetV2") for unfreeze in ("last", "all")),
    ("DenseNet121", "last"),
])  # fmt: skip
def test_upper_part_of_lower_part_is_the_network(networks, name, unfreeze):
    _, model = networks(name)
    layer = cut_for(model, unfreeze)
    stored = pixels() if layer is None else lower_part(model, layer)(pixels(), training=False)
    upper = upper_part(model, layer)
    assert upper.input_shape == (None, *stored.shape[1:])
    assert_close(upper(stored, training=False), model(pixels(), training=False))


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
def test_upper_part_shares_weights_with_the_network(name):
    model = fold(random_network(name, size=SIZE))
    layer = cut_for(model, "last")
    upper = upper_part(model, layer)
    expected = above(model, layer).trainable_variables
    assert {id(variable) for variable in upper.trainable_variables} == {id(variable) for variable in expected}
    before = np.asarray(model(pixels(), training=False))
    for variable in upper.trainable_variables:
        variable.assign(variable * 1.1 + 0.01)
    after = model(pixels(), training=False)
    assert np.abs(np.asarray(after) - before).max() > 1e-3 * np.abs(before).max()
    assert_close(upper(lower_part(model, layer)(pixels(), training=False), training=False), after)


@pytest.mark.parametrize("name", ["ResNet50", "DenseNet121"])
def test_depths_cover_all_trainable_variables(networks, name):
    _, model = networks(name)
    names = {variable.path.split("/")[0] for variable in upper_part(model, None).trainable_variables}
    deep = depths(model)
    assert names <= deep.keys()
    assert {deep[name] for name in names} == set(range(5))


def test_lower_part_leaves_out_what_the_stride_skips_and_upper_part_computes_products(networks):
    import keras

    _, model = networks("ResNet50")
    layer = cut_for(model, "last")
    assert model.get_layer(layer).output.shape[1:] == (5, 5, 1024)
    assert read_stride(model, layer) == 2
    assert lower_part(model, layer).output_shape == (None, 3, 3, 1024)
    assert read_stride(model, None) == 1
    assert read_stride(model, "pool1_pool") == 1  # its readers have no stride
    whole = np.asarray(below(model, layer)(pixels(), training=False))
    assert_close(lower_part(model, layer)(pixels(), training=False), whole[:, ::2, ::2])
    for name in ("VGG16", "DenseNet121"):
        _, other = networks(name)
        assert read_stride(other, cut_for(other, "last")) == 1
    kinds = upper_part(model, layer).layers  # its pointwise convolutions are products
    convolutions = [layer for layer in kinds if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 3
    assert sum(type(layer).__name__ == "Pointwise" for layer in kinds) == 7


def test_read_stride_is_1_for_different_strides():
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    one = layers.Conv2D(4, 1, 2, name="one")(x)
    other = layers.AveragePooling2D(2, name="other")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Add()([one, other])))
    assert read_stride(model, "stem") == 1
    photos = random_pixels(model)
    assert_close(upper_part(model, "stem")(lower_part(model, "stem")(photos)), model(photos))


def test_upper_part_keeps_activation_and_bias():
    import keras
    from keras import layers

    inputs = keras.Input((7, 7, 3))
    x = layers.Conv2D(5, 1, 2, activation="relu", bias_initializer="ones", name="product")(inputs)
    x = layers.Conv2D(4, 1, use_bias=False, activation="tanh")(x)
    x = layers.Conv2D(4, 1, (1, 2), name="uneven")(x)
    model = keras.Model(inputs, layers.Conv2D(4, 1, groups=2)(x))
    photos = random_pixels(model)
    upper = upper_part(model, None)
    assert upper.output_shape == model.output_shape == (None, 4, 2, 4)
    assert_close(upper(photos), model(photos))


def test_frozen_part_belongs_to_the_folded_network(networks):
    _, model = networks("VGG16")
    frozen = frozen_part(model, "last")
    assert frozen.output_shape == (None, 4, 4, 512)
    assert_close(frozen(pixels(), training=False), lower_part(model, "block4_pool")(pixels(), training=False))
    with pytest.raises(UsageError, match="vgg16 has no frozen part with --unfreeze all"):
        frozen_part(model, "all")
