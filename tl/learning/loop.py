"""The training loop: epochs, learning-rate schedule, checkpoints, early stopping, time budget, best weights."""

import datetime
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike
from tl.engines.tensorflow import tensorflow
from tl.errors import RunError, TLError, UsageError
from tl.learning.batches import BatchOrder, Feed, training_batches, validation_batches
from tl.learning.head import Head
from tl.learning.head_fit import Labels
from tl.learning.hyperparameters import TuningRule
from tl.learning.trainer import Arrays, Diverged, Trainer, load_checkpoint, save_checkpoint
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights
from tl.progress import Progress
from tl.text import count, percent

LOWEST, HIGHEST = 1e-7, 1.0
"""The first and the last learning rate of the range test."""

_RANGE_STEPS, _FEWEST_STEPS = 60, 20  # of the range test; with fewer than the second its curve is noise
_RANGE_SHARE = 0.25  # of the time that a budget leaves for training
_UNLEARNED = 0.2  # of the steps of the range test: up to 3e-6 next to nothing is learned, losses differ by chance
_CLEAR = 1.5, 0.02  # a loss is lower by so many standard deviations of those losses, and by such a fraction
_EXPLODED = 4.0  # the range test ends at a loss of this many times the smallest so far, plus 1 nat
_TIMED_FIRST = 3  # steps, to time the last of them
_FORWARD = 0.5  # of the time of a training step
_TIMED_STEPS = 5  # after which the steps that fit a budget are estimated; the first two compile

CHECKPOINT_SECONDS = 60.0
"""The most that a killed training loses."""


@dataclass(frozen=True)
class RangeTest:
    """Ascending learning rates, the smoothed training loss at each, and the rate that was chosen, if any was."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float | None

    @property
    def sentence(self) -> str:
        """What was tried."""
        return f"{count(len(self.rates), 'step')} from {LOWEST:.0e} up to {max(self.rates, default=LOWEST):.1g}"


def schedule(step: int, total: int, warmup: float) -> float:
    """The fraction of the full learning rate at a step, counted from 0.

    Linear warmup over `warmup` of all steps, then cosine decay to 0 (Goyal et al. 2017, Loshchilov & Hutter 2017).
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising + 1) / max(1, total - rising))))


def range_test(loss_at: Callable[[float], float], steps: int = _RANGE_STEPS) -> RangeTest:
    """Try ascending learning rates, one training step each, until the loss explodes (Smith 2017).

    `loss_at` trains one step and returns the loss before it. Chosen is a tenth of the rate with the smallest loss,
    where training is fast but stable; none where no rate lowers the loss by more than it varies anyway.
    """
    rates = [LOWEST * (HIGHEST / LOWEST) ** (at / (steps - 1)) for at in range(steps)]
    raw: list[float] = []
    losses: list[float] = []
    average = 0.0
    for at, rate in enumerate(rates):
        loss = loss_at(rate)
        if not math.isfinite(loss):
            break
        raw.append(loss)
        average = 0.8 * average + 0.2 * loss
        losses.append(average / (1 - 0.8 ** (at + 1)))
        if losses[-1] > _EXPLODED * min(losses) + 1.0:
            break
    first = raw[: max(2, round(_UNLEARNED * steps))]
    start, spread = (float(np.mean(first)), float(np.std(first))) if first else (0.0, 0.0)
    least = min(losses[len(first) :], default=math.inf)
    falls = start - least > max(_CLEAR[0] * spread, _CLEAR[1] * start)
    chosen = rates[losses.index(least)] / 10 if falls else None
    return RangeTest(tuple(rates[: len(losses)]), tuple(losses), chosen)


@dataclass(frozen=True)
class TuningJob:
    """A network to train, on which images, and how.

    `train` and `monitor` are indices into `images`; early stopping is decided on `monitor`. Without it, `watched`
    images show how the training goes and decide nothing. `class_weights` are the
    weights of the classes in the loss, `even_classes` samples all classes equally often. With `find_rate` the learning
    rate is searched first. `deadline` is a `time.monotonic()`. From `scratch`, the whole network is trained from
    random weights. `origin`, what the training starts from, is recorded in its checkpoints.
    """

    backbone: Backbone
    weights: Weights
    head: Head
    images: Sequence[ImageLike]
    labels: Labels
    train: Labels
    monitor: Labels
    watched: Labels
    unfreeze: str
    rule: TuningRule
    seed: int
    class_weights: tuple[float, ...] | None = None
    even_classes: bool = False
    find_rate: bool = False
    precision: str = "auto"
    engine: str = "auto"
    threads: int | None = None
    deadline: float = math.inf
    scratch: bool = False
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Epoch:
    """A row of history.csv: log-loss and accuracy on images held out, NaN without any; means over its batches.

    `loss` in nats and `top1`, the accuracy, are those of the training images as they are augmented.
    """

    epoch: int
    step: int
    learning_rate: float
    loss: float
    held_out_log_loss: float
    held_out_top1: float
    seconds: float
    top1: float = math.nan


