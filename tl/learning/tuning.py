"""Fine-tune a network from its fitted head, linear probe first (Kumar et al. 2022), or train one from scratch.

The frozen part runs once through the inference engine and its activations are stored; only the part above the cut runs
in training, with BatchNorm folded into its convolutions.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines import open_engine
from tl.engines.engine import Photos
from tl.engines.tensorflow import Devices, dtype_policy, training_devices
from tl.errors import BackboneError, UsageError
from tl.features.activations import affordable_views, store
from tl.learning.augment import augmenter
from tl.learning.batches import ActivationFeed, Feed, ImageFeed
from tl.learning.head import Head
from tl.learning.hyperparameters import TuningRule
from tl.learning.loop import Epoch, Listener, RangeTest, TrainingLoop, TuningJob
from tl.learning.trainer import Trainer
from tl.progress import Progress
from tl.text import count

_FORESEEN = 8.0  # seconds to build a network that a budget has room for
_STORING = 0.4  # of the time that a budget leaves


@dataclass(frozen=True)
class Tuned:
    """The result of training: a file with the weights of the folded network, the head, and how the training went.

    `rule` is the one that was followed, `stopped` why training ended early ("" if it did not), `speed` in images per
    second, `parameters` the number of those below the head, `trained` of those that were trained, the head's among
    them; `gradients` by layer before and after, from scratch only.
    """

    weights: Path
    head: Head
    rule: TuningRule
    history: tuple[Epoch, ...]
    steps: int
    speed: float
    stopped: str
    parameters: int
    trained: int
    precision: str
    range_test: RangeTest | None
    gradients: tuple[dict[str, float], ...]


def tune(job: TuningJob, folder: Path, progress: Progress, listener: Listener | None = None) -> Tuned:
    """Train a network, from the checkpoint in `folder` if there is one, and write `trunk.weights.h5` there.

    Raises BackboneError for a network that cannot be cut.
    """
    from tl.networks.trainable import fold

    started = time.monotonic()
    devices = training_devices(job.precision)
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool, devices.graph_rewriting():
        strategy = devices.strategy()
        with strategy.scope():
            model, upper, depth, shape, parameters = _build(job, devices)
            trainer = Trainer(upper, job.head, job.rule, devices, strategy=strategy, depth=depth, scratch=job.scratch)
        # Converting the trained network takes about as long as building it did.
        job = replace(job, deadline=job.deadline - max(0.0, time.monotonic() - started - _FORESEEN))
        feed, rule = _feed(job, shape, pool, progress)
        job = replace(job, rule=rule)
        loop = TrainingLoop(job, trainer, feed, file=folder / "checkpoint.npz", progress=progress, listener=listener)
        loop.run(strategy)
        trainer.set_weights(loop.best)
        if job.scratch:
            loop.record_gradients()
            model = fold(model)  # training from scratch needs BatchNorm itself
        model.save_weights(folder / "trunk.weights.h5")
    kernel, bias = trainer.head()
    return Tuned(
        weights=folder / "trunk.weights.h5",
        head=Head(kernel, bias, 1.0),
        rule=loop.rule,
        history=tuple(loop.history),
        steps=loop.step,
        speed=loop.speed,
        stopped=loop.stopped,
        parameters=parameters,
        trained=sum(math.prod(variable.shape) for variable in trainer.trained),
        precision=devices.precision,
        range_test=loop.range_test,
        gradients=tuple(loop.gradients),
    )


def _build(job: TuningJob, devices: Devices) -> tuple[Any, Any, dict[str, int], tuple[int, ...] | None, int]:
    """The network, its trained part, the depth of its layers, the shape of stored activations, if any, and the number
    of its parameters.
    """
    import keras

    from tl.networks.stages import cut_for, depths
    from tl.networks.trainable import fold, upper_part
    from tl.networks.weights import build

    keras.utils.set_random_seed(job.seed)
    if job.scratch:
        with dtype_policy(devices.policy):
            model = build(job.backbone, job.weights)
        return model, upper_part(model, None), {}, None, model.count_params()
    whole = build(job.backbone, job.weights)
    model = fold(whole, policy=devices.policy)
    layer = cut_for(model, job.unfreeze)
    if layer is None and job.unfreeze != "all":
        raise BackboneError(f"{job.backbone.name} has one stage: train it with --unfreeze all")
    upper = upper_part(model, layer)
    shape = None if layer is None else tuple(upper.input_shape[1:])
    return model, upper, depths(model), shape, whole.count_params()


def _feed(
    job: TuningJob, shape: tuple[int, ...] | None, pool: ThreadPoolExecutor, progress: Progress
) -> tuple[Feed, TuningRule]:
    """Where batches come from: images, or activations below the cut, which are computed here."""
    rule, recipe, classes = job.rule, job.backbone.recipe, job.head.kernel.shape[1]
    if shape is None:
        augment = augmenter(rule.augment, recipe.image_size, classes, seed=job.seed, mixes=rule.mixes)
        return ImageFeed(job.images, recipe, augment, pool), rule
    planned = rule.views if rule.augment != "none" else 1
    views = affordable_views(planned, len(job.images), math.prod(shape))
    megabytes = 2 * math.prod(shape) * len(job.images) * max(1, views) / 1e6
    if views < 1:
        raise UsageError(
            f"{megabytes:,.0f} MB of activations exceed TL_ACTIVATIONS_LIMIT or half of the free disk: "
            "raise the limit, or train with --unfreeze all, which stores none"
        )
    if views < planned:
        progress.log("", f"{views} of {planned} augmented views per image fit on the disk")
    engine = open_engine(
        job.backbone, job.weights, engine=job.engine, unfreeze=job.unfreeze, threads=job.threads, progress=progress
    )
    started = time.monotonic()
    activations = store(
        job.images,
        engine,
        recipe,
        shape,
        views=views,
        transform=_transform(job),
        deadline=started + _STORING * (job.deadline - started),
        progress=progress,
    )
    if len(activations) < views:
        progress.log("", f"{len(activations)} of {views} augmented views per image fit the budget")
    views, seconds = len(activations), time.monotonic() - started
    what = f"{count(views, 'view')} of {count(len(job.images), 'image')} below the cut, {megabytes:,.0f} MB on disk"
    progress.log("activations", f"{what}, in {seconds:.1f} s ({engine.name} {engine.precision})")
    return ActivationFeed(activations, job.seed, rule.mixup), replace(rule, views=views)


def _transform(job: TuningJob) -> Callable[[Photos, int], Photos]:
    """Augmentation of a batch of uint8 images before they go through the frozen part."""
    level, size = job.rule.augment, job.backbone.recipe.image_size
    if level == "none":
        return lambda images, _: images
    augment = augmenter(level, size, 1, seed=job.seed, mixes=False)

    def transform(images: Photos, number: int) -> Photos:
        pixels, _ = augment(images, np.ones((len(images), 1), np.float32), number)
        return np.clip(np.rint(np.asarray(pixels, np.float32)), 0, 255).astype(np.uint8)

    return transform
