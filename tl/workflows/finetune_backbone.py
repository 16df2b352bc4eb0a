"""A fitted head becomes a fine-tuned network, if that answers more of the validation photos right."""

import math
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.load import Dataset
from tl.data.splits import Split
from tl.engines import has_gpu
from tl.engines.engine import Engine
from tl.engines.openvino import OpenVINOEngine
from tl.engines.trunk import Trunk, content_key, convert
from tl.errors import EngineError
from tl.evaluation.metrics import McNemar, Metrics, beats_majority, mcnemar
from tl.evaluation.predictions import VALIDATION, Predictions, held_out_images, predict
from tl.features.extract import Features, extract
from tl.learning.calibration import temperature
from tl.learning.head import Head, fit, folds_of
from tl.learning.loop import Job, board
from tl.learning.rules import RATES, TuningRule, class_weights, scratch_rule, tuning_rule, unfreeze_rule
from tl.learning.tuning import Tuned, tune
from tl.learning.unknown import Unknown
from tl.learning.unknown import fit as fit_unknown
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights, sha256_of
from tl.progress import Progress
from tl.runs.folder import CHECKPOINT
from tl.runs.options import Options, seconds
from tl.workflows.finetune_log import spread, tell_plan

_KNOWN = 2000  # training photos passed through the tuned network to tell what is like them
_RESERVE = 4.0  # seconds of a budget for writing the run
_TUNED = "tuned"  # the folder of the converted network inside the run, until its files are linked


@dataclass(frozen=True)
class Attempt:
    """All that fine-tuning begins with."""

    options: Options
    dataset: Dataset
    features: Features
    split: Split
    head: Head
    predictions: Predictions | None
    backbone: Backbone
    weights: Weights


@dataclass(frozen=True)
class Outcome:
    """What fine-tuning came to, and whether it is `kept`: only if it answers more of the validation photos right."""

    unfreeze: str
    tuned: Tuned
    trunk: Trunk
    predictions: Predictions
    before: dict[str, Metrics]
    comparison: McNemar | None
    kept: bool

    def as_dict(self) -> dict[str, Any]:
        """The form of metrics.json."""
        tuned = self.tuned
        return {
            "kept": self.kept,
            "unfreeze": self.unfreeze,
            "comparison": self.comparison.as_dict() if self.comparison is not None else None,
            "head_only": {name: score.as_dict() for name, score in self.before.items()},
            "tuned": {name: score.as_dict() for name, score in self.predictions.metrics.items()},
            "rule": vars(tuned.rule),
            "steps": tuned.steps,
            "stopped": tuned.stopped,
            "images_per_second": round(tuned.speed, 2),
            "trained_parameters": tuned.trained,
            "precision": tuned.precision,
        }

    def remove_traces(self, folder: Path) -> None:
        """Remove what only a killed training needs, and the tuned network where it is not kept."""
        shutil.rmtree(folder / _TUNED, ignore_errors=True)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        if not self.kept:
            self.tuned.weights.unlink(missing_ok=True)


def attempt(given: Attempt, folder: Path, started: float, progress: Progress) -> Outcome | None:
    """Train the backbone as the options ask; None where they, or the rules, leave it at the head.

    `started` is when the run began, a time of `time.monotonic`, from which a budget counts.
    """
    job = _job(given, started, progress)
    if job is None:
        return None
    with board(folder / "tensorboard" if given.options.tensorboard else None) as listen:
        tuned = tune(job, folder, progress, listen)
    tell_tuned(tuned, progress)
    trunk, predictions = answered(given, tuned, folder, progress)
    return _judged(given, job.unfreeze, tuned, trunk, predictions, progress)


def answered(given: Attempt, tuned: Tuned, folder: Path, progress: Progress) -> tuple[Trunk, Predictions]:
    """The trained network as it will predict, and what it says of the photos that were not trained on."""
    weights = Weights("tuned", tuned.weights, "this run", sha256_of(tuned.weights))
    shutil.rmtree(folder / _TUNED, ignore_errors=True)
    trunk = convert(given.backbone, weights, folder / _TUNED, progress=progress)
    engine = _engine(given, weights, trunk)
    places, known = held_out_images(given.split)[0], _sample(given)
    pictures = [given.dataset.images[at] for at in np.concatenate([places, known])]
    features = extract(pictures, engine, given.backbone.recipe, None, progress=progress)
    if len(features.kept) != len(pictures):
        raise EngineError("a photo of the data set was removed while the network was trained: run again")
    values, of_known = features.values[: len(places)], features.values[len(places) :]
    unknown = measure(of_known, given.dataset, known, given.options) if len(known) else None
    return trunk, _calibrated(tuned.head, values, given, unknown)


def measure(
    values: NDArray[np.float32], dataset: Dataset, places: NDArray[np.int64], options: Options
) -> Unknown | None:
    """What tells photos unlike those at `places`, whose features are `values`; None where the options turn it off."""
    if not options.unknown_rate:
        return None
    classes = len(dataset.class_names)
    return fit_unknown(values, dataset.labels[places], classes, rate=options.unknown_rate, seed=options.seed)


