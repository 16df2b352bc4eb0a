"""Train the backbone: from its fitted head, or from random weights."""

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.splits import Row, Split, describe_changes
from tl.engines import uses_tensorflow
from tl.engines.engine import Engine
from tl.engines.openvino import OpenVINOEngine
from tl.engines.trunk import Trunk, content_key, convert
from tl.errors import EngineError, RunError
from tl.evaluation.metrics import Metrics
from tl.evaluation.predictions import VALIDATION, Predictions, held_out_images, predict
from tl.evaluation.significance import McNemar, beats_majority, mcnemar
from tl.features.extract import extract
from tl.learning.calibration import fit_temperature
from tl.learning.head import Head
from tl.learning.head_fit import assign_folds, fit_head, irreplaceable
from tl.learning.hyperparameters import RATES, TuningRule, class_weights, scratch_rule, tuning_rule
from tl.learning.loop import TuningJob, tensorboard_listener
from tl.learning.trainer import load_checkpoint
from tl.learning.tuning import Tuned, tune
from tl.learning.unknown import Unknown, fit_unknown
from tl.networks.backbones import Backbone
from tl.networks.weights import Weights, pretrained, sha256_of
from tl.options import flag, seconds
from tl.progress import Progress
from tl.runs.finetune_options import FinetuneOptions
from tl.runs.folder import CHECKPOINT
from tl.text import count, interval, percent, spread

_REFERENCE_IMAGES = 2000  # at most, for the unknown check of a tuned network
_REFERENCE_TIME = 0.1  # of a budget, at most
_MARGIN = 0.1  # of a budget, for what is not foreseen
_STARTING, _CONVERTING, _WRITING = (8.0, 10.0, 5.0)  # seconds to load TensorFlow, to convert, to write
_SLOWER = 1.3  # times as long, than measured before
_TUNED = "tuned"  # folder of the converted network inside the run, until its files are linked
_TUNING_ONLY = ("epochs", "batch", "lr", "optimizer", "weight_decay", "label_smoothing", "augment", "budget")


@dataclass(frozen=True)
class Setup:
    """What every step of a training uses.

    `folder` is the run folder being written, `unfreeze` the part of the backbone that is trained ("none", "last",
    "half" or "all"), `validation` the fraction of images to hold out (None: all are cross-validated), `started` a
    `time.monotonic()`.
    """

    options: FinetuneOptions
    backbone: Backbone
    weights: Weights
    folder: Path
    unfreeze: str
    validation: float | None
    started: float
    progress: Progress
    processor: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), _processor_seconds()))

    def slowdown(self) -> float:
        """How many times as long work takes because other processes have the processors, 1 for not at all."""
        wall, computed = self.processor
        return max(1.0, (time.monotonic() - wall) / max(_processor_seconds() - computed, 1e-3))


def _processor_seconds() -> float:
    user, system, of_children, system_of_children, _ = os.times()
    return user + system + of_children + system_of_children


@dataclass(frozen=True)
class Balance:
    """How uneven classes are balanced: `weights` of the classes in every loss, None for none.

    Where batches are trained on, the classes are rather `sampled` equally often.
    """

    weights: tuple[float, ...] | None = None
    sampled: bool = False


@dataclass(frozen=True)
class TuningInputs:
    """What training of the backbone starts from.

    `fingerprints` identify the images by content, near-duplicates and groups by that of one of them; `origin` is what a
    checkpoint may be continued with. `predictions` are those of the head alone, None from random weights. `speed` is
    that of the network in images per second, infinite where it was not measured.
    """

    dataset: Dataset
    fingerprints: Sequence[bytes]
    split: Split
    origin: dict[str, Any]
    head: Head
    balance: Balance = Balance()
    features: NDArray[np.float32] | None = None
    predictions: Predictions | None = None
    speed: float = math.inf


