"""A backbone and its fitted head become a tuned network: linear probe first, then fine-tune (Kumar et al. 2022).

The frozen part runs once through the engine and is stored; only what is trained runs again, its BatchNorm folded.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines import open_engine
from tl.engines.engine import Photos
from tl.engines.tensorflow import Devices, training_devices
from tl.errors import BackboneError, UsageError
from tl.features.activations import affordable_views, store
from tl.learning.augment import augmenter
from tl.learning.batches import Feed, PhotoFeed, StoredFeed
from tl.learning.head import Head
from tl.learning.loop import Course, Epoch, Job, Listener, RangeTest
from tl.learning.rules import TuningRule
from tl.learning.trainer import Trainer
from tl.progress import Progress


@dataclass(frozen=True)
class Tuned:
    """What training made: the file of the folded network's weights, the head on it, and how it went.

    `rule` is the one that was followed, `stopped` why training ended early ("" if it did not), `speed` in images a
    second, `trained` how many parameters learned; `gradients` the norms by layer before and after, from scratch only.
    """

    weights: Path
    head: Head
    rule: TuningRule
    history: tuple[Epoch, ...]
    steps: int
    speed: float
    stopped: str
    trained: int
    precision: str
    range_test: RangeTest | None
    gradients: tuple[dict[str, float], ...]


def tune(job: Job, folder: Path, progress: Progress, listen: Listener | None = None) -> Tuned:
    """Train the job's network on; its checkpoint in `folder`, if there is one, is where it goes on.

    Writes `trunk.weights.h5` there. Raises BackboneError for a network that cannot be cut.
    """
    begun = time.monotonic()
    devices = training_devices(job.precision)
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool, devices.rewriting():
        strategy = devices.strategy()
        with strategy.scope():
            model, upper, depth, shape = _parts(job, devices)
            trainer = Trainer(upper, job.head, job.rule, devices, strategy, depth, scratch=job.scratch)
        # Converting what was trained takes about as long as building it did: that much of a budget is kept for it.
        deadline = job.deadline - 1.5 * (time.monotonic() - begun)
        feed, rule = _feed(job, shape, pool, progress)
        job = replace(job, rule=rule, deadline=deadline)
        course = Course(job, trainer, feed, folder / "checkpoint.npz", progress, listen)
        course.prepare()
        while not course.done:
            course.go_on(strategy)
        trainer.set_weights(course.best)
        if job.scratch:
            course.look_at_gradients()
        _folded(model, job).save_weights(folder / "trunk.weights.h5")
    kernel, bias = trainer.head()
    return Tuned(
        weights=folder / "trunk.weights.h5",
        head=Head(kernel, bias, 1.0),
        rule=course.rule,
        history=tuple(course.history),
        steps=course.step,
        speed=course.speed,
        stopped=course.stopped,
        trained=sum(math.prod(variable.shape) for variable in trainer.trained),
        precision=devices.precision,
        range_test=course.range_test,
        gradients=tuple(course.gradients),
    )


def _parts(job: Job, devices: Devices) -> tuple[Any, Any, dict[str, int], tuple[int, ...] | None]:
    """The folded network, its part to train, how deep its layers lie, and the shape of what is stored, if anything."""
    import keras

    from tl.networks.stages import cut_for, depths
    from tl.networks.trainable import fold, upper_part
    from tl.networks.weights import build

    keras.utils.set_random_seed(job.seed)
    if job.scratch:
        with _policy(devices.policy):
            model = build(job.backbone, job.weights)
        return model, upper_part(model, None), {}, None
    model = fold(build(job.backbone, job.weights), policy=devices.policy)
    layer = cut_for(model, job.unfreeze)
    if layer is None and job.unfreeze != "all":
        raise BackboneError(f"{job.backbone.name} has one stage: train it with --unfreeze all")
    upper = upper_part(model, layer)
    return model, upper, depths(model), None if layer is None else tuple(upper.input_shape[1:])


def _folded(model: Any, job: Job) -> Any:
    """The network as runs keep it: BatchNorm folded, which training from scratch needs as it is."""
    from tl.networks.trainable import fold

    return fold(model) if job.scratch else model


@contextmanager
def _policy(name: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _feed(
    job: Job, shape: tuple[int, ...] | None, pool: ThreadPoolExecutor, progress: Progress
) -> tuple[Feed, TuningRule]:
    rule, size, classes = job.rule, job.backbone.recipe.image_size, job.head.kernel.shape[1]
    if shape is None:
        augment = augmenter(rule.augment, size, classes, seed=job.seed, mixes=rule.mixes)
        return PhotoFeed(job.pictures, job.backbone.recipe, augment, pool), rule
    asked = rule.views if rule.augment != "none" else 1
    views = affordable_views(asked, len(job.pictures), math.prod(shape))
    megabytes = 2 * math.prod(shape) * len(job.pictures) * max(1, views) / 1e6
    if views < 1:
        raise UsageError(
            f"{megabytes:,.0f} MB of activations exceed TL_ACTIVATIONS_LIMIT or half of the free disk: "
            "raise it, or train with --unfreeze all, which stores none"
        )
    if views < asked:
        progress.log("", f"{views} of {asked} views of each photo fit the disk")
    engine = open_engine(
        job.backbone,
        job.weights,
        engine=job.engine,
        precision="auto",
        unfreeze=job.unfreeze,
        threads=job.threads,
        progress=progress,
    )
    started = time.monotonic()
    transform = _transform(job, rule.augment, size)
    kept = store(job.pictures, engine, job.backbone.recipe, shape, views=views, transform=transform, progress=progress)
    seconds = time.monotonic() - started
    count = "1 view" if views == 1 else f"{views} views"
    progress.log(
        "activations",
        f"{count} of {len(job.pictures):,} photos below the cut, {megabytes:,.0f} MB on disk, in {seconds:.1f} s "
        f"({engine.name} {engine.precision})",
    )
    return StoredFeed(kept.values, job.seed, rule.mixup), replace(rule, views=views)


def _transform(job: Job, level: str, size: int) -> Callable[[Photos, int], Photos]:
    if level == "none":
        return lambda photos, _: photos
    augment = augmenter(level, size, 1, seed=job.seed, mixes=False)

    def transform(photos: Photos, number: int) -> Photos:
        pixels, _ = augment(photos, np.ones((len(photos), 1), np.float32), number)
        rounded: Photos = np.clip(np.rint(np.asarray(pixels)), 0, 255).astype(np.uint8)
        return rounded

    return transform