def _sample(given: Attempt) -> NDArray[np.int64]:
    """Training photos that tell what is like them: as many as a false-alarm rate of a thousandth needs."""
    if not given.options.unknown_rate:
        return given.split.train[:0]
    shuffled = np.random.default_rng(given.options.seed).permutation(given.split.train)
    return np.sort(shuffled[:_KNOWN])


def _job(given: Attempt, started: float, progress: Progress) -> Job | None:
    options, train = given.options, given.split.train
    unfreeze = options.unfreeze
    if unfreeze == "auto":
        unfreeze = unfreeze_rule(len(train), len(given.dataset.class_names), gpu=has_gpu())
        progress.log("fine-tuning", f"auto: {unfreeze} of the backbone, for {len(train):,} photos")
    if unfreeze == "none":
        _tell_idle(options, progress)
        return None
    rule = overridden(tuning_rule(len(train), unfreeze), options)
    monitor = monitored(given, rule)
    inner = np.setdiff1d(train, monitor)
    head = given.head if not len(monitor) else _head_without(given, inner)
    tell_plan(unfreeze, rule, len(inner), len(monitor), progress)
    weights_of, balanced = _balance(given, inner, progress)
    kept = np.concatenate([inner, monitor])
    return Job(
        given.backbone,
        given.weights,
        head,
        [given.dataset.images[at] for at in kept],
        given.dataset.labels[kept],
        np.arange(len(inner)),
        np.arange(len(inner), len(kept)),
        unfreeze,
        rule,
        options.seed,
        weights_of,
        balanced,
        options.lr == "auto",
        options.precision,
        options.engine,
        deadline_of(given, started),
        threads=options.threads,
    )


def _tell_idle(options: Options, progress: Progress) -> None:
    """Options for training the backbone, where it is not trained."""
    names = ("epochs", "batch", "lr", "optimizer", "weight_decay", "label_smoothing", "augment", "views", "budget")
    idle = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]
    if idle:
        count = "counts" if len(idle) == 1 else "count"
        progress.warn(f"{', '.join(idle)} {count} only where the backbone is trained: add --unfreeze last, half or all")


def deadline_of(given: Attempt, started: float) -> float:
    """When training has to end so that the run is complete within its budget."""
    if given.options.budget is None:
        return math.inf
    return (
        started
        + seconds(given.options.budget)
        - _RESERVE
        - (len(given.split.validation) + len(given.split.test) + len(_sample(given))) / 30
    )


def overridden(rule: TuningRule, options: Options) -> TuningRule:
    """A rule with what the options say instead."""
    asked: dict[str, Any] = {
        "epochs": options.epochs,
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "optimizer": options.optimizer,
        "weight_decay": options.weight_decay,
        "label_smoothing": options.label_smoothing,
        "augment": options.augment,
        "views": options.views,
    }
    if options.optimizer not in (None, rule.optimizer) and options.learning_rate is None:
        asked["learning_rate"] = RATES[options.optimizer]
    rule = replace(rule, **{name: value for name, value in asked.items() if value is not None})
    mixup = 0.0 if rule.augment == "none" else rule.mixup
    return replace(rule, mixes=rule.augment == "strong", mixup=mixup)


def monitored(given: Attempt, rule: TuningRule) -> NDArray[np.int64]:
    """The places of the training photos that say when to stop, by content."""
    train = given.split.train
    if not rule.monitor:
        return train[:0]
    prints = [given.features.fingerprints[at] for at in train]
    folds = folds_of(given.dataset.labels[train], prints, round(1 / rule.monitor), given.options.seed)
    chosen: NDArray[np.int64] = train[folds == 0]
    return chosen


def _head_without(given: Attempt, inner: NDArray[np.int64]) -> Head:
    return fit(
        given.features.values[inner],
        given.dataset.labels[inner],
        len(given.dataset.class_names),
        fingerprints=[given.features.fingerprints[at] for at in inner],
        seed=given.options.seed,
    ).head


def _balance(given: Attempt, inner: NDArray[np.int64], progress: Progress) -> tuple[tuple[float, ...] | None, bool]:
    counts = Counter(int(label) for label in given.dataset.labels[inner])
    per_class = tuple(max(1, counts[at]) for at in range(len(given.dataset.class_names)))
    asked = given.options.balance
    uneven = f"classes have {spread(per_class)} photos"
    weights = class_weights(per_class)
    if asked == "sampling":
        progress.log("", f"{uneven}: each is drawn as often as the others")
        return None, True
    if asked == "none" or weights is None:
        return None, False
    progress.log("", f"{uneven}: weighted {min(weights):.2f} to {max(weights):.2f}, the fewer the more")
    return weights, False


def _engine(given: Attempt, weights: Weights, trunk: Trunk) -> Engine:
    options = given.options
    if options.engine == "tensorflow" or (options.engine == "auto" and has_gpu()):
        from tl.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(given.backbone, weights, options.precision)
    key = content_key(trunk.xml_sha256, trunk.bin_sha256, given.backbone.recipe)
    return OpenVINOEngine(trunk.xml, key, options.precision, options.threads)


