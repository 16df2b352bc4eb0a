"""A job and a trainer become a course of training: epochs, checkpoints, an early stop, a budget, the best weights."""

import datetime
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.images import ImageLike
from tl.errors import RunError, TLError, UsageError
from tl.learning import checkpoint
from tl.learning.batches import Feed, Order, batches, plain_batches
from tl.learning.head import Head, Labels
from tl.learning.rules import TuningRule
from tl.learning.trainer import Arrays, Diverged, Trainer
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights
from tl.progress import Progress

LOWEST, HIGHEST = 1e-7, 1.0
"""Where the range test begins and ends."""

_RISE = 4.0  # times the least loss so far, and a nat more: beyond that the test has seen enough


@dataclass(frozen=True)
class RangeTest:
    """Learning rates in rising order, the smoothed training loss at each, and the rate to take."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float


def share_of_rate(step: int, total: int, warmup: float) -> float:
    """The share of the full learning rate at a step: linear up over `warmup` of all steps, then a cosine down to 0.

    Goyal et al. 2017 and Loshchilov & Hutter 2017. Steps count from 0.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising + 1) / max(1, total - rising))))


def range_test(loss_at: Callable[[float], float], steps: int = 60) -> RangeTest:
    """Try rising rates, one training step each, until the loss explodes (Smith 2017).

    `loss_at` trains one step with a rate and gives the loss before it. The rate chosen is a tenth of that with the
    least loss, where training is fast but stable; where no rate lowers the loss, the lowest is chosen.
    """
    rates = [LOWEST * (HIGHEST / LOWEST) ** (at / (steps - 1)) for at in range(steps)]
    losses: list[float] = []
    average = 0.0
    for at, rate in enumerate(rates):
        loss = loss_at(rate)
        if not math.isfinite(loss):
            break
        average = 0.8 * average + 0.2 * loss
        losses.append(average / (1 - 0.8 ** (at + 1)))
        if losses[-1] > _RISE * min(losses) + 1.0:
            break
    return RangeTest(tuple(rates[: len(losses)]), tuple(losses), _chosen(rates, losses))


def _chosen(rates: Sequence[float], losses: Sequence[float]) -> float:
    if not losses:
        return rates[0]
    return max(rates[0], rates[min(range(len(losses)), key=losses.__getitem__)] / 10)


@dataclass(frozen=True)
class Job:
    """What is tuned, and how: pictures with their labels, the head to begin with, the rule.

    `train` and `monitor` are places of `pictures`; `monitor`, held out of the training, says when to stop. `weights_of`
    has a weight for each class, `balanced` draws classes evenly; `deadline` is a time of `time.monotonic`; from
    `scratch` the weights are random, and no layer is held back.
    """

    backbone: Backbone
    weights: Weights
    head: Head
    pictures: Sequence[ImageLike]
    labels: Labels
    train: Labels
    monitor: Labels
    unfreeze: str
    rule: TuningRule
    seed: int
    weights_of: tuple[float, ...] | None = None
    balanced: bool = False
    find_rate: bool = False
    precision: str = "auto"
    engine: str = "auto"
    deadline: float = math.inf
    scratch: bool = False
    threads: int | None = None


CHECKPOINT_SECONDS = 60.0
"""A training that is killed loses at most so much of its work."""

_TIMED_STEPS = 5  # before the budget is shared out; the first of them compile


@dataclass(frozen=True)
class Epoch:
    """One line of the history: mean training loss and, on the photos held out, log-loss and top-1."""

    epoch: int
    step: int
    learning_rate: float
    loss: float
    held_out_log_loss: float
    held_out_top1: float
    seconds: float


Listener = Callable[[int, dict[str, float]], None]
"""Told the figures of a step."""


