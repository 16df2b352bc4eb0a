"""The part of a network that is trained computes what the network computed, on the network's own weights."""

import numpy as np
import pytest

from tl.errors import UsageError
from tl.networks.stages import cut_for, depths
from tl.networks.trainable import above, below, fold, frozen_part, lower_part, read_stride, upper_part

SIZE = 72  # its halvings are odd from the fourth on: 72, 36, 18, 9, 5, 3


@pytest.fixture(scope="module")
def networks():
    """Networks by name, each made once."""
    return {}


@pytest.fixture
def network(request, networks):
    """A folded network on small images, its random weights moved off zero where Keras starts them there."""
    if request.param not in networks:
        networks[request.param] = made(request.param)
    return networks[request.param]


def made(name):
    import keras

    keras.utils.set_random_seed(1)
    make = getattr(keras.applications, name)
    model = make(include_top=False, weights=None, pooling="avg", input_shape=(SIZE, SIZE, 3))
    draw = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(draw.uniform(-0.5, 0.5, layer.moving_mean.shape))
            layer.beta.assign(draw.uniform(-0.5, 0.5, layer.beta.shape))
    return fold(model)


def pixels(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 50, (count, SIZE, SIZE, 3)).astype(np.float32)


def close(found, expected) -> None:
    """Equal but for float32 in another order, relative to the largest."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(
    ("network", "unfreeze"),
    [
        ("ResNet50", "last"),
        ("ResNet50", "half"),
        ("VGG16", "last"),
        ("VGG16", "all"),
        ("MobileNetV2", "last"),
        ("MobileNetV2", "all"),
        ("DenseNet121", "last"),
    ],
    indirect=["network"],
)
def test_the_trained_part_of_the_frozen_part_is_the_network(network, unfreeze):
    layer = cut_for(network, unfreeze)
    stored = pixels() if layer is None else lower_part(network, layer)(pixels(), training=False)
    upper = upper_part(network, layer)
    assert upper.input_shape == (None, *stored.shape[1:])
    close(upper(stored, training=False), network(pixels(), training=False))


@pytest.mark.parametrize("network", ["ResNet50", "MobileNetV2"], indirect=True)
def test_training_the_upper_part_trains_the_network(network):
    layer = cut_for(network, "last")
    upper = upper_part(network, layer)
    own = {id(variable) for variable in network.trainable_variables}
    assert {id(variable) for variable in upper.trainable_variables} <= own
    expected = above(network, layer).trainable_variables
    assert {id(variable) for variable in upper.trainable_variables} == {id(variable) for variable in expected}
    before = np.asarray(network(pixels(), training=False))
    kept = [np.array(variable) for variable in expected]
    try:
        for variable in upper.trainable_variables:
            variable.assign(variable * 1.1 + 0.01)
        after = network(pixels(), training=False)
        assert np.abs(np.asarray(after) - before).max() > 1e-3 * np.abs(before).max()
        close(upper(lower_part(network, layer)(pixels(), training=False), training=False), after)
    finally:
        for variable, array in zip(expected, kept, strict=True):
            variable.assign(array)


@pytest.mark.parametrize("network", ["ResNet50", "MobileNetV2"], indirect=True)
def test_every_trained_variable_has_a_gradient(network):
    import tensorflow as tf

    layer = cut_for(network, "last")
    upper = upper_part(network, layer)
    stored = lower_part(network, layer)(pixels(), training=False)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(upper(stored, training=False) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in upper.trainable_variables])
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    assert sum(bool(np.any(gradient)) for gradient in gradients) > 0.9 * len(gradients)


@pytest.mark.parametrize("network", ["ResNet50", "DenseNet121"], indirect=True)
def test_every_trained_variable_knows_how_deep_it_lies(network):
    names = {variable.path.split("/")[0] for variable in upper_part(network, None).trainable_variables}
    deep = depths(network)
    assert names <= deep.keys()
    assert {deep[name] for name in names} == set(range(5))


@pytest.mark.parametrize("network", ["ResNet50"], indirect=True)
def test_what_a_stride_skips_is_not_stored(network):
    layer = cut_for(network, "last")
    assert network.get_layer(layer).output.shape[1:] == (5, 5, 1024)
    assert read_stride(network, layer) == 2
    assert lower_part(network, layer).output_shape == (None, 3, 3, 1024)
    assert read_stride(network, None) == 1
    assert read_stride(network, "pool1_pool") == 1  # its readers have no stride
    whole = np.asarray(below(network, layer)(pixels(), training=False))
    close(lower_part(network, layer)(pixels(), training=False), whole[:, ::2, ::2])


@pytest.mark.parametrize("network", ["ResNet50"], indirect=True)
def test_convolutions_of_one_pixel_are_matrix_products(network):
    import keras

    kinds = upper_part(network, cut_for(network, "last")).layers
    convolutions = [layer for layer in kinds if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 3
    assert sum(type(layer).__name__ == "Pointwise" for layer in kinds) == 7


@pytest.mark.parametrize("network", ["VGG16", "DenseNet121"], indirect=True)
def test_where_something_else_reads_the_cut_everything_is_stored(network):
    assert read_stride(network, cut_for(network, "last")) == 1


def test_readers_of_different_strides_need_everything():
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    one = layers.Conv2D(4, 1, 2, name="one")(x)
    other = layers.AveragePooling2D(2, name="other")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Add()([one, other])))
    assert read_stride(model, "stem") == 1
    photos = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    upper = upper_part(model, "stem")
    close(upper(lower_part(model, "stem")(photos)), model(photos))


def test_activation_and_bias_of_a_matrix_product_are_not_lost():
    import keras
    from keras import layers

    inputs = keras.Input((7, 7, 3))
    x = layers.Conv2D(5, 1, 2, activation="relu", bias_initializer="ones", name="product")(inputs)
    x = layers.Conv2D(4, 1, use_bias=False, activation="tanh")(x)
    x = layers.Conv2D(4, 1, (1, 2), name="uneven")(x)
    model = keras.Model(inputs, layers.Conv2D(4, 1, groups=2)(x))
    photos = np.random.default_rng(0).normal(size=(3, 7, 7, 3)).astype(np.float32)
    upper = upper_part(model, None)
    assert upper.output_shape == model.output_shape == (None, 4, 2, 4)
    close(upper(photos), model(photos))


@pytest.mark.parametrize("network", ["VGG16"], indirect=True)
def test_the_frozen_part_is_that_of_the_folded_network(network):
    frozen = frozen_part(network, "last")
    assert frozen.output_shape == (None, 4, 4, 512)
    close(frozen(pixels(), training=False), lower_part(network, "block4_pool")(pixels(), training=False))
    with pytest.raises(UsageError, match="vgg16 has no part that stays frozen for 'all': train all of it"):
        frozen_part(network, "all")