@dataclass(frozen=True)
class TuningResult:
    """A trained network, its predictions, and whether it is `kept`: only if it classifies more images correctly."""

    unfreeze: str
    tuned: Tuned
    trunk: Trunk
    predictions: Predictions
    head_only: dict[str, Metrics] = field(default_factory=dict)
    comparison: McNemar | None = None
    kept: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The form of metrics.json."""
        tuned = self.tuned
        return {
            "kept": self.kept,
            "unfreeze": self.unfreeze,
            "comparison": self.comparison.as_dict() if self.comparison is not None else None,
            "head_only": {name: metrics.as_dict() for name, metrics in self.head_only.items()},
            "tuned": self.predictions.summary(),
            "rule": vars(tuned.rule),
            "steps": tuned.steps,
            "stopped": tuned.stopped,
            "images_per_second": round(tuned.speed, 2),
            "trained_parameters": tuned.trained,
            "precision": tuned.precision,
        }

    def clean_up(self, folder: Path) -> None:
        """Remove the checkpoint and the scratch files, and the weights of a network that is not kept."""
        shutil.rmtree(folder / _TUNED, ignore_errors=True)
        for file in (folder / CHECKPOINT, *folder.glob(f".{CHECKPOINT}.*")):  # of a process killed while it wrote one
            file.unlink(missing_ok=True)
        if not self.kept:
            self.tuned.weights.unlink(missing_ok=True)


def tune_backbone(setup: Setup, inputs: TuningInputs) -> TuningResult | None:
    """Train the backbone from its fitted head; None where the options or the rules leave the backbone frozen."""
    options, progress = setup.options, setup.progress
    if setup.unfreeze == "none":
        used = ("budget",) * (options.image_size == "auto")
        unused = [flag(name) for name in _TUNING_ONLY if getattr(options, name) is not None and name not in used]
        if unused:
            verb = "has" if len(unused) == 1 else "have"
            progress.warn(f"{', '.join(unused)} {verb} no effect on the head alone: add --unfreeze last, half or all")
        return None
    least = setup.slowdown() * _STARTING + len(inputs.split.train) / inputs.speed  # of the part below the cut
    late = time.monotonic() + least - _deadline(setup, inputs)
    if late > 0:
        needed = f"{options.budget} and {late:.0f} s more, by the speed of this machine now"
        progress.warn(f"the budget leaves no time to train the backbone, which takes {needed}: the head alone is kept")
        return None
    rule = override(tuning_rule(len(inputs.split.train), setup.unfreeze), options)
    tuned = _train(setup, inputs, setup.unfreeze, rule)
    trunk, predictions = _predict_tuned(setup, inputs, tuned)
    result = TuningResult(setup.unfreeze, tuned, trunk, predictions)
    return result if inputs.predictions is None else _compare_with_head(inputs.predictions, result, progress)


def train_from_scratch(setup: Setup, inputs: TuningInputs) -> TuningResult:
    """Train the whole network from random weights."""
    rule = override(scratch_rule(len(inputs.split.train)), setup.options)
    tuned = _train(setup, inputs, "all", rule, scratch=True)
    trunk, predictions = _predict_tuned(setup, inputs, tuned)
    _warn_if_not_learned(setup.backbone.name, predictions.metrics["validation"], setup.progress)
    return TuningResult("all", tuned, trunk, predictions)


def trains_from_scratch(options: FinetuneOptions, backbone: Backbone) -> bool:
    """Whether the whole network is trained from random weights.

    It is with `--weights none --unfreeze all`, and for a network without pretrained weights unless only a part of it
    is to be trained. Else random weights stay as they are, below a fitted head.
    """
    if options.weights != "none":
        return False
    return options.unfreeze == "all" or (not pretrained(backbone) and options.unfreeze in ("none", "auto"))


def random_head(features: int, classes: int, seed: int) -> Head:
    """A head of small random weights (Glorot & Bengio 2010)."""
    reach = math.sqrt(6 / (features + classes))
    kernel = np.random.default_rng(seed).uniform(-reach, reach, (features, classes)).astype(np.float32)
    return Head(kernel, np.zeros(classes, np.float32), 1.0)


def override(rule: TuningRule, options: FinetuneOptions) -> TuningRule:
    """The rule with the values that the options set."""
    names = ("epochs", "batch", "optimizer", "weight_decay", "label_smoothing", "augment", "learning_rate")
    values = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.optimizer not in (None, rule.optimizer):
        values.setdefault("learning_rate", RATES[str(options.optimizer)])
    rule = replace(rule, **values)
    return replace(rule, mixes=rule.augment == "strong", mixup=0.0 if rule.augment == "none" else rule.mixup)


def checkpoint_origin(setup: Setup, rows: list[Row]) -> dict[str, Any]:
    """What a checkpoint may be continued with: the weights and the images of the split.

    Raises RunError where the interrupted training started from others.
    """
    path, origin = setup.folder / CHECKPOINT, {"weights": setup.weights.sha256, "images": rows}
    stored = load_checkpoint(path, weights=False)
    if stored is None:
        return origin
    before = stored[2].get("origin")
    if not before:
        raise RunError(f"{path} was written by an earlier version of tl: remove it to start the training anew")
    changes = describe_changes(map(tuple, before["images"]), rows)
    if before["weights"] != setup.weights.sha256:
        changes = "; ".join(filter(None, ["other weights", changes]))
    if changes:
        raise RunError(
            f"the training was interrupted with other data: now {changes}; resume it with the data of then, or remove"
            f" {path} to start anew"
        )
    return origin


def _train(setup: Setup, inputs: TuningInputs, unfreeze: str, rule: TuningRule, *, scratch: bool = False) -> Tuned:
    options, progress, dataset = setup.options, setup.progress, inputs.dataset
    monitor = _choose_monitor(inputs, rule, options.seed)
    train = np.setdiff1d(inputs.split.train, monitor)
    what = "from random weights" if scratch else f"{unfreeze} of the backbone"
    _log_plan(what, rule, (len(train), len(monitor)), progress, find_rate=options.lr == "auto")
    watched = inputs.split.validation if not len(monitor) else monitor[:0]
    used = np.concatenate([train, monitor, watched])
    job = TuningJob(
        backbone=setup.backbone,
        weights=setup.weights,
        head=_head_to_train(inputs, train, options.seed),
        images=[dataset.images[at] for at in used],
        labels=dataset.labels[used],
        train=np.arange(len(train)),
        monitor=np.arange(len(train), len(train) + len(monitor)),
        watched=np.arange(len(used) - len(watched), len(used)),
        unfreeze=unfreeze,
        rule=rule,
        seed=options.seed,
        class_weights=None if inputs.balance.sampled else inputs.balance.weights,
        even_classes=inputs.balance.sampled,
        find_rate=options.lr == "auto",
        precision=options.precision,
        engine=options.engine,
        threads=options.threads,
        deadline=_deadline(setup, inputs),
        scratch=scratch,
        origin=inputs.origin,
    )
    with tensorboard_listener(setup.folder / "tensorboard" if options.tensorboard else None) as listener:
        tuned = tune(job, setup.folder, progress, listener)
    parameters = f"{count(tuned.steps, 'step')}, {tuned.trained:,} parameters"
    progress.log("", f"{parameters}, {tuned.speed:.1f} images/s ({tuned.precision})")
    if tuned.stopped:
        progress.log("", f"stopped early ({tuned.stopped}); the best weights so far are used")
    return tuned


def _choose_monitor(inputs: TuningInputs, rule: TuningRule, seed: int) -> NDArray[np.int64]:
    train = inputs.split.train
    if not rule.monitor:
        return train[:0]
    fingerprints = [inputs.fingerprints[at] for at in train]
    folds = assign_folds(inputs.dataset.labels[train], fingerprints, round(1 / rule.monitor), seed)
    chosen: NDArray[np.int64] = train[(folds == 0) & ~irreplaceable(inputs.dataset.labels[train], fingerprints)]
    return chosen


def _head_to_train(inputs: TuningInputs, train: NDArray[np.int64], seed: int) -> Head:
    """A head on features as they are, fitted to the images that the network is trained on; random from scratch."""
    if inputs.features is None:
        return inputs.head
    labels, classes = inputs.dataset.labels[train], len(inputs.dataset.class_names)
    fingerprints = [inputs.fingerprints[at] for at in train]
    fitted = fit_head(
        inputs.features[train],
        labels,
        classes,
        fingerprints=fingerprints,
        kind="linear",
        class_weights=inputs.balance.weights,
        seed=seed,
    )
    return fitted.head


def balance_classes(
    dataset: Dataset, train: NDArray[np.int64], options: FinetuneOptions, progress: Progress
) -> Balance:
    """How uneven classes are balanced in training on the images `train`, which is logged."""
    per_class = tuple(np.bincount(dataset.labels[train], minlength=len(dataset.class_names)).clip(1).tolist())
    weights = class_weights(per_class, equal=options.balance == "sampling")
    if weights is None:
        return Balance()
    uneven = f"classes have {spread(per_class)} images"
    if options.balance == "none":
        progress.log("balance", f"{uneven}: not balanced")
        return Balance()
    sampled = options.balance == "sampling"
    how = "every class counts equally often" if sampled else "smaller ones weigh more"
    progress.log("balance", f"{uneven}: {how}, loss weights {min(weights):.2f} to {max(weights):.2f}")
    return Balance(weights, sampled=sampled)


def _deadline(setup: Setup, inputs: TuningInputs) -> float:
    """When training has to end, for the network to be converted, to predict and to be written within the budget."""
    if setup.options.budget is None:
        return math.inf
    images = len(held_out_images(inputs.split)[0]) + len(_references(setup, inputs))
    afterwards = setup.slowdown() * (_CONVERTING + _WRITING) + images / inputs.speed
    return setup.started + (1 - _MARGIN) * seconds(setup.options.budget) - _SLOWER * afterwards


def _references(setup: Setup, inputs: TuningInputs) -> NDArray[np.int64]:
    """Training images among which the references of the tuned network's unknown check are chosen."""
    options, most = setup.options, float(_REFERENCE_IMAGES)
    if options.budget is not None:
        most = min(most, _REFERENCE_TIME * seconds(options.budget) * inputs.speed)
    shuffled = np.random.default_rng(options.seed).permutation(inputs.split.train)
    return np.sort(shuffled[: int(most) if options.unknown_rate else 0])


