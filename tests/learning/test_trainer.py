"""Training steps: the loss falls, what is not finite stays out, and a state is all that the next step depends on."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tl.engines.tensorflow import Devices
from tl.learning.calibration import fit_temperature
from tl.learning.head import Head
from tl.learning.rules import tuning_rule
from tl.learning.trainer import Diverged, Trainer

CLASSES, FEATURES, RATE = 3, 6, 0.05
DEPTH = {"low": 2, "middle": 1}  # the head and what is not named: 0
RULE = replace(tuning_rule(1000, "all"), weight_decay=0.2, label_smoothing=0.3, stage_decay=0.5, ema=0.75)
CPU = Devices(("CPU:0",), gpu=False, precision="f32")
HEAD = Head(
    np.random.default_rng(1).normal(size=(FEATURES, CLASSES)).astype(np.float32),
    np.random.default_rng(2).normal(size=CLASSES).astype(np.float32),
    2.5,
)


def network(last=None, policy="float32"):
    """Three small convolutions, the same at each call, and a pooling; `last` is done to the third."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((6, 6, 2))
    for name in ("low", "middle", "high"):
        x = layers.Conv2D(FEATURES, 3, padding="same", activation="tanh", name=name, dtype=policy)(x)
    x = last(x) if last is not None else x
    return keras.Model(inputs, layers.GlobalAveragePooling2D(dtype=policy)(x))


def trainer(upper, devices=CPU, *, scratch=False, **changes):
    return Trainer(upper, HEAD, replace(RULE, **changes), devices, devices.strategy(), DEPTH, scratch=scratch)


@pytest.fixture(scope="module")
def trainers():
    """Trainers by their optimizer, made once, each with the state that it began with."""
    return {}


@pytest.fixture
def made(request, trainers):
    """A trainer at its beginning, with AdamW or what the test asks for."""
    optimizer = getattr(request, "param", "adamw")
    if optimizer not in trainers:
        new = trainer(network(), optimizer=optimizer)
        trainers[optimizer] = new, new.state()
    found, initial = trainers[optimizer]
    found.set_state(initial)
    return found


both = pytest.mark.parametrize("made", ["adamw", "sgd"], indirect=True)
sgd = pytest.mark.parametrize("made", ["sgd"], indirect=True)


def batch(seed=0, count=8):
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(count, 6, 6, 2)).astype(np.float32)
    return inputs, np.eye(CLASSES, dtype=np.float32)[draw.integers(CLASSES, size=count)]


def smoothed(labels):
    return labels * (1 - RULE.label_smoothing) + RULE.label_smoothing * labels.sum(axis=1, keepdims=True) / CLASSES


def calibrated(logits, labels):
    """The loss at the best temperature."""
    return cross_entropy(logits / fit_temperature(np.asarray(logits, np.float32), labels.argmax(axis=1)), labels)


def cross_entropy(logits, shares):
    logits = np.asarray(logits, np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(shares * logs).sum(axis=1).mean())


