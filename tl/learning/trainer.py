"""A network, its head and a rule become training steps: averaged weights, rates by stage, NaN caught in its step."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.engines.tensorflow import Devices
from tl.errors import TLError
from tl.learning.calibration import log_loss, temperature
from tl.learning.head import Head
from tl.learning.rules import TuningRule

Arrays = list[NDArray[Any]]


class Diverged(TLError):
    """A training step gave a loss or a gradient that is not finite; none of it reached the weights."""


class Trainer:
    """The part of a network that is trained, with its head on top.

    `upper` gives features `[n, features]`; `depth` says, by name of a layer, how many stages below the last it is.
    To be made inside the scope of `strategy`, which spreads each batch over its devices. From `scratch`, layers such as
    BatchNorm and dropout work as in training, and the network's own regularisation counts.
    """

    def __init__(
        self,
        upper: Any,
        head: Head,
        rule: TuningRule,
        devices: Devices,
        strategy: Any,
        depth: Mapping[str, int],
        *,
        scratch: bool = False,
    ) -> None:
        import keras
        import tensorflow as tf

        self._tf, self._strategy, self._devices, self._rule, self._scratch = tf, strategy, devices, rule, scratch
        dense = keras.layers.Dense(head.kernel.shape[1], dtype="float32", name="head")
        self.network = keras.Model(upper.input, dense(upper.output))
        # Divided by the temperature, the logits start out calibrated.
        dense.set_weights([head.kernel / head.temperature, head.bias / head.temperature])
        self._dense = dense
        self.trained = self.network.trainable_variables
        # Means and variances that BatchNorm learns belong to the weights: a photo that gives NaN reaches them at once.
        self._statistics = self.network.non_trainable_weights
        self.optimizer = _optimizer(rule, self.trained, depth, 1.0 / strategy.num_replicas_in_sync)
        self._outer = keras.optimizers.LossScaleOptimizer(self.optimizer) if devices.policy == "mixed_float16" else None
        (self._outer or self.optimizer).build(self.trained)
        # XLA makes one pass over the weights of the dozen that AdamW, clipping and averaging are made of.
        alone = strategy.num_replicas_in_sync == 1 and self._outer is None
        self._update = tf.function(self._applied, jit_compile=True) if alone else self._applied
        # On a GPU the whole network is compiled by XLA; on a CPU its convolutions are slower than oneDNN's.
        self._slopes = tf.function(self._loss_and_gradients, jit_compile=True if devices.gpu else None)
        self._compiled = tf.function(self._replicated, reduce_retracing=True)
        self._logits = tf.function(lambda inputs: self.network(inputs, training=False), reduce_retracing=True)

    def step(self, inputs: Any, labels: Any, rate: float) -> float:
        """One step on a batch with a learning rate; gives the loss before it.

        Raises Diverged when the loss or a gradient is not finite, of which nothing reaches the weights.
        """
        self.optimizer.learning_rate.assign(rate)
        loss, finite = self._compiled(inputs, labels)
        if not bool(finite):
            lost = float(loss)
            raise Diverged(f"the loss is {lost:g}" + (", a gradient is not finite" if math.isfinite(lost) else ""))
        return float(loss)

    @property
    def replicas(self) -> int:
        """Devices that share each batch."""
        return int(self._strategy.num_replicas_in_sync)

    def gradient_norms(self, inputs: Any, labels: Any) -> dict[str, float]:
        """Length of the gradient of each layer's weights on a batch, from input to output, per square root of a weight.

        Where it falls by orders of magnitude towards the input, the gradient vanishes (Glorot & Bengio 2010).
        """
        tf = self._tf
        with tf.GradientTape() as tape:  # once or twice a training: not worth compiling
            logits = tf.cast(self.network(inputs, training=self._scratch), tf.float32)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
        norms = [tf.norm(found) for found in tape.gradient(loss, [variable.value for variable in self.trained])]
        kernels = [variable.path.endswith("kernel") for variable in self.trained]
        return {
            variable.path.rpartition("/")[0]: float(norm) / math.prod(variable.shape) ** 0.5
            for variable, norm, kernel in zip(self.trained, norms, kernels, strict=True)
            if kernel
        }

    def measure(self, batches: Iterable[tuple[Any, Any]]) -> tuple[float, float]:
        """Mean log-loss, in nats, and top-1 of the averaged weights on plain batches; NaN without any.

        The loss is that at the best temperature (Berta et al. 2025): training makes answers surer long after it stopped
        making them righter, which a temperature undoes and which is no reason to stop.
        """
        logits, truth = [], []
        with self.averaged():
            for inputs, labels in batches:
                logits.append(np.asarray(self._logits(inputs), np.float32))
                truth.append(np.asarray(labels).argmax(axis=1))
        if not logits:
            return math.nan, math.nan
        scores, known = np.concatenate(logits), np.concatenate(truth)
        if not np.isfinite(scores).all():
            return math.inf, float(np.mean(scores.argmax(axis=1) == known))
        loss = log_loss(scores / np.float32(temperature(scores, known)), known)
        return loss, float(np.mean(scores.argmax(axis=1) == known))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the place of the newest ones, for the length of a block."""
        newest = self.weights()
        self.set_weights(self.average())
        try:
            yield
        finally:
            self.set_weights(newest)

    def weights(self) -> Arrays:
        """The trained weights, and the statistics of their layers, as arrays of our own."""
        return [np.array(variable) for variable in (*self.trained, *self._statistics)]

    def average(self) -> Arrays:
        """As `weights`, the trained ones averaged over the steps; the weights themselves before the first step."""
        if np.array(self.optimizer.iterations) == 0:
            return self.weights()
        averages = self.optimizer._model_variables_moving_average
        return [np.array(variable) for variable in (*averages, *self._statistics)]

    def set_weights(self, arrays: Arrays) -> None:
        """Put weights in place that `weights` or `average` gave."""
        for variable, array in zip((*self.trained, *self._statistics), arrays, strict=True):
            variable.assign(array)

    def state(self) -> Arrays:
        """All that the next step depends on."""
        return [np.array(variable) for variable in self._state()]

    def set_state(self, arrays: Arrays) -> None:
        """Go back to a state."""
        for variable, array in zip(self._state(), arrays, strict=True):
            variable.assign(array)

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Kernel `[features, classes]` and bias `[classes]` as they are now."""
        kernel, bias = self._dense.get_weights()
        return kernel, bias

    def _state(self) -> list[Any]:
        return [*self.network.variables, *(self._outer or self.optimizer).variables]

    def _replicated(self, inputs: Any, labels: Any) -> Any:
        tf, strategy = self._tf, self._strategy
        loss, finite = strategy.run(self._one_device, args=(inputs, labels))
        mean, share = (strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None) for each in (loss, finite))
        return mean, share == 1.0

    def _one_device(self, inputs: Any, labels: Any) -> Any:
        tf, replicas = self._tf, self._strategy.num_replicas_in_sync
        loss, gradients = self._slopes(inputs, labels)
        if replicas > 1:  # the optimizer adds up what each replica clipped and found finite alone: it gets equal shares
            whole = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            gradients = [gradient / replicas for gradient in whole]
        return loss, tf.cast(self._update(loss, gradients), tf.float32)

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
        return loss, tape.gradient(scaled, [variable.value for variable in self.trained])

    def _applied(self, loss: Any, gradients: list[Any]) -> Any:
        """Put gradients into the weights, if all is finite; gives whether it is."""
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
        """The optimizer, with a share of the learning rate for each variable."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * shares[self._var_key(variable)])

    optimizer = ByStage(weight_decay=rule.weight_decay, **common, **own)
    layers = {optimizer._var_key(variable): variable.path.split("/")[0] for variable in variables}
    shares = {key: rule.stage_decay ** depth.get(layer, 0) for key, layer in layers.items()}
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