def _predict_tuned(setup: Setup, inputs: TuningInputs, tuned: Tuned) -> tuple[Trunk, Predictions]:
    options, dataset, recipe = setup.options, inputs.dataset, setup.backbone.recipe
    weights = Weights("tuned", tuned.weights, "this run", sha256_of(tuned.weights))
    shutil.rmtree(setup.folder / _TUNED, ignore_errors=True)
    trunk = convert(setup.backbone, weights, setup.folder / _TUNED, progress=setup.progress)
    indices, parts = held_out_images(inputs.split)
    references = _references(setup, inputs)
    images = [dataset.images[at] for at in np.concatenate([indices, references])]
    features = extract(images, _engine(setup, weights, trunk), recipe, None, progress=setup.progress)
    if len(features.kept) != len(images):
        raise EngineError("an image of the data set was removed while the network was trained: run again")
    values = features.values[: len(indices)]
    rows = np.searchsorted(indices, inputs.split.validation)
    logits = tuned.head.logits(values[rows])
    temperature = fit_temperature(logits, dataset.labels[inputs.split.validation])
    head = replace(tuned.head, temperature=temperature)
    of_references, held_out = features.values[len(indices) :], values[rows]
    unknown = fit_unknown_of(
        dataset, references, of_references, held_out=held_out, probabilities=head.calibrated(logits), options=options
    )
    return trunk, predict(head, values, dataset, indices, parts=parts, unknown=unknown, fitted_on=VALIDATION)


