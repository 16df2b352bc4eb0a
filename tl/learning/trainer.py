"""Training steps of a network with a head, and checkpoints of their state.

Weights are averaged over the steps, learning rates differ by stage, and a step that is not finite changes nothing.
"""

import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tl.engines.tensorflow import Devices
from tl.errors import RunError, TLError
from tl.files import atomic_write
from tl.learning.calibration import fit_temperature, log_loss
from tl.learning.head import Head
from tl.learning.hyperparameters import TuningRule

Arrays = list[NDArray[Any]]
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, zlib.error, BadZipFile)


class Diverged(TLError):
    """The loss or a gradient of a training step is not finite; the weights are unchanged."""


class Trainer:
    """The trained part of a network, with its head on top.

    `upper` returns features `[n, features]`; `depth` is the number of stages between a layer, by its name, and the last
    stage. Has to be created inside the scope of `strategy`, which distributes each batch over its devices. From
    `scratch`, layers such as BatchNorm and dropout are in training mode, and the network's regularisation losses count.
    """

    def __init__(
        self,
        upper: Any,
        head: Head,
        rule: TuningRule,
        devices: Devices,
        *,
        strategy: Any,
        depth: Mapping[str, int],
        scratch: bool = False,
    ) -> None:
        import keras
        import tensorflow as tf

        self._tf, self._strategy, self._rule, self._scratch = tf, strategy, rule, scratch
        dense = keras.layers.Dense(head.kernel.shape[1], dtype="float32", name="head")
        self.network = keras.Model(upper.input, dense(upper.output))
        # Divided by the temperature, the logits start out calibrated.
        dense.set_weights([head.kernel / head.temperature, head.bias / head.temperature])
        self._dense = dense
        self.trained = self.network.trainable_variables
        # BatchNorm's means and variances are saved and restored too: an image that gives NaN reaches them at once.
        self._statistics = self.network.non_trainable_weights
        self.optimizer = _optimizer(rule, self.trained, depth, 1.0 / strategy.num_replicas_in_sync)
        self._outer = keras.optimizers.LossScaleOptimizer(self.optimizer) if devices.policy == "mixed_float16" else None
        (self._outer or self.optimizer).build(self.trained)
        self._variables = [*self.network.variables, *(self._outer or self.optimizer).variables]
        # XLA fuses the dozen passes over the weights that AdamW, clipping and averaging take into one.
        single = strategy.num_replicas_in_sync == 1 and self._outer is None
        self._update = tf.function(self._apply, jit_compile=True) if single else self._apply
        # On a GPU XLA compiles the whole network; on a CPU its convolutions are slower than oneDNN's.
        self._gradients = tf.function(self._loss_and_gradients, jit_compile=True if devices.gpu else None)
        self._step = tf.function(self._replicated, reduce_retracing=True)
        self._logits = tf.function(lambda inputs: self.network(inputs, training=False), reduce_retracing=True)
        self.accuracy = math.nan  # of the latest batch, before its step

    def step(self, inputs: Any, labels: Any, rate: float) -> float:
        """Train one batch with a learning rate; returns the loss before the step.

        Raises Diverged when the loss or a gradient is not finite; the weights are unchanged then.
        """
        self.optimizer.learning_rate.assign(rate)
        tensor, accuracy, finite = self._step(inputs, labels)
        loss, self.accuracy = float(tensor), float(accuracy)
        if not bool(finite):
            raise Diverged(f"the loss is {loss:g}" + (", a gradient is not finite" if math.isfinite(loss) else ""))
        return loss

    @property
    def replicas(self) -> int:
        """The number of devices that share each batch."""
        return int(self._strategy.num_replicas_in_sync)

    def gradient_norms(self, inputs: Any, labels: Any) -> dict[str, float]:
        """Root-mean-square gradient of each layer's kernel on a batch, from input to output.

        Where it falls by orders of magnitude towards the input, the gradient vanishes (Glorot & Bengio 2010).
        """
        tf = self._tf
        with tf.GradientTape() as tape:  # runs once or twice per training: not worth compiling
            logits = tf.cast(self.network(inputs, training=self._scratch), tf.float32)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
        norms = [tf.norm(slope) for slope in tape.gradient(loss, [variable.value for variable in self.trained])]
        return {
            variable.path.rpartition("/")[0]: float(norm) / math.prod(variable.shape) ** 0.5
            for variable, norm in zip(self.trained, norms, strict=True)
            if variable.path.endswith("kernel")
        }

    def evaluate(self, batches: Iterable[tuple[Any, Any]]) -> tuple[float, float]:
        """Mean log-loss in nats and accuracy of the averaged weights on validation batches; NaN without any.

        The loss is that at the best temperature (Berta et al. 2025): training goes on making predictions more confident
        when it no longer makes them more accurate, which a temperature undoes and which is no reason to stop.
        """
        logits, labels = [], []
        with self.averaged():
            for inputs, targets in batches:
                logits.append(np.asarray(self._logits(inputs), np.float32))
                labels.append(np.asarray(targets).argmax(axis=1))
        if not logits:
            return math.nan, math.nan
        scores, truth = np.concatenate(logits), np.concatenate(labels)
        accuracy = float(np.mean(scores.argmax(axis=1) == truth))
        if not np.isfinite(scores).all():
            return math.inf, accuracy
        return log_loss(scores / np.float32(fit_temperature(scores, truth)), truth), accuracy

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights in place of the latest ones inside a block."""
        latest = self.weights()
        self.set_weights(self.average())
        try:
            yield
        finally:
            self.set_weights(latest)

    def weights(self) -> Arrays:
        """Copies of the trained weights and of their layers' statistics."""
        return [np.array(variable) for variable in (*self.trained, *self._statistics)]

    def average(self) -> Arrays:
        """As `weights`, the trained ones averaged over the steps; the weights themselves before the first step."""
        if np.array(self.optimizer.iterations) == 0:
            return self.weights()
        averages = self.optimizer._model_variables_moving_average
        return [np.array(variable) for variable in (*averages, *self._statistics)]

    def set_weights(self, arrays: Arrays) -> None:
        """Set weights returned by `weights` or `average`."""
        for variable, array in zip((*self.trained, *self._statistics), arrays, strict=True):
            variable.assign(array)

    def state(self) -> Arrays:
        """Everything that the next step depends on."""
        return [np.array(variable) for variable in self._variables]

    def set_state(self, arrays: Arrays) -> None:
        """Restore a state."""
        for variable, array in zip(self._variables, arrays, strict=True):
            variable.assign(array)

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The head's current kernel `[features, classes]` and bias `[classes]`."""
        kernel, bias = self._dense.get_weights()
        return kernel, bias

    def _replicated(self, inputs: Any, labels: Any) -> Any:
        tf, strategy = self._tf, self._strategy
        values = strategy.run(self._one_device, args=(inputs, labels))
        loss, accuracy, finite = (strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None) for each in values)
        return loss, accuracy, finite == 1.0

    def _one_device(self, inputs: Any, labels: Any) -> Any:
        tf, replicas = self._tf, self._strategy.num_replicas_in_sync
        loss, accuracy, gradients = self._gradients(inputs, labels)
        if replicas > 1:  # the optimizer sums what each replica clipped and checked by itself: give all the same
            whole = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            gradients = [gradient / replicas for gradient in whole]
        return loss, accuracy, tf.cast(self._update(loss, gradients), tf.float32)

    def _loss_and_gradients(self, inputs: Any, labels: Any) -> Any:
        tf, rule, replicas = self._tf, self._rule, self._strategy.num_replicas_in_sync
        optimizer = self._outer or self.optimizer
        with tf.GradientTape() as tape:
            logits = tf.cast(self.network(inputs, training=self._scratch), tf.float32)
            smooth = labels * (1 - rule.label_smoothing)
            smooth += rule.label_smoothing * tf.reduce_sum(labels, axis=1, keepdims=True) / labels.shape[1]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
            own = tf.add_n(self.network.losses) if self._scratch and self.network.losses else 0.0
            scaled = optimizer.scale_loss(loss + own) / replicas
        hits = tf.equal(tf.argmax(logits, axis=1), tf.argmax(labels, axis=1))
        accuracy = tf.reduce_mean(tf.cast(hits, tf.float32))
        return loss, accuracy, tape.gradient(scaled, [variable.value for variable in self.trained])

    def _apply(self, loss: Any, gradients: list[Any]) -> Any:
        """Apply the gradients if everything is finite; returns whether it is."""
        tf = self._tf
        finite = tf.math.is_finite(loss)
        if self._outer is None:  # scaled float16 gradients overflow now and then: their optimizer skips such steps
            finite &= tf.math.is_finite(tf.linalg.global_norm(gradients))
        gradients = [tf.where(finite, gradient, tf.zeros_like(gradient)) for gradient in gradients]
        (self._outer or self.optimizer).apply(gradients, self.trained)
        return finite