def gradients(made, inputs, labels):
    """The gradients of the smoothed loss, as long as they are."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.nn.softmax_cross_entropy_with_logits(smoothed(labels), made.network(inputs))
        loss = tf.reduce_mean(loss)
    return [np.asarray(gradient) for gradient in tape.gradient(loss, [variable.value for variable in made.trained])]


def length(arrays):
    return math.sqrt(sum(float((array**2).sum()) for array in arrays))


def share_of(variable):
    return {"low": 0.25, "middle": 0.5}.get(variable.path.split("/")[0], 1.0)


def same(ones, others):
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


def close(ones, others, **how):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, **({"rtol": 1e-5, "atol": 1e-6} | how))


@both
def test_steps_lower_the_loss(made):
    inputs, labels = batch()
    before = cross_entropy(made.network(inputs), labels)
    losses = [made.step(inputs, labels, RATE) for _ in range(40)]
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] - 0.03  # smoothed, it cannot fall far
    assert cross_entropy(made.network(inputs), labels) < 0.95 * before


def test_training_starts_with_the_calibrated_head_and_a_step_gives_the_loss_before_it(made):
    inputs, labels = batch()
    features = made.network.layers[-1].input
    import keras

    vectors = np.asarray(keras.Model(made.network.input, features)(inputs))
    logits = HEAD.logits(vectors) / HEAD.temperature
    close(made.head(), (HEAD.kernel / 2.5, HEAD.bias / 2.5))
    hits = np.mean(logits.argmax(axis=1) == labels.argmax(axis=1))
    assert made.evaluate([batch()]) == (pytest.approx(calibrated(logits, labels), rel=1e-4), hits)
    expected = cross_entropy(logits, smoothed(labels))
    assert made.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)
    assert made.step(inputs, labels, RATE) < 0.999 * expected
    kernel, bias = made.head()
    assert np.array_equal(kernel, made.network.layers[-1].kernel)
    assert not np.allclose(kernel, HEAD.kernel / 2.5)
    assert not np.allclose(bias, HEAD.bias / 2.5)


def test_labels_that_count_more_are_smoothed_without_losing_their_weight(made):
    inputs, labels = batch()
    labels = labels * np.linspace(0.5, 2, len(labels), dtype=np.float32)[:, None]
    expected = cross_entropy(made.network(inputs), smoothed(labels))
    assert made.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)


@both
def test_a_rate_of_nothing_changes_nothing(made):
    before = made.weights()
    made.step(*batch(), 0.0)
    assert same(made.weights(), before)


@sgd
@pytest.mark.parametrize("strength", [1, 1000])
def test_a_step_is_that_of_the_rule(made, strength):
    """Clipped to a length of 1, less for lower stages; kernels decay, biases do not."""
    inputs, labels = batch()
    labels = strength * labels
    slopes, before = gradients(made, inputs, labels), made.weights()
    assert (length(slopes) > 1) == (strength > 1)
    made.step(inputs, labels, RATE)
    for variable, old, slope in zip(made.trained, before, slopes, strict=True):
        kept = 1.0 if variable.path.endswith("bias") else 1 - RATE * RULE.weight_decay
        expected = kept * old - RATE * share_of(variable) * slope / max(1.0, length(slopes))
        np.testing.assert_allclose(np.array(variable), expected, rtol=1e-5, atol=1e-7, err_msg=variable.path)


def test_with_adamw_each_weight_moves_by_its_stages_share_of_the_rate(made):
    slopes, before = gradients(made, *batch()), made.weights()
    made.step(*batch(), RATE)
    for variable, old, slope in zip(made.trained, before, slopes, strict=True):
        kept = 1.0 if variable.path.endswith("bias") else 1 - RATE * RULE.weight_decay
        clear = np.abs(slope) > 1e-3  # for the others, the optimizer's epsilon counts
        assert clear.any()
        expected = kept * old - RATE * share_of(variable) * np.sign(slope)
        close([np.array(variable)[clear]], [expected[clear]], atol=1e-2 * RATE * share_of(variable), rtol=0)


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("warm", [0, 3], ids=["at first", "later"])
def test_what_is_not_finite_is_named_and_stays_out(made, bad, warm):
    inputs, labels = batch()
    for _ in range(warm):
        made.step(inputs, labels, RATE)
    before = made.weights()
    broken = labels.copy()
    broken[2, 1] = bad
    with pytest.raises(Diverged, match=r"^the loss is (nan|inf)$"):
        made.step(inputs, broken, RATE)
    assert all(np.isfinite(array).all() for array in [*made.state(), *made.average()])
    # only decay, and what earlier steps left in the optimizer, moved the weights
    reach = RATE * RULE.weight_decay * max(np.abs(array).max() for array in before)
    close(made.weights(), before, atol=reach + (RATE if warm else 0), rtol=0)
    loss = made.step(inputs, labels, RATE)
    assert math.isfinite(loss)
    assert made.step(inputs, labels, RATE) < loss


def test_a_photo_of_nan_is_caught(made):
    inputs, labels = batch()
    inputs[3, 2, 2, 0] = math.nan
    with pytest.raises(Diverged, match="^the loss is nan$"):
        made.step(inputs, labels, RATE)
    assert all(np.isfinite(array).all() for array in made.state())


def test_a_gradient_that_is_not_finite_is_caught_though_the_loss_is():
    import keras

    steep = trainer(network(last=lambda x: keras.ops.sqrt(keras.ops.relu(x))))  # without end at 0
    with pytest.raises(Diverged, match=r"^the loss is \d.*, a gradient is not finite$"):
        steep.step(*batch(), RATE)
    assert all(np.isfinite(array).all() for array in steep.state())


def test_the_average_follows_the_weights(made):
    (inputs, labels), state = batch(), made.state()
    assert same(made.average(), made.weights())
    made.step(inputs, labels, RATE)
    made.set_state(state)  # before the first step, where there is no average yet
    assert same(made.average(), made.weights())
    made.step(inputs, labels, RATE)
    expected = made.weights()
    close(made.average(), expected)
    for _ in range(3):
        made.step(inputs, labels, RATE)
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, made.weights(), strict=True)]
        close(made.average(), expected)


def test_averaged_weights_are_swapped_in_and_out(made):
    for at in range(4):
        made.step(*batch(at), RATE)
    newest, average = made.weights(), made.average()
    assert not same(newest, average)
    with made.averaged():
        assert same(made.weights(), average)
    assert same(made.weights(), newest)
    with pytest.raises(ZeroDivisionError), made.averaged():
        1 / 0  # noqa: B018
    assert same(made.weights(), newest)
    assert same(made.average(), average)


def test_the_averaged_weights_are_measured_over_all_batches(made):
    for at in range(4):
        made.step(*batch(at), RATE)
    newest = made.weights()
    loss, top1 = made.evaluate([batch(10, 8), batch(11, 3)])
    assert same(made.weights(), newest)
    inputs, labels = (np.concatenate(parts) for parts in zip(batch(10, 8), batch(11, 3), strict=True))
    made.set_weights(made.average())
    logits = np.asarray(made.network(inputs))
    assert loss == pytest.approx(calibrated(logits, labels), rel=1e-4)
    assert loss != pytest.approx(cross_entropy(logits, labels), rel=1e-4)
    assert top1 == pytest.approx(np.mean(logits.argmax(axis=1) == labels.argmax(axis=1)))
    assert all(map(math.isnan, made.evaluate([])))


@both
def test_a_training_goes_on_from_its_state_as_if_nothing_had_been(made):
    for at in range(3):
        made.step(*batch(at), RATE)
    state = made.state()
    kept = [array.copy() for array in state]
    losses = [made.step(*batch(at), RATE / at) for at in range(3, 7)]
    end, average = made.state(), made.average()
    assert same(state, kept)  # a copy, not a view
    made.step(*batch(99), 10 * RATE)  # whatever comes between
    made.set_state(state)
    assert [made.step(*batch(at), RATE / at) for at in range(3, 7)] == pytest.approx(losses, rel=1e-6)
    close(made.state(), end)
    close(made.average(), average)


def test_half_precision_skips_what_overflows_and_learns_on():
    devices = Devices(("GPU:0",), gpu=True, precision="f16")
    half, (inputs, labels) = trainer(network(policy=devices.policy), devices, weight_decay=0.0), batch()
    before = half.weights()
    half.step(inputs, 1e4 * labels, RATE)  # scaled up, this gradient exceeds 16 bits
    assert same(half.weights(), before)
    assert same(half.average(), before)
    losses = [half.step(inputs, labels, RATE) for _ in range(20)]
    assert losses[-1] < 0.95 * losses[0]
    assert {array.dtype for array in half.weights()} == {np.dtype(np.float32)}
    inputs[0] = math.nan
    with pytest.raises(Diverged, match="^the loss is nan$"):
        half.step(inputs, labels, RATE)
    assert all(np.isfinite(array).all() for array in half.state())


def normalised():
    """A network with BatchNorm and a penalty of its own."""
    from keras import layers, regularizers

    def last(x):
        x = layers.Conv2D(FEATURES, 1, kernel_regularizer=regularizers.L2(0.1), name="penalised")(x)
        return layers.BatchNormalization(name="normalisation")(x)

    return network(last)


def statistics(made):
    layer = made.network.get_layer("normalisation")
    return [np.array(layer.moving_mean), np.array(layer.moving_variance)]


def test_a_pretrained_network_keeps_its_statistics_and_has_no_penalty():
    made, (inputs, labels) = trainer(normalised()), batch()
    expected, before = cross_entropy(made.network(inputs), smoothed(labels)), statistics(made)
    assert made.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)
    assert same(statistics(made), before)


def test_from_scratch_statistics_are_learned_and_go_with_the_weights():
    made, (inputs, labels) = trainer(normalised(), scratch=True), batch()
    before = statistics(made)
    for _ in range(3):
        made.step(inputs, labels, RATE)
    assert not same(statistics(made), before)
    best, learned = made.average(), statistics(made)
    with made.averaged():
        logits = np.asarray(made.network(inputs))
    inputs[0] = math.nan
    with pytest.raises(Diverged, match="^the loss is nan$"):
        made.step(inputs, labels, RATE)
    made.set_weights(best)
    assert same(statistics(made), learned)  # not those of the photo that broke it
    inputs, _ = batch()
    close([made.network(inputs)], [logits])