Listener = Callable[[int, dict[str, float]], None]
"""Called with a step and its metrics."""


@dataclass
class TrainingLoop:
    """A training in progress: its step, its history, and the best weights so far."""

    job: TuningJob
    trainer: Trainer
    feed: Feed
    file: Path
    progress: Progress
    listener: Listener | None = None
    step: int = 0
    stopped: str = ""
    speed: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = -1
    best: Arrays = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    range_test: RangeTest | None = None
    gradients: list[dict[str, float]] = field(default_factory=list)
    rule: TuningRule = field(init=False)
    order: BatchOrder = field(init=False)
    total: int = field(init=False)
    _targets: NDArray[np.float32] = field(init=False)
    _initial: Arrays = field(init=False)  # state before the first step
    _start: Arrays = field(init=False)  # weights before the first step
    _sums: list[float] = field(init=False, default_factory=lambda: [0.0, 0.0, 0])  # loss, accuracy, steps of the epoch
    _seconds_before: float = field(init=False, default=0.0)  # spent by a process that was killed
    _started: float = field(init=False, default_factory=time.monotonic)
    _errors: list[TLError] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        job = self.job
        self.rule = job.rule
        self._targets = np.eye(job.head.kernel.shape[1], dtype=np.float32)[job.labels]
        if job.class_weights is not None:
            self._targets *= np.array(job.class_weights, np.float32)[job.labels][:, None]
        self._plan_steps(job.rule.batch)
        self._initial = self.trainer.state()
        self.best = self._start = self.trainer.weights()
        checkpoint = load_checkpoint(self.file)
        if checkpoint is not None:
            try:
                self._restore(*checkpoint)
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(f"{self.file} belongs to another training ({error}): remove it to start anew") from error
            return
        if job.find_rate:
            self._find_rate()
        if job.scratch:
            self.record_gradients()

    def record_gradients(self) -> None:
        """Record the size of each layer's gradient on the first batch."""
        inputs, labels = next(self._batches(0, 1))
        self.gradients.append(self.trainer.gradient_norms(inputs, labels))

    def run(self, strategy: Any) -> None:
        """Train until the last step, an early stop or the deadline; batches that do not fit into memory are halved."""
        while self.step < self.total and not self.stopped:
            self._run(strategy)

    def _run(self, strategy: Any) -> None:
        import tensorflow as tf

        try:
            left = (self.total - self.step) * self.order.batch
            with self.progress.task("training", left, "images") as task, self._own_errors():
                self._train(strategy, task)
        except Diverged as error:
            self.stopped = f"step {self.step + 1} diverged ({error}) at learning rate {self._rate():.2g}"
        except tf.errors.ResourceExhaustedError:
            if self.order.batch <= self.trainer.replicas:
                raise
            half = self.order.batch // 2
            self.progress.warn(f"batches of {self.order.batch} do not fit into memory: starting again with {half}")
            self.trainer.set_state(self._initial)
            self.step, self.history, self._sums = 0, [], [0.0, 0.0, 0]
            self.best_loss, self.best_epoch, self.best = math.inf, -1, self._start
            self._plan_steps(half)

    def _plan_steps(self, batch: int) -> None:
        job, probabilities = self.job, None
        if job.even_classes:
            counts = np.bincount(job.labels[job.train], minlength=self._targets.shape[1])
            probabilities = 1 / counts[job.labels[job.train]]
            probabilities = probabilities / probabilities.sum()
        # Every device gets the same number of images of a batch, at least one.
        replicas = self.trainer.replicas
        even = -(-min(batch, len(job.train)) // replicas) * replicas
        self.order = BatchOrder(job.train, even, job.seed, probabilities)
        self.rule = replace(self.rule, batch=self.order.batch)
        self.total = self.order.steps * self.rule.epochs

    def _train(self, strategy: Any, task: Any) -> None:
        data = training_batches(self.feed, self.order, self._targets, range(self.step, self.total), errors=self._errors)
        if strategy.num_replicas_in_sync > 1:
            data = strategy.experimental_distribute_dataset(data)
        clock = saved = time.monotonic()
        for timed, (inputs, labels) in enumerate(data, 1):
            rate = self._rate()
            loss = self.trainer.step(inputs, labels, rate)
            self.step += 1
            self._sums = [self._sums[0] + loss, self._sums[1] + self.trainer.accuracy, self._sums[2] + 1]
            task.advance(self.order.batch)
            metrics = {"loss": loss, "learning_rate": rate}
            self.progress.metrics(self.step, metrics)
            if self.listener:
                self.listener(self.step, metrics)
            now = time.monotonic()
            if timed == 2:
                clock = now  # the first two compile
            if timed > 2:
                self.speed = (timed - 2) * self.order.batch / (now - clock)
            self._fit_budget(timed, now, task)
            done, epoch_ends = self.step >= self.total or bool(self.stopped), self.step % self.order.steps == 0
            if epoch_ends or done:
                self._end_epoch(rate)
            if epoch_ends or now - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.monotonic()
            if done or self.stopped:
                return

    def _batches(self, start: int, stop: int) -> Iterator[tuple[Any, Any]]:
        with self._own_errors():
            yield from training_batches(self.feed, self.order, self._targets, range(start, stop), errors=self._errors)

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Raise the error of an image that can no longer be read, in place of TensorFlow's."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError:
            if self._errors:
                raise self._errors[0] from None
            raise

    def _rate(self) -> float:
        return self.rule.learning_rate * schedule(self.step, self.total, self.rule.warmup)

    def _fit_budget(self, timed: int, now: float, task: Any) -> None:
        """Lower the total to the steps that fit the deadline, so that the learning rate still decays to 0."""
        if math.isinf(self.job.deadline) or not self.speed:
            return
        # An image takes half as long without gradients, at most; those held out are predicted after each epoch.
        held_out = len(self.job.monitor) or len(self.job.watched)
        left = self.job.deadline - now - held_out * _FORWARD / self.speed
        if timed == _TIMED_STEPS or (timed > _TIMED_STEPS and self.step % self.order.steps == 0):
            share = 1 + _FORWARD * held_out / (self.order.steps * self.order.batch)
            fitting = self.step + max(1, int(left * self.speed / self.order.batch / share))
            if fitting < self.total:
                self.total = fitting
                task.expect(self.total * self.order.batch)
        if left <= 0 and self.step < self.total:
            self.stopped = "the time is up"

    def _end_epoch(self, rate: float) -> None:
        held_out = self.job.monitor if len(self.job.monitor) else self.job.watched
        data = validation_batches(self.feed, held_out, self._targets, self.order.batch)
        loss, accuracy = self.trainer.evaluate(data)
        epoch, steps = -(-self.step // self.order.steps), max(1, self._sums[2])
        mean, top1 = self._sums[0] / steps, self._sums[1] / steps
        self._sums = [0.0, 0.0, 0]
        seconds = round(self._seconds(), 3)
        self.history.append(Epoch(epoch, self.step, rate, mean, loss, accuracy, seconds=seconds, top1=top1))
        held = (f" (held out {loss:.3f})", f" ({percent(accuracy)})") if len(held_out) else ("", "")
        left = (self.total - self.step) * self.order.batch / self.speed if self.speed else 0.0
        ahead = f", {datetime.timedelta(seconds=round(left))} left" if left and not self.stopped else ""
        self.progress.log(f"epoch {epoch}", f"loss {mean:.3f}{held[0]}, accuracy {percent(top1)}{held[1]}{ahead}")
        measured = {"held_out_log_loss": loss, "held_out_top1": accuracy} if len(held_out) else {}
        measured = {"top1": top1, **measured}
        epochs = {"epoch": epoch, "epochs": self.rule.epochs}
        self.progress.metrics(self.step, {**epochs, "loss": mean, "learning_rate": rate, **measured})
        if self.listener:
            self.listener(self.step, measured)
        if not len(self.job.monitor) or loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best = loss, epoch, self._blend()
        elif epoch - self.best_epoch >= self.rule.patience and not self.stopped:
            self.stopped = f"no improvement for {count(self.rule.patience, 'epoch')}"

    def _blend(self) -> Arrays:
        """The averaged weights, or a point between them and the initial weights (Wortsman et al. 2022)."""
        share, trained = self.rule.blend, self.trainer.average()
        if share == 1.0:
            return trained
        return [(1 - share) * before + share * after for before, after in zip(self._start, trained, strict=True)]

    def _seconds(self) -> float:
        """The duration of the training, including the time before the checkpoint it was resumed from."""
        return self._seconds_before + time.monotonic() - self._started

    def _find_rate(self) -> None:
        """Search the learning rate, within a part of the budget; without a clear result that of the rule stays."""
        data = self._batches(0, _RANGE_STEPS + _TIMED_FIRST)
        with self.progress.task("finding the rate", _RANGE_STEPS, "steps") as task:

            def loss_at(rate: float) -> float:
                inputs, labels = next(data)
                try:
                    return self.trainer.step(inputs, labels, rate)
                except Diverged:
                    return math.nan
                finally:
                    task.advance()

            steps = self._affordable_tests(loss_at)
            if steps < _RANGE_STEPS:
                task.expect(_TIMED_FIRST + steps)
            if steps >= _FEWEST_STEPS:
                self.range_test = range_test(loss_at, steps)
        self.trainer.set_state(self._initial)
        default = f"{self.rule.learning_rate:.2g}, the default"
        if self.range_test is None:
            self.progress.log("", f"learning rate {default}: the budget leaves no time to search for another")
        elif self.range_test.chosen is None:
            tried = self.range_test.sentence
            self.progress.log("", f"learning rate {default}: no other lowers the loss clearly ({tried})")
        else:
            self.rule = replace(self.rule, learning_rate=self.range_test.chosen)
            self.progress.log("", f"learning rate {self.range_test.chosen:.2g}, found in {self.range_test.sentence}")

    def _affordable_tests(self, loss_at: Callable[[float], float]) -> int:
        """The steps of a range test that the budget allows, by the duration of one; the first ones compile."""
        if math.isinf(self.job.deadline):
            return _RANGE_STEPS
        started = 0.0
        for _ in range(_TIMED_FIRST):
            started = time.monotonic()
            loss_at(0.0)
        now = time.monotonic()
        self.trainer.set_state(self._initial)
        return min(_RANGE_STEPS, int(_RANGE_SHARE * (self.job.deadline - now) / max(now - started, 1e-6)))

    def _save(self) -> None:
        about = {
            "origin": self.job.origin,
            "step": self.step,
            "total": self.total,
            "batch": self.order.batch,
            "learning_rate": self.rule.learning_rate,
            "sums": self._sums,
            "seconds": self._seconds(),
            "gradients": self.gradients,
            "stopped": self.stopped,
            "least": self.best_loss,
            "best_epoch": self.best_epoch,
            "history": [list(vars(row).values()) for row in self.history],
            "range_test": None if self.range_test is None else list(vars(self.range_test).values()),
        }
        save_checkpoint(self.file, self.trainer.state(), self.best, about)

    def _restore(self, state: Arrays, best: Arrays, about: dict[str, Any]) -> None:
        self.rule = replace(self.rule, learning_rate=about["learning_rate"])
        self._plan_steps(about["batch"])
        self.trainer.set_state(state)
        self.step, self.total = about["step"], about["total"]
        self._sums = about["sums"]
        self.stopped, self.best_loss, self.best_epoch = about["stopped"], about["least"], about["best_epoch"]
        self.best, self._seconds_before, self.gradients = best, about["seconds"], about["gradients"]
        self.history = [Epoch(*row) for row in about["history"]]
        self.range_test = RangeTest(*about["range_test"]) if about["range_test"] else None
        self.progress.log("resumed", f"at step {self.step:,} of {self.total:,}")


@contextmanager
def tensorboard_listener(folder: Path | None) -> Iterator[Listener | None]:
    """A listener that writes metrics for TensorBoard; None without a folder. Raises UsageError without TensorBoard."""
    if folder is None:
        yield None
        return
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'tl[tensorboard]'")
    tf = tensorflow()
    writer = tf.summary.create_file_writer(str(folder))

    def write(step: int, metrics: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)

    try:
        yield write
    finally:
        writer.close()