def _calibrated(head: Head, values: NDArray[np.float32], given: Attempt, unknown: Unknown | None) -> Predictions:
    indices, names = held_out_images(given.split)
    places = np.searchsorted(indices, given.split.validation)
    truth = given.dataset.labels[given.split.validation]
    head = replace(head, temperature=temperature(head.logits(values[places]), truth))
    return predict(head, values, given.dataset, indices, parts=names, unknown=unknown, fitted_on=VALIDATION)


def _judged(
    given: Attempt, unfreeze: str, tuned: Tuned, trunk: Trunk, predictions: Predictions, progress: Progress
) -> Outcome:
    head_only = given.predictions
    if head_only is None:
        raise ValueError("the head alone has no predictions to compare with")
    rows = predictions.of_part("validation")
    comparison = mcnemar(head_only.correct[rows], predictions.correct[rows])
    before, after = head_only.metrics["validation"], predictions.metrics["validation"]
    # It is a copy of the whole network, while the head alone shares its trunk with other runs: a tie is not worth that,
    # even of lower log-loss. One photo is, though chance may give it: who unfroze the backbone asked for the likelier.
    kept = comparison.gained > comparison.lost
    progress.log("compared", comparison.sentence("the head alone", "the tuned network"))
    figures = f"top-1 {100 * before.top1.value:.1f} to {100 * after.top1.value:.1f} %"
    loss = f"log-loss {before.log_loss:.3f} to {after.log_loss:.3f}"
    verdict = "the tuned network is kept" if kept else "no more right on validation, so the head alone is kept"
    progress.log("", f"{figures}, {loss}: {verdict}")
    return Outcome(unfreeze, tuned, trunk, predictions, head_only.metrics, comparison, kept)


def tell_tuned(tuned: Tuned, progress: Progress) -> None:
    """How training went."""
    count = f"{tuned.steps:,} steps, {tuned.trained:,} parameters, {tuned.speed:.1f} images/s ({tuned.precision})"
    progress.log("", count)
    if tuned.stopped:
        progress.log("", f"stopped early: {tuned.stopped}; the best weights so far are taken")


def wanted(options: Options, zoo: bool) -> bool:
    """Whether a network is to be trained from random weights: the whole of it, or one that has no other weights.

    Other networks of random weights keep them, under a head of their own, unless all of them is to be trained.
    """
    return options.weights == "none" and (options.unfreeze == "all" or (zoo and options.unfreeze in ("none", "auto")))


def from_scratch(given: Attempt, folder: Path, started: float, progress: Progress) -> Outcome:
    """Train a network from random weights. `given.head` and `given.predictions` are ignored."""
    options, train = given.options, given.split.train
    rule = overridden(scratch_rule(len(train)), options)
    monitor = monitored(given, rule)
    inner = np.setdiff1d(train, monitor)
    tell_plan("all", rule, len(inner), len(monitor), progress, scratch=True)
    kept = np.concatenate([inner, monitor])
    job = Job(
        backbone=given.backbone,
        weights=given.weights,
        head=first_head(given.backbone.features, len(given.dataset.class_names), options.seed),
        pictures=[given.dataset.images[at] for at in kept],
        labels=given.dataset.labels[kept],
        train=np.arange(len(inner)),
        monitor=np.arange(len(inner), len(kept)),
        unfreeze="all",
        rule=rule,
        seed=options.seed,
        find_rate=options.lr == "auto",
        precision=options.precision,
        engine=options.engine,
        deadline=deadline_of(given, started),
        scratch=True,
    )
    with board(folder / "tensorboard" if options.tensorboard else None) as listen:
        tuned = tune(job, folder, progress, listen)
    tell_tuned(tuned, progress)
    trunk, predictions = answered(given, tuned, folder, progress)
    _tell_doubt(given.backbone.name, predictions.metrics["validation"], progress)
    return Outcome("all", tuned, trunk, predictions, {}, None, True)


def first_head(features: int, classes: int, seed: int) -> Head:
    """A head of small random numbers (Glorot & Bengio 2010)."""
    reach = math.sqrt(6 / (features + classes))
    kernel = np.random.default_rng(seed).uniform(-reach, reach, (features, classes)).astype(np.float32)
    return Head(kernel, np.zeros(classes, np.float32), 1.0)


def _tell_doubt(name: str, score: Metrics, progress: Progress) -> None:
    """That a network did not learn, or that the photos do not tell."""
    top1, largest = score.top1, score.class_photos[1] / score.count
    verdict = beats_majority(top1.low, top1.high, largest)
    if verdict:
        return
    interval = f"95 % interval {100 * top1.low:.1f} to {100 * top1.high:.1f}"
    figures = (
        f"{100 * top1.value:.1f} % of {score.count:,} validation photos are right ({interval}), naming the largest "
        f"class alone gives {100 * largest:.1f} %"
    )
    if verdict is None:
        progress.warn(
            f"so few photos do not tell whether {name} learned: {figures}; history.csv tells how its loss fell"
        )
    else:
        progress.warn(f"{name} did not learn: {figures}; gradients.csv tells how long each layer's gradient was")
