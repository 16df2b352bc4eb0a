"""Tests of training steps and of checkpoints."""

import io
import json
import math
import os
import resource
from dataclasses import replace

import numpy as np
import pytest

from tl.engines.tensorflow import Devices
from tl.errors import RunError, StorageError
from tl.learning.calibration import fit_temperature
from tl.learning.head import Head
from tl.learning.hyperparameters import tuning_rule
from tl.learning.trainer import Diverged, Trainer, load_checkpoint, save_checkpoint

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
    """Three small convolutions, the same at each call, and a pooling; `last` is applied to the third."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((6, 6, 2))
    for name in ("low", "middle", "high"):
        x = layers.Conv2D(FEATURES, 3, padding="same", activation="tanh", name=name, dtype=policy)(x)
    x = last(x) if last is not None else x
    return keras.Model(inputs, layers.GlobalAveragePooling2D(dtype=policy)(x))


def trainer(upper, devices=CPU, *, scratch=False, **changes):
    return Trainer(
        upper, HEAD, replace(RULE, **changes), devices, strategy=devices.strategy(), depth=DEPTH, scratch=scratch
    )


@pytest.fixture(scope="module")
def trainers():
    """Trainers by optimizer, created once, each with its initial state."""
    return {}


@pytest.fixture
def trained(request, trainers):
    """A trainer in its initial state, with AdamW or the optimizer of the parameter."""
    optimizer = getattr(request, "param", "adamw")
    if optimizer not in trainers:
        new = trainer(network(), optimizer=optimizer)
        trainers[optimizer] = new, new.state()
    found, initial = trainers[optimizer]
    found.set_state(initial)
    return found


both = pytest.mark.parametrize("trained", ["adamw", "sgd"], indirect=True)
sgd = pytest.mark.parametrize("trained", ["sgd"], indirect=True)


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


def gradients(trained, inputs, labels):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.nn.softmax_cross_entropy_with_logits(smoothed(labels), trained.network(inputs))
        loss = tf.reduce_mean(loss)
    return [np.asarray(gradient) for gradient in tape.gradient(loss, [variable.value for variable in trained.trained])]


def length(arrays):
    return math.sqrt(sum(float((array**2).sum()) for array in arrays))


def fraction_of(variable):
    return {"low": 0.25, "middle": 0.5}.get(variable.path.split("/")[0], 1.0)


def same(ones, others):
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


def close(ones, others, **how):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, **({"rtol": 1e-5, "atol": 1e-6} | how))


@both
def test_step_measures_the_accuracy_before_it(trained):
    inputs, labels = batch()
    before = np.mean(np.asarray(trained.network(inputs)).argmax(axis=1) == labels.argmax(axis=1))
    trained.step(inputs, 0.7 * labels + 0.1, RATE)  # mixed with others, the largest part counts
    assert trained.accuracy == pytest.approx(before)


@both
def test_steps_lower_the_loss(trained):
    inputs, labels = batch()
    weights, before = trained.weights(), cross_entropy(trained.network(inputs), labels)
    trained.step(inputs, labels, 0.0)
    assert same(trained.weights(), weights)
    losses = [trained.step(inputs, labels, RATE) for _ in range(40)]
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] - 0.03  # smoothed, it cannot fall far
    assert cross_entropy(trained.network(inputs), labels) < 0.95 * before


def test_training_starts_with_the_calibrated_head(trained):
    import keras

    inputs, labels = batch()
    vectors = np.asarray(keras.Model(trained.network.input, trained.network.layers[-1].input)(inputs))
    logits = HEAD.logits(vectors) / HEAD.temperature
    close(trained.head(), (HEAD.kernel / 2.5, HEAD.bias / 2.5))
    hits = np.mean(logits.argmax(axis=1) == labels.argmax(axis=1))
    assert trained.evaluate([batch()]) == (pytest.approx(calibrated(logits, labels), rel=1e-4), hits)
    expected = cross_entropy(logits, smoothed(labels))
    assert trained.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)
    assert trained.step(inputs, labels, RATE) < 0.999 * expected
    kernel, bias = trained.head()
    assert np.array_equal(kernel, trained.network.layers[-1].kernel)
    assert not np.allclose(kernel, HEAD.kernel / 2.5)
    assert not np.allclose(bias, HEAD.bias / 2.5)


@sgd
@pytest.mark.parametrize("strength", [1, 1000])
def test_sgd_step_follows_the_rule(trained, strength):
    """Clipped to a length of 1, less for lower stages; kernels decay, biases do not."""
    inputs, labels = batch()
    labels = strength * labels * np.linspace(0.5, 1.5, len(labels), dtype=np.float32)[:, None]
    slopes, before = gradients(trained, inputs, labels), trained.weights()
    assert (length(slopes) > 1) == (strength > 1)
    expected = cross_entropy(trained.network(inputs), smoothed(labels))
    assert trained.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)
    for variable, old, slope in zip(trained.trained, before, slopes, strict=True):
        kept = 1.0 if variable.path.endswith("bias") else 1 - RATE * RULE.weight_decay
        expected = kept * old - RATE * fraction_of(variable) * slope / max(1.0, length(slopes))
        np.testing.assert_allclose(np.array(variable), expected, rtol=1e-5, atol=1e-7, err_msg=variable.path)


def test_adamw_step_is_scaled_by_stage(trained):
    slopes, before = gradients(trained, *batch()), trained.weights()
    trained.step(*batch(), RATE)
    for variable, old, slope in zip(trained.trained, before, slopes, strict=True):
        kept = 1.0 if variable.path.endswith("bias") else 1 - RATE * RULE.weight_decay
        clear = np.abs(slope) > 1e-3  # for the others, the optimizer's epsilon counts
        assert clear.any()
        expected = kept * old - RATE * fraction_of(variable) * np.sign(slope)
        close([np.array(variable)[clear]], [expected[clear]], atol=1e-2 * RATE * fraction_of(variable), rtol=0)


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("warm", [0, 3], ids=["at first", "later"])
def test_infinite_loss_raises_diverged_and_changes_nothing(trained, bad, warm):
    inputs, labels = batch()
    for _ in range(warm):
        trained.step(inputs, labels, RATE)
    before = trained.weights()
    broken = labels.copy()
    broken[2, 1] = bad
    with pytest.raises(Diverged, match=r"^the loss is (nan|inf)$"):
        trained.step(inputs, broken, RATE)
    assert all(np.isfinite(array).all() for array in [*trained.state(), *trained.average()])
    # only decay, and what earlier steps left in the optimizer, moved the weights
    reach = RATE * RULE.weight_decay * max(np.abs(array).max() for array in before)
    close(trained.weights(), before, atol=reach + (RATE if warm else 0), rtol=0)
    loss = trained.step(inputs, labels, RATE)
    assert math.isfinite(loss)
    assert trained.step(inputs, labels, RATE) < loss


def test_infinite_gradient_raises_diverged():
    import keras

    steep = trainer(network(last=lambda x: keras.ops.sqrt(keras.ops.relu(x))))  # without end at 0
    with pytest.raises(Diverged, match=r"^the loss is \d.*, a gradient is not finite$"):
        steep.step(*batch(), RATE)
    assert all(np.isfinite(array).all() for array in steep.state())


def test_average_follows_the_weights(trained):
    (inputs, labels), state = batch(), trained.state()
    assert same(trained.average(), trained.weights())
    trained.step(inputs, labels, RATE)
    trained.set_state(state)  # before the first step, where there is no average yet
    assert same(trained.average(), trained.weights())
    trained.step(inputs, labels, RATE)
    expected = trained.weights()
    close(trained.average(), expected)
    for _ in range(3):
        trained.step(inputs, labels, RATE)
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, trained.weights(), strict=True)]
        close(trained.average(), expected)


def test_evaluate_uses_the_averaged_weights_and_all_batches(trained):
    for at in range(4):
        trained.step(*batch(at), RATE)
    newest, average = trained.weights(), trained.average()
    loss, top1 = trained.evaluate([batch(10, 8), batch(11, 3)])
    assert same(trained.weights(), newest)
    with trained.averaged():
        assert same(trained.weights(), average)
    assert same(trained.weights(), newest)
    inputs, labels = (np.concatenate(parts) for parts in zip(batch(10, 8), batch(11, 3), strict=True))
    trained.set_weights(average)
    logits = np.asarray(trained.network(inputs))
    assert loss == pytest.approx(calibrated(logits, labels), rel=1e-4)
    assert loss != pytest.approx(cross_entropy(logits, labels), rel=1e-4)
    assert top1 == pytest.approx(np.mean(logits.argmax(axis=1) == labels.argmax(axis=1)))
    assert all(map(math.isnan, trained.evaluate([])))


@both
def test_state_restores_training(trained):
    for at in range(3):
        trained.step(*batch(at), RATE)
    state = trained.state()
    kept = [array.copy() for array in state]
    losses = [trained.step(*batch(at), RATE / at) for at in range(3, 7)]
    end, average = trained.state(), trained.average()
    assert same(state, kept)  # a copy, not a view
    trained.step(*batch(99), 10 * RATE)  # whatever comes between
    trained.set_state(state)
    assert [trained.step(*batch(at), RATE / at) for at in range(3, 7)] == pytest.approx(losses, rel=1e-6)
    close(trained.state(), end)
    close(trained.average(), average)


def test_half_precision_skips_overflowing_steps():
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


def statistics(trained):
    layer = trained.network.get_layer("normalisation")
    return [np.array(layer.moving_mean), np.array(layer.moving_variance)]


def test_pretrained_network_keeps_its_statistics_without_regularisation():
    trained, (inputs, labels) = trainer(normalised()), batch()
    expected, before = cross_entropy(trained.network(inputs), smoothed(labels)), statistics(trained)
    assert trained.step(inputs, labels, RATE) == pytest.approx(expected, rel=1e-5)
    assert same(statistics(trained), before)


def test_scratch_learns_statistics_and_saves_them_with_the_weights():
    trained, (inputs, labels) = trainer(normalised(), scratch=True), batch()
    before = statistics(trained)
    for _ in range(3):
        trained.step(inputs, labels, RATE)
    assert not same(statistics(trained), before)
    best, learned = trained.average(), statistics(trained)
    with trained.averaged():
        logits = np.asarray(trained.network(inputs))
    inputs[0] = math.nan
    with pytest.raises(Diverged, match="^the loss is nan$"):
        trained.step(inputs, labels, RATE)
    trained.set_weights(best)
    assert same(statistics(trained), learned)  # not those of the photo that broke it
    inputs, _ = batch()
    close([trained.network(inputs)], [logits])


def checkpoint(step=3):
    draw = np.random.default_rng(step)
    state = [draw.normal(size=(3, 4)).astype(np.float32), np.int64(step) * np.ones((), np.int64), np.zeros(0)]
    state += [np.full(2, at, np.float16) for at in range(10)]
    about = {"step": step, "least": math.inf, "history": [[1, 2, 0.5, math.nan]], "stopped": "", "range_test": None}
    return state, [draw.normal(size=5).astype(np.float32)], about


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.npz"


def test_checkpoint_is_read_back(path):
    assert load_checkpoint(path) is None
    save_checkpoint(path, *checkpoint(2))
    state, best, about = checkpoint()
    save_checkpoint(path, state, best, about)
    read = load_checkpoint(path)
    for mine, its in ((state, read[0]), (best, read[1])):
        assert [(array.dtype, array.shape) for array in its] == [(array.dtype, array.shape) for array in mine]
        assert same(mine, its)
    assert json.dumps(read[2]) == json.dumps(about)  # NaN and infinity among them
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.npz"]


def test_failed_save_keeps_the_earlier_checkpoint(path):
    save_checkpoint(path, *checkpoint(3))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))  # a disk with so much room
    try:
        with pytest.raises(StorageError, match=r"checkpoint\.npz.* cannot be written: file too large; free some space"):
            save_checkpoint(path, [np.zeros(100_000)], [], {"step": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert load_checkpoint(path)[2]["step"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.npz"]


def test_save_syncs_before_it_replaces(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, name=name: calls.append(name) or real(*given))
    save_checkpoint(path, *checkpoint())
    assert calls == ["fsync", "replace"]


def test_load_of_a_corrupted_file_raises_nothing_but_run_error(path):
    save_checkpoint(path, *checkpoint())
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), 13):
        damaged = bytearray(content)
        damaged[at] ^= 0x41
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)  # some bytes are dates and the like, which nothing depends on
        except RunError as error:
            refused += "\n" not in str(error)
    assert refused > len(content) / 13 / 2


def saved(save, *arrays, **members):
    stream = io.BytesIO()
    save(stream, *arrays, **members)
    return stream.getvalue()


class Bomb:
    """What pickle would execute."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


NOTE = np.frombuffer(b"{}", np.uint8)
WHOLE = saved(np.savez, about=NOTE, state0=np.zeros(1000))
DAMAGED = {
    "empty": b"",
    "cut at first": WHOLE[:100],
    "cut at last": WHOLE[:-1],
    "text": b"not a checkpoint",
    "an array": saved(np.save, np.zeros(3)),
    "a pickle inside": saved(np.savez, about=NOTE, state0=np.array([Bomb()], dtype=object)),
    "without its step": saved(np.savez, state0=np.zeros(3)),
    "no JSON": saved(np.savez, about=np.frombuffer(b"{", np.uint8)),
    "no text": saved(np.savez, about=np.frombuffer(b"\xff\xfe{", np.uint8)),
    "a gap": saved(np.savez, about=NOTE, state1=np.zeros(3)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_load_refuses_a_damaged_file(path, content, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.npz is damaged .*: remove it to start the training anew"):
        load_checkpoint(path)
    assert not (path.parent / "executed").exists()