@dataclass
class Course:
    """A training under way: where it is, how it went, and what is best so far."""

    job: Job
    trainer: Trainer
    feed: Feed
    file: Path
    progress: Progress
    listen: Listener | None
    step: int = 0
    stopped: str = ""
    speed: float = 0.0
    least: float = math.inf
    best_epoch: int = -1
    best: Arrays = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    range_test: RangeTest | None = None
    gradients: list[dict[str, float]] = field(default_factory=list)

    def prepare(self) -> None:
        """Go on from the checkpoint, or begin."""
        job = self.job
        self.rule = job.rule
        self._targets = np.eye(job.head.kernel.shape[1], dtype=np.float32)[job.labels]
        if job.weights_of is not None:
            self._targets *= np.array(job.weights_of, np.float32)[job.labels][:, None]
        self._sums = [0.0, 0.0]  # of the losses of this epoch, and how many
        self._before, self._begun = 0.0, time.monotonic()
        self._failures: list[TLError] = []
        self._begin(job.rule.batch)
        self._initial = self.trainer.state()
        self.best = self._start = self.trainer.weights()
        found = checkpoint.load(self.file)
        if found is not None:
            try:
                self._resume(found)
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(f"{self.file} is not of this training ({error}): remove it to begin anew") from error
            return
        if job.find_rate:
            self._find_rate()
        if job.scratch:
            self.look_at_gradients()

    def look_at_gradients(self) -> None:
        """Note how long each layer's gradient is, on the first batch of training."""
        inputs, labels = next(self._batches(0, 1))
        self.gradients.append(self.trainer.gradient_norms(inputs, labels))

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.total or bool(self.stopped)

    def go_on(self, strategy: Any) -> None:
        """Train until the end, a stop, or a batch that does not fit the memory, which begins anew with half of it."""
        import tensorflow as tf

        try:
            left = (self.total - self.step) * self.order.batch
            with self.progress.task("training", left, "photos") as task, self._plain_errors():
                self._loop(strategy, task)
        except Diverged as error:
            self.stopped = f"step {self.step + 1} diverged ({error}) at learning rate {self._rate():.2g}"
        except tf.errors.ResourceExhaustedError:
            if self.order.batch <= self.trainer.replicas:
                raise
            self.progress.warn(f"batches of {self.order.batch} do not fit the memory: going on with half of that")
            self.trainer.set_state(self._initial)
            self.step, self.history, self._sums = 0, [], [0.0, 0.0]
            self.least, self.best_epoch, self.best = math.inf, -1, self._start
            self._begin(self.order.batch // 2)

    def _begin(self, batch: int) -> None:
        job = self.job
        shares = None
        if job.balanced:
            counts = np.bincount(job.labels[job.train], minlength=self._targets.shape[1])
            shares = 1 / counts[job.labels[job.train]]
            shares = shares / shares.sum()
        # Each device gets as many photos of a batch as the others, and at least one.
        replicas = self.trainer.replicas
        even = -(-min(batch, len(job.train)) // replicas) * replicas
        self.order = Order(job.train, even, job.seed, shares)
        self.rule = replace(self.rule, batch=self.order.batch)
        self.total = self.order.steps * self.rule.epochs

    def _loop(self, strategy: Any, task: Any) -> None:
        data = batches(self.feed, self.order, self._targets, self.step, self.total, self._failures)
        if strategy.num_replicas_in_sync > 1:
            data = strategy.experimental_distribute_dataset(data)
        clock = saved = time.monotonic()
        for timed, (inputs, labels) in enumerate(data, 1):
            rate = self._rate()
            loss = self.trainer.step(inputs, labels, rate)
            self.step += 1
            self._sums = [self._sums[0] + loss, self._sums[1] + 1]
            task.advance(self.order.batch)
            self.progress.metrics(self.step, {"loss": loss, "learning_rate": rate})
            if self.listen:
                self.listen(self.step, {"loss": loss, "learning_rate": rate})
            now = time.monotonic()
            if timed == 2:
                clock = now  # the first two compile
            if timed > 2:
                self.speed = (timed - 2) * self.order.batch / (now - clock)
            self._share_out_budget(timed, now, task)
            if self.step % self.order.steps == 0 or self.done:
                self._end_epoch(rate)
            if now - saved > CHECKPOINT_SECONDS or self.step % self.order.steps == 0:
                self._save()
                saved = time.monotonic()
            if self.done:
                return

    def _batches(self, start: int, stop: int) -> Iterator[tuple[Any, Any]]:
        with self._plain_errors():
            yield from batches(self.feed, self.order, self._targets, start, stop, self._failures)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """A photo that cannot be read any more is named by its own error, not by TensorFlow's."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError:
            if self._failures:
                raise self._failures[0] from None
            raise

    def _rate(self) -> float:
        return self.rule.learning_rate * share_of_rate(self.step, self.total, self.rule.warmup)

    def _share_out_budget(self, timed: int, now: float, task: Any) -> None:
        """With a deadline, so many steps as fit: the learning rate still comes down to 0 by the last of them."""
        left = self.job.deadline - now
        if math.isinf(left):
            return
        if timed == _TIMED_STEPS:
            fit = self.step + max(1, int(left * self.speed / self.order.batch))
            if fit < self.total:
                self.total = fit
                task.expect(self.total * self.order.batch)
        if left <= 0 and self.step < self.total:
            self.stopped = "the time is up"

    def _end_epoch(self, rate: float) -> None:
        job = self.job
        plain = plain_batches(self.feed, job.monitor, self._targets, self.order.batch)
        loss, top1 = self.trainer.measure(plain)
        epoch = -(-self.step // self.order.steps)
        mean = self._sums[0] / max(1.0, self._sums[1])
        row = Epoch(epoch, self.step, rate, mean, loss, top1, round(self._seconds(), 3))
        self.history.append(row)
        self._tell(row)
        self._sums = [0.0, 0.0]
        held_out = {"held_out_log_loss": loss, "held_out_top1": top1} if len(job.monitor) else {}
        self.progress.metrics(
            self.step, {"epoch": epoch, "epochs": self.rule.epochs, "loss": mean, "learning_rate": rate, **held_out}
        )
        if self.listen and held_out:
            self.listen(self.step, held_out)
        if not len(job.monitor) or loss < self.least:
            self.least, self.best_epoch, self.best = loss, epoch, self._blended()
        elif epoch - self.best_epoch >= self.rule.patience and not self.stopped:
            self.stopped = f"no better for {self.rule.patience} epochs"

    def _blended(self) -> Arrays:
        """The averaged weights, or a point between the ones before training and them (Wortsman et al. 2022)."""
        share, trained = self.rule.blend, self.trainer.average()
        if share == 1.0:
            return trained
        return [(1 - share) * before + share * after for before, after in zip(self._start, trained, strict=True)]

    def _tell(self, row: Epoch) -> None:
        held_out = f", held out {row.held_out_log_loss:.4f}, top-1 {100 * row.held_out_top1:.1f} %"
        left = (self.total - self.step) * self.order.batch / self.speed if self.speed else 0.0
        ahead = f", {datetime.timedelta(seconds=round(left))} left" if left else ""
        self.progress.log(
            f"epoch {row.epoch}", f"loss {row.loss:.4f}{held_out if len(self.job.monitor) else ''}{ahead}"
        )

    def _seconds(self) -> float:
        """How long training took so far, with what a killed process did before its last checkpoint."""
        return self._before + time.monotonic() - self._begun

    def _find_rate(self) -> None:
        steps = 60
        data = self._batches(0, steps)
        with self.progress.task("finding the learning rate", steps, "steps") as task:

            def loss_at(rate: float) -> float:
                task.advance()
                inputs, labels = next(data)
                try:
                    return self.trainer.step(inputs, labels, rate)
                except Diverged:
                    return math.nan

            self.range_test = range_test(loss_at, steps)
        self.trainer.set_state(self._initial)
        self.rule = replace(self.rule, learning_rate=self.range_test.chosen)

    def _save(self) -> None:
        about = {
            "step": self.step,
            "total": self.total,
            "batch": self.order.batch,
            "learning_rate": self.rule.learning_rate,
            "sums": self._sums,
            "seconds": self._seconds(),
            "gradients": self.gradients,
            "stopped": self.stopped,
            "least": self.least,
            "best_epoch": self.best_epoch,
            "history": [list(vars(row).values()) for row in self.history],
            "range_test": None if self.range_test is None else list(vars(self.range_test).values()),
        }
        checkpoint.save(self.file, checkpoint.Checkpoint(self.trainer.state(), self.best, about))

    def _resume(self, found: checkpoint.Checkpoint) -> None:
        about = found.about
        self.rule = replace(self.rule, learning_rate=about["learning_rate"])
        self._begin(about["batch"])
        self.trainer.set_state(found.state)
        self.step, self.total, self._sums = about["step"], about["total"], about["sums"]
        self.stopped, self.least, self.best_epoch = about["stopped"], about["least"], about["best_epoch"]
        self.best = found.best
        self._before, self.gradients = about["seconds"], about["gradients"]
        self.history = [Epoch(*row) for row in about["history"]]
        self.range_test = RangeTest(*about["range_test"]) if about["range_test"] else None
        self.progress.log("resumed", f"at step {self.step:,} of {self.total:,}")


@contextmanager
def board(folder: Path | None) -> Iterator[Listener | None]:
    """What writes the figures of each step into a folder; None without one.

    Raises UsageError where TensorBoard is not installed.
    """
    if folder is None:
        yield None
        return
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'tl[tensorboard]'") from error
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))

    def write(step: int, figures: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)

    try:
        yield write
    finally:
        writer.close()