def fit_unknown_of(
    dataset: Dataset,
    indices: NDArray[np.int64],
    features: NDArray[np.float32],
    *,
    probabilities: NDArray[np.float32],
    held_out: NDArray[np.float32] | None = None,
    head: Head | None = None,
    options: FinetuneOptions,
) -> Unknown | None:
    """Fit the unknown check to the images at `indices` and their features; None where it is turned off.

    `head` is one on features of the pretrained network, whose ImageNet classifier helps.
    """
    if not options.unknown_rate:
        return None
    return fit_unknown(
        features,
        dataset.labels[indices],
        len(dataset.class_names),
        probabilities=probabilities,
        held_out=held_out,
        imagenet=None if head is None else head.imagenet,
        rate=options.unknown_rate,
        seed=options.seed,
    )


def _engine(setup: Setup, weights: Weights, trunk: Trunk) -> Engine:
    options = setup.options
    if uses_tensorflow(options.engine):
        from tl.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(setup.backbone, weights, options.precision)
    key = content_key(trunk.xml_sha256, trunk.bin_sha256, setup.backbone.recipe)
    return OpenVINOEngine(trunk.xml, key, options.precision, options.threads)


def _compare_with_head(head_only: Predictions, result: TuningResult, progress: Progress) -> TuningResult:
    rows = result.predictions.of_part("validation")
    comparison = mcnemar(head_only.correct[rows], result.predictions.correct[rows])
    before, after = head_only.metrics["validation"], result.predictions.metrics["validation"]
    # A tuned run has a copy of the whole network, the head alone shares its trunk with other runs: a tie is not worth
    # that, even with a lower log-loss. One image is, though it may be chance: who unfroze the backbone asked for it.
    kept = comparison.gained > comparison.lost
    progress.log("comparison", comparison.sentence("the head alone", "the tuned network"))
    verdict = "the tuned network is kept" if kept else "not more accurate on validation, so the head alone is kept"
    accuracy = f"accuracy {percent(before.top1.value)} to {percent(after.top1.value)}"
    progress.log("", f"{accuracy}, log-loss {before.log_loss:.3f} to {after.log_loss:.3f}: {verdict}")
    return replace(result, head_only=head_only.metrics, comparison=comparison, kept=kept)


