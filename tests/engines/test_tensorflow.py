"""The devices of training: their precision, and several that share each batch compute as one."""

import subprocess
import sys

import pytest

from support.session import ROOT
from tl.engines import tensorflow as devices
from tl.engines.tensorflow import Devices, has_bf16, training_devices
from tl.errors import EngineError

# In a process of its own, because TensorFlow fixes the number of devices when it starts.
TWO = """
import sys
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from tl.engines.tensorflow import Devices
from tl.learning.batches import BatchOrder, ActivationFeed, training_batches
from tl.learning.head import Head
from tl.learning.hyperparameters import tuning_rule
from tl.learning.trainer import Diverged, Trainer

processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
draw = np.random.default_rng(0)
values = draw.normal(size=(1, 16, 6, 6, 2)).astype(np.float16)
labels = np.eye(3, dtype=np.float32)[draw.integers(3, size=16)]
head = Head(draw.normal(size=(4, 3)).astype(np.float32), np.zeros(3, np.float32), 1.0)


def trained(names, precision, optimizer, steps):
    devices = Devices(names, precision == "f16", precision)
    strategy = devices.strategy()
    assert strategy.num_replicas_in_sync == len(names)
    keras.utils.set_random_seed(3)
    with strategy.scope():
        keras.config.set_dtype_policy(devices.policy)
        inputs = keras.Input((6, 6, 2))
        x = keras.layers.Conv2D(4, 3, activation="tanh", name="low")(inputs)
        x = keras.layers.Conv2D(4, 3, activation="tanh", name="high")(x)
        network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        rule = replace(tuning_rule(1000, "all"), optimizer=optimizer, ema=0.5, weight_decay=0.1)
        trainer = Trainer(network, head, rule, devices, strategy=strategy, depth={"low": 1})
    before = trainer.weights()
    data = training_batches(ActivationFeed(values, 0), BatchOrder(np.arange(16), 8, 0), labels, range(0, steps))
    if len(names) > 1:
        data = strategy.experimental_distribute_dataset(data)
    losses = [trainer.step(*batch, 0.05) for batch in data]
    return trainer, before, losses


def distance(ones, others):
    return max(float(np.abs(one - other).max()) for one, other in zip(ones, others, strict=True))


steep, gentle = (BatchOrder(np.arange(16), 8, 0).at(step) for step in (0, 1))
labels[steep] *= 100  # the gradient of the first step is clipped,
labels[gentle] *= 0.3  # that of the second is not
one, before, losses = trained(("CPU:0",), "f32", "sgd", 2)
two, _, theirs = trained(("CPU:0", "CPU:1"), "f32", "sgd", 2)
assert np.allclose(losses, theirs, rtol=1e-5), (losses, theirs)
assert distance(one.weights(), before) > 1e-2
assert distance(one.weights(), two.weights()) < 1e-6
assert distance(one.average(), two.average()) < 1e-6
plain = [(values[0].astype(np.float32), labels)]
assert np.allclose(one.evaluate(plain), two.evaluate(plain), rtol=1e-4)
state = two.state()
two.set_weights(before)
two.set_state(state)
assert distance(two.weights(), one.weights()) < 1e-6

labels[[3, 5]] = np.nan  # some device or other gets them
try:
    data = training_batches(ActivationFeed(values, 0), BatchOrder(np.arange(16), 8, 0), labels, range(0, 2))
    for batch in two._strategy.experimental_distribute_dataset(data):
        two.step(*batch, 0.05)
except Diverged as error:
    assert str(error) == "the loss is nan"
else:
    raise SystemExit("NaN went unnoticed")
assert all(np.isfinite(array).all() for array in two.state())

labels = np.eye(3, dtype=np.float32)[np.arange(16) % 3]
labels[BatchOrder(np.arange(16), 8, 0).at(0)[4:]] *= 1e4  # what only the second device gets overflows in 16 bits
half, before, _ = trained(("CPU:0", "CPU:1"), "f16", "adamw", 1)
assert distance(half.weights(), before) == 0
print("alike")
"""


@pytest.mark.slow
def test_two_devices_train_as_one():
    done = subprocess.run([sys.executable, "-c", TWO], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip().endswith("alike"), done.stderr[-3000:]


@pytest.mark.parametrize(("gpu", "precision", "policy"), [
    (True, "f32", "float32"),
    (True, "bf16", "mixed_bfloat16"),
    (True, "f16", "mixed_float16"),
    (False, "bf16", "float32"),  # graphs are rewritten instead
    (False, "f32", "float32"),
])  # fmt: skip
def test_policy_is_mixed_on_gpus_only(gpu, precision, policy):
    assert Devices(("X:0",), gpu, precision).policy == policy


@pytest.mark.parametrize(
    ("gpu", "precision", "expected"), [(False, "bf16", True), (False, "f32", False), (True, "bf16", False)]
)
def test_graph_rewriting_is_for_cpus_and_ends_with_the_block(gpu, precision, expected):
    import tensorflow as tf

    def rewritten():
        return tf.config.optimizer.get_experimental_options().get("auto_mixed_precision_onednn_bfloat16", False)

    with Devices(("X:0",), gpu, precision).graph_rewriting():
        assert rewritten() == expected
    assert not rewritten()
    with pytest.raises(ZeroDivisionError), Devices(("X:0",), gpu, precision).graph_rewriting():
        1 / 0  # noqa: B018
    assert not rewritten()


@pytest.mark.parametrize(("able", "precision", "expected"), [
    *((True, "auto", "bf16"), (True, "bf16", "bf16"), (True, "f32", "f32"), (True, "f16", None)),
    *((False, "auto", "f32"), (False, "bf16", None), (False, "f16", None)),
])  # fmt: skip
def test_training_devices_without_a_gpu(monkeypatch, able, precision, expected):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.setattr(devices, "has_bf16", lambda: able)
    if expected:
        assert training_devices(precision) == Devices(("CPU:0",), gpu=False, precision=expected)
        assert training_devices(precision).strategy().num_replicas_in_sync == 1
    else:
        with pytest.raises(EngineError, match=f"this processor does not train in {precision}: choose auto or f32"):
            training_devices(precision)


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "f16"), ((6, 1), "f32"), (None, "f32")]
)
def test_training_devices_use_all_gpus(monkeypatch, capability, expected):
    import tensorflow as tf

    grown = []
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["first", "second"])
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["first", "second"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda card, on: grown.append((card, on)))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda card: details)
    assert training_devices() == Devices(("GPU:0", "GPU:1"), gpu=True, precision=expected)
    assert grown == [("first", True), ("second", True)]
    assert training_devices("f32").precision == "f32"


@pytest.mark.parametrize(
    ("flags", "able"),
    [("fpu avx2 amx_bf16 amx_tile", True), ("fpu avx512_bf16", True), ("fpu avx512f", False), (None, False)],
)
def test_has_bf16_reads_the_flags_of_the_processor(monkeypatch, flags, able):
    def read_text(self, **options):
        if flags is None:
            raise FileNotFoundError  # as on systems other than Linux
        return f"processor : 0\nflags : {flags}\n"

    monkeypatch.setattr(devices.Path, "read_text", read_text)
    assert has_bf16() == able


def test_training_devices_refuse_another_backend(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(EngineError, match="Keras runs on 'openvino' here: set KERAS_BACKEND=tensorflow"):
        training_devices()