def _optimizer(rule: TuningRule, variables: list[Any], depth: Mapping[str, int], clip: float) -> Any:
    import keras

    common = {"learning_rate": rule.learning_rate, "global_clipnorm": clip, "use_ema": True, "ema_momentum": rule.ema}
    base = keras.optimizers.SGD if rule.optimizer == "sgd" else keras.optimizers.AdamW
    own = {"momentum": 0.9} if rule.optimizer == "sgd" else {}

    class ByStage(base):  # type: ignore[misc, valid-type]
        """The optimizer, with its own fraction of the learning rate for each variable."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * fractions[self._var_key(variable)])

    optimizer = ByStage(weight_decay=rule.weight_decay, **common, **own)
    layers = {optimizer._var_key(variable): variable.path.split("/")[0] for variable in variables}
    fractions = {key: rule.stage_decay ** depth.get(layer, 0) for key, layer in layers.items()}
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def save_checkpoint(path: Path, state: Arrays, best: Arrays, about: Mapping[str, Any]) -> None:
    """Write what the next step depends on, the best weights so far, and how the training went, whole or not at all.

    Raises StorageError, such as when the disk is full.
    """
    arrays: dict[str, Any] = {f"state{at}": array for at, array in enumerate(state)}
    arrays |= {f"best{at}": array for at, array in enumerate(best)}
    with atomic_write(path) as scratch, scratch.open("wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, *, weights: bool = True) -> tuple[Arrays, Arrays, dict[str, Any]] | None:
    """Read what `save_checkpoint` wrote, without `weights` only how the training went; None if there is no file.

    Raises RunError for a damaged one.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            names = arrays.files if weights else []
            count = {part: sum(name.startswith(part) for name in names) for part in ("state", "best")}
            state, best = ([arrays[f"{part}{at}"] for at in range(count[part])] for part in ("state", "best"))
    except _DAMAGE as error:
        raise RunError(f"{path} is damaged ({error}): remove it to start the training anew") from error
    return state, best, about