def _log_plan(what: str, rule: TuningRule, images: tuple[int, int], progress: Progress, *, find_rate: bool) -> None:
    train, monitor = images
    held_out = f", {monitor:,} of them held out for early stopping" if monitor else ""
    topic = "training" if what.startswith("from") else "fine-tuning"
    progress.log(topic, f"{what} on {count(train + monitor, 'image')}{held_out}")
    smoothing = f", label smoothing {rule.label_smoothing:g}" if rule.label_smoothing else ""
    rate = f"{rule.optimizer}, learning rate {'to be found' if find_rate else f'{rule.learning_rate:.2g}'}"
    schedule = f"{count(rule.epochs, 'epoch', 'epochs')}, batch size {rule.batch}"
    progress.log("", f"{rate}, {schedule}, augmentation {rule.augment}{smoothing}")


def _warn_if_not_learned(name: str, metrics: Metrics, progress: Progress) -> None:
    top1, majority = metrics.top1, metrics.class_photos[1] / metrics.count
    learned = beats_majority(top1.low, top1.high, majority)
    if learned:
        return
    accuracy = f"accuracy {percent(top1.value)} ({interval(top1.low, top1.high)})"
    images = count(metrics.count, "validation image")
    verdict, file = f"{name} did not learn", "gradients.csv has the gradient of each layer"
    if learned is None:
        verdict, file = f"too few images to tell whether {name} learned", "history.csv has its loss by epoch"
    progress.warn(f"{verdict}: {accuracy} on {images}, the largest class alone gives {percent(majority)}; {file}")
