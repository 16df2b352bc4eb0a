"""Train a classifier on labelled images and write its run folder."""

import datetime
import importlib
import math
import shlex
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl import __version__
from tl.cache import usable_cache
from tl.data.dataset import PARTS, Dataset
from tl.data.decoding import count_remarks
from tl.data.folders import nesting_warning
from tl.data.image_stats import measure_images
from tl.data.load import Data, is_in_memory, load
from tl.data.near_duplicates import find_near_pairs, find_originals, usual_likeness
from tl.data.splits import Split, check_counts, check_groups, grouped, split, split_rows, unite
from tl.engines import has_gpu, open_engine
from tl.engines.engine import Engine
from tl.engines.trunk import Trunk, cached_trunk
from tl.errors import DataError, UsageError
from tl.evaluation.predictions import Predictions, predict_held_out
from tl.features.extract import Features, extract, scan
from tl.learning.calibration import log_loss
from tl.learning.head_fit import HeadFit, fit_head
from tl.learning.hyperparameters import (
    HELD_OUT_TO_TUNE,
    LEAST_TO_SIZE,
    MOST_TO_SIZE,
    head_rule,
    input_sizes,
    unfreeze_rule,
)
from tl.learning.learning_curve import LearningCurve, learning_curve
from tl.networks.backbones import Backbone, backbone
from tl.networks.weights import Weights, imagenet_kernel, resolve
from tl.options import check, keywords, seconds, write_toml
from tl.progress import Progress
from tl.runs.cross_validation import write_cross_validation
from tl.runs.finetune_options import FinetuneOptions, inherited_options, read_options
from tl.runs.folder import (
    CHECKPOINT,
    RUNS,
    claim_folder,
    describe_data,
    find_interrupted,
    find_run,
    history_of,
    new_folder,
    partial_folder,
    utf8,
    write_gradients,
    write_head_trials,
    write_history,
    write_metrics,
    write_predictions,
    write_split,
)
from tl.runs.growth import Growth, compare_answers, grow, write_changes
from tl.runs.run import Run, load_run, write_run
from tl.runs.training_images import write_training_images
from tl.text import count, percent, spread
from tl.workflows.data_check import quick_check
from tl.workflows.finetune_backbone import (
    Balance,
    Setup,
    TuningInputs,
    TuningResult,
    balance_classes,
    checkpoint_origin,
    fit_unknown_of,
    random_head,
    train_from_scratch,
    trains_from_scratch,
    tune_backbone,
)
from tl.workflows.report import write_run_artifacts

if TYPE_CHECKING:
    from PIL.Image import Image

Indices = NDArray[np.int64]

_LIBRARIES = ("keras", "numpy", "openvino", "scipy", "tensorflow")
_TIMED = 16  # images, to time the network
_MOST_NAMED = 5  # skipped files that are named in the log; the others are counted
_MOST_CLASSES = 6  # whose images are counted in the log one by one


@keywords(FinetuneOptions, inherited=inherited_options)
def finetune(
    data: "Data | None" = None,
    *,
    options: FinetuneOptions,
    resume: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Run:
    """Train a classifier on labelled images and write its run folder, with its grid and report.

    `resume` continues an interrupted run, that of `out` or the newest, with the options it was started with. `command`
    is recorded in the run. Raises a `tl.errors.TLError` that says what to do; then no run folder is left behind, only
    the checkpoint of an interrupted training.
    """
    run, trained = train(data, options, resume=resume, progress=progress or Progress(), command=command)
    fitted, tuning, history = trained.head_fit, trained.tuning, None
    if tuning is not None:
        history = history_of(run.name, tuning.as_dict(), tuning.tuned.history, tuning.tuned.range_test)
    write_run_artifacts(run, trained.predictions, trials=fitted.trials if fitted is not None else (), history=history)
    return run


def train(
    data: "Data | None",
    options: FinetuneOptions,
    *,
    resume: bool = False,
    describe: bool = True,
    progress: Progress,
    command: str = "",
) -> "tuple[Run, Trained]":
    """Train a classifier and write its run folder, without pictures and report; `describe` logs the data set."""
    clock = Clock()
    threading.Thread(target=importlib.import_module, args=("scipy.optimize",)).start()  # takes half a second
    folder = find_interrupted(options.out) if resume else None
    options = _with_data(options, data) if folder is None else _stored(folder, budget=options.budget)
    check(options)
    options = replace(options, image_size=options.side or options.image_size)  # a number may have been a text
    if data is None and not options.data:
        raise UsageError(
            "no data: give a folder with one folder of images per class, a table, or the name of a known data set"
        )
    network = _backbone(options)
    source = options.data if data is None or (resume and options.data) else data
    growth = grow(options, source, progress) if options.from_run else None
    dataset = growth.dataset if growth is not None else _load(source, options, progress)
    check_groups(dataset, options.group_by)
    if describe:
        log_data(dataset, progress)
    unfreeze, validation = _plan(options, network, dataset, progress)
    check_counts(dataset, validation=validation)
    clock.lap("data")
    if folder is None:
        folder = Path(options.out) if options.out is not None else new_folder(RUNS, f"{network.name}-{dataset.name}")
    with claim_folder(folder, resume=resume) as scratch:
        write_toml(options, scratch / "run.toml", leave_out=("out",))
        weights = resolve(network, options.weights, offline=options.offline, seed=options.seed, progress=progress)
        if growth is not None and weights.sha256 != growth.run.manifest["weights"]["sha256"]:
            progress.warn(f"other weights than those of {growth.run.name}: the features of all photos are new")
        _log_network(network, weights, progress)
        clock.lap("weights")
        setup = Setup(
            options, network, weights, scratch, unfreeze, validation, started=clock.started, progress=progress
        )
        with _resume_hint(scratch, folder, progress):
            if trains_from_scratch(options, network):
                trained = _train_from_scratch(setup, dataset, clock)
            else:
                setup, trained = _train_from_head(setup, dataset, clock)
        _write_run(setup, trained, clock, command, growth=growth)
    return load_run(folder), trained


@dataclass(frozen=True)
class Trained:
    """What goes into the run folder. `fingerprints` are the images' own sha256, in the order of the data set.

    `learning_curve` is why there is none where that is worth saying.
    """

    dataset: Dataset
    fingerprints: tuple[bytes, ...]
    split: Split
    trunk: Trunk
    predictions: Predictions
    precision: str
    head_fit: HeadFit | None = None
    tuning: TuningResult | None = None
    learning_curve: LearningCurve | str = ""


def _train_from_head(setup: Setup, dataset: Dataset, clock: "Clock") -> tuple[Setup, Trained]:
    """The trained run, and the setup with the input size that was chosen."""
    options, weights, progress = setup.options, setup.weights, setup.progress
    (features, speed, precision), side = _extract(setup, dataset, clock), setup.backbone.recipe.image_size
    dataset = _without_unreadable(dataset, features.failures, progress)
    images, fingerprints, origin = _split(setup, dataset, features.fingerprints)
    _warn_of_problems(setup, dataset, features, images)
    of_train, labels = features.values[images.train], dataset.labels[images.train]
    about: dict[str, Any] = {"fingerprints": [fingerprints[at] for at in images.train], "seed": options.seed}
    about["imagenet"] = imagenet_kernel(setup.backbone, weights)
    fitted, balance = _fit_head(setup, dataset, images.train, of_train, **about)
    clock.lap("head")
    if options.image_size == "auto":
        computed, of_all = (features, fitted), about | {"class_weights": balance.weights}
        setup, features, fitted = _choose_size(setup, dataset, images.train, computed=computed, about=of_all)
        of_train = features.values[images.train]
        clock.lap("image size")
    held_out = np.where(fitted.judged[:, None], fitted.head.calibrated(fitted.logits), np.float32(np.nan))
    unknown = fit_unknown_of(dataset, images.train, of_train, probabilities=held_out, head=fitted.head, options=options)
    predictions = predict_held_out(fitted, features.values, dataset, images, unknown)
    _log_head(fitted, predictions, progress)
    inputs = TuningInputs(
        dataset,
        fingerprints,
        images,
        origin,
        head=fitted.head,
        balance=balance,
        features=features.values,
        predictions=predictions,
        speed=speed * (side / setup.backbone.recipe.image_size) ** 2,
    )
    curve: LearningCurve | str = ""
    tuning = tune_backbone(setup, inputs)
    if tuning is None:
        curve = _learning_curve(of_train, labels, fitted, predictions, **about)
    clock.lap("learning curve" if tuning is None else "fine-tuning")
    kept = tuning if tuning is not None and tuning.kept else None
    return setup, Trained(
        dataset,
        features.fingerprints,
        images,
        kept.trunk if kept is not None else cached_trunk(setup.backbone, weights, check=False),  # checked
        predictions=predictions if kept is None else kept.predictions,
        precision=precision,
        head_fit=fitted,
        tuning=tuning,
        learning_curve=curve,
    )


def _warn_of_problems(setup: Setup, dataset: Dataset, features: Features, images: Split) -> None:
    if setup.weights.choice != "none":  # features of a random network say nothing about the images
        warning = quick_check(dataset, features.values, images, setup.options.data)
        if warning:
            setup.progress.warn(warning)


def _fit_head(
    setup: Setup, dataset: Dataset, train: Indices, features: NDArray[np.float32], **about: Any
) -> tuple[HeadFit, Balance]:
    """A head fitted to the features of the images `train`, and how uneven classes are balanced."""
    options, progress = setup.options, setup.progress
    balance = balance_classes(dataset, train, options, progress)
    labels, classes = dataset.labels[train], len(dataset.class_names)
    about |= {"kind": options.head, "class_weights": balance.weights}
    return fit_head(features, labels, classes, progress=progress, **about), balance


def _extract(setup: Setup, dataset: Dataset, clock: "Clock") -> tuple[Features, float, str]:
    """The features of all images, the speed in images per second if a budget needs it, and the precision."""
    options, recipe = setup.options, setup.backbone.recipe
    features, engine = _compute(setup, dataset, clock)
    _log_features(features, engine, setup.progress)
    if options.budget is None or setup.unfreeze == "none":
        return features, math.inf, engine.precision
    sample = [dataset.images[at] for at in features.kept[:_TIMED]]
    extract(sample[:1], engine, recipe, None)  # the first time takes longer
    return features, len(sample) / extract(sample, engine, recipe, None).seconds, engine.precision


def _compute(setup: Setup, dataset: Dataset, clock: "Clock | None" = None) -> tuple[Features, Engine]:
    options, progress, clock = setup.options, setup.progress, clock or Clock()
    engine = open_engine(
        setup.backbone,
        setup.weights,
        engine=options.engine,
        precision=options.precision,
        threads=options.threads,
        progress=progress,
    )
    clock.lap("network")
    with usable_cache(progress) if options.cache else nullcontext() as cache:
        features = extract(dataset.images, engine, setup.backbone.recipe, cache, progress=progress)
    clock.lap("features")
    return features, engine


def _train_from_scratch(setup: Setup, dataset: Dataset, clock: "Clock") -> Trained:
    scanned = scan(dataset.images, setup.backbone.recipe, progress=setup.progress)
    dataset = _without_unreadable(dataset, scanned.failures, setup.progress)
    images, fingerprints, origin = _split(setup, dataset, scanned.fingerprints)
    clock.lap("reading")
    head = random_head(setup.backbone.features, len(dataset.class_names), setup.options.seed)
    balance = balance_classes(dataset, images.train, setup.options, setup.progress)
    tuning = train_from_scratch(setup, TuningInputs(dataset, fingerprints, images, origin, head=head, balance=balance))
    clock.lap("training")
    own, predictions, precision = scanned.fingerprints, tuning.predictions, setup.options.precision
    return Trained(dataset, own, images, tuning.trunk, predictions=predictions, precision=precision, tuning=tuning)


def _plan(
    options: FinetuneOptions, network: Backbone, dataset: Dataset, progress: Progress
) -> tuple[str, float | None]:
    """What of the backbone is trained, and the fraction of images to hold out: none where heads alone are judged."""
    unfreeze = options.unfreeze
    if trains_from_scratch(options, network):
        unfreeze = "all"
    elif unfreeze == "auto":
        images, classes = int((dataset.labels >= 0).sum()), len(dataset.class_names)
        unfreeze = unfreeze_rule(images, classes, gpu=has_gpu())
        progress.log("fine-tuning", f"auto: {unfreeze} of the backbone, for {count(images, 'image')}")
    if options.val is not None or unfreeze == "none":
        return unfreeze, options.val
    if "validation" not in dataset.parts:
        progress.log(
            "", f"{percent(HELD_OUT_TO_TUNE, 0)} of the images are held out to judge the trained network (--val)"
        )
    return unfreeze, HELD_OUT_TO_TUNE


def _stored(folder: Path, *, budget: str | None) -> FinetuneOptions:
    """The options that an interrupted run was started with, but for its time."""
    return FinetuneOptions(**read_options(partial_folder(folder) / "run.toml") | {"out": str(folder), "budget": budget})


def _with_data(options: FinetuneOptions, data: "Data | None") -> FinetuneOptions:
    """The options with the data set, and numbers as the texts that are recorded."""
    plain: dict[str, Any] = {
        name: str(value)
        for name in ("weights", "out", "lr", "group_by")
        if (value := getattr(options, name)) is not None
    }
    if options.from_run is not None:
        plain["from_run"] = str(find_run(options.from_run))
    if data is not None and not options.data:
        plain["data"] = "" if is_in_memory(data) else str(data)
    return replace(options, **plain)


def _load(source: Data, options: FinetuneOptions, progress: Progress) -> Dataset:
    dataset = load(source, download=options.download, offline=options.offline, progress=progress)
    return dataset if dataset.groups else grouped(dataset, source, options.group_by)


def _backbone(options: FinetuneOptions) -> Backbone:
    network = backbone(options.backbone)
    if options.image_size == "auto" and options.weights == "none":
        raise UsageError("--image-size auto compares what pretrained weights see: give --weights none with pixels")
    return _at_size(network, options.side or network.recipe.image_size)


def _at_size(network: Backbone, size: int) -> Backbone:
    return replace(network, recipe=replace(network.recipe, image_size=size))


def _choose_size(
    setup: Setup, dataset: Dataset, train: Indices, *, computed: tuple[Features, HeadFit], about: Mapping[str, Any]
) -> tuple[Setup, Features, HeadFit]:
    """The setup, features and head of the input size whose head has the lowest cross-validated log-loss.

    At most half of a budget is spent, and nothing on images too few to choose or too many to be computed three times.
    """
    (features, fitted), labels = computed, dataset.labels[train]
    progress, side = setup.progress, setup.backbone.recipe.image_size
    if fitted.judged.sum() < LEAST_TO_SIZE or len(dataset.images) > MOST_TO_SIZE:
        limits = f"{LEAST_TO_SIZE} cross-validated images, at most {MOST_TO_SIZE:,} in all"
        progress.log("image size", f"auto: {side} pixels; choosing takes {limits}")
        return setup, features, fitted
    ends = math.inf if setup.options.budget is None else setup.started + seconds(setup.options.budget) / 2
    tried, spent, note = {side: (setup, features, fitted)}, features.seconds, ""
    for size in input_sizes(side)[1:]:
        started = time.monotonic()
        if started + spent * 2 > ends:
            note = f"; {size} left out for --budget"
            break
        sized = replace(setup, backbone=_at_size(setup.backbone, size))
        larger, _ = _compute(sized, dataset)
        head = fit_head(
            larger.values[train], labels, len(dataset.class_names), kind=setup.options.head, progress=progress, **about
        )
        tried[size], spent = (sized, larger, head), time.monotonic() - started
    judged = {size: (head.logits[head.judged], labels[head.judged]) for size, (_, _, head) in tried.items()}
    losses = {size: log_loss(*each) for size, each in judged.items()}
    best = min(losses, key=losses.__getitem__)
    accuracy = {size: percent(np.mean(logits.argmax(axis=1) == truth)) for size, (logits, truth) in judged.items()}
    each = ", ".join(f"{size}: {losses[size]:.3f} ({accuracy[size]})" for size in tried)
    progress.log("image size", f"auto: {best} pixels; log-loss (accuracy) of each, cross-validated: {each}{note}")
    return tried[best]


@contextmanager
def _resume_hint(scratch: Path, folder: Path, progress: Progress) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if (scratch / CHECKPOINT).exists():
            command = f"tl finetune --resume --out {shlex.quote(str(folder))}"
            progress.warn(f"a checkpoint was kept: continue with `{command}`")
        raise


def _without_unreadable(dataset: Dataset, failures: Mapping[int, str], progress: Progress) -> Dataset:
    """The data set without the images that could not be read, which are logged. Raises DataError if none is left."""
    if not failures:
        return dataset
    if len(failures) == len(dataset.images):
        raise DataError(
            f"none of the {len(failures)} images of {dataset.name} can be read "
            f"({dataset.names[0]}: {failures[0]}); check the files"
        )
    log_skipped({dataset.names[index]: reason for index, reason in failures.items()}, progress)
    readable = dataset.without(failures)
    for note in readable.notes[len(dataset.notes) :]:
        progress.warn(note)
    return readable


def _split(
    setup: Setup, dataset: Dataset, fingerprints: tuple[bytes, ...]
) -> tuple[Split, tuple[bytes, ...], dict[str, Any]]:
    """The split, a fingerprint that near-duplicates and the images of a group share, which are on one side, and what a
    checkpoint may be continued with. What recognises copies of the training images later is written.
    """
    options, progress = setup.options, setup.progress
    with usable_cache(progress) if options.cache else nullcontext() as cache:
        stats = measure_images(dataset.images, fingerprints=fingerprints, cache=cache, progress=progress)
    decided = Counter(kind for remarks in stats.remarks for kind in dict(remarks))
    for number, counted in enumerate(count_remarks(decided)):
        progress.log("" if number else "decoded", counted)
    near = find_near_pairs(stats)
    groups = find_originals(stats, dataset.labels, near)
    usual = usual_likeness(stats, near, groups)
    images = split(dataset, fingerprints, originals=groups.fingerprints, validation=setup.validation, seed=options.seed)
    write_training_images(setup.folder, stats, images.train.tolist(), usual)
    counts = ", ".join(f"{len(getattr(images, name)):,} {name}" for name in PARTS if len(getattr(images, name)))
    distinct = len({groups.fingerprints[at] for at in images.train})
    folds = 0 if len(images.validation) else head_rule(distinct, len(dataset.class_names)).folds
    how = ", to be cross-validated" if folds else ""
    progress.log("split", f"{counts}{how} (seed {options.seed})")
    for note in (*images.notes, *groups.notes):
        progress.log("", note)
    if dataset.groups:
        number, none = len(set(dataset.groups) - {""}), dataset.groups.count("")
        without = f"; {count(none, 'image')} in none" if none else ""
        by = f" (by {options.group_by})" if options.group_by else ""
        progress.log("groups", f"{number:,}{by}, each on one side{without}")
    origin = checkpoint_origin(setup, split_rows(dataset, images, fingerprints))
    return images, tuple(unite(groups.fingerprints, dataset.groups)), origin


def _write_run(setup: Setup, trained: Trained, clock: "Clock", command: str, *, growth: Growth | None) -> None:
    folder, dataset, predictions, tuning = setup.folder, trained.dataset, trained.predictions, trained.tuning
    write_split(folder, dataset, trained.split, trained.fingerprints)
    if trained.head_fit is not None:
        write_head_trials(folder, trained.head_fit.trials)
    write_predictions(folder, predictions)
    write_cross_validation(folder, predictions, list(trained.fingerprints))
    more: dict[str, Any] = {}
    if tuning is not None:
        write_history(folder, tuning.tuned.history, tuning.tuned.range_test)
        write_gradients(folder, tuning.tuned.gradients)
        more["fine-tuning"] = tuning.as_dict()
    if isinstance(trained.learning_curve, LearningCurve):
        more["learning_curve"] = trained.learning_curve.as_dict(dataset.class_names)
    elif trained.learning_curve:
        more["no_learning_curve"] = trained.learning_curve
    more["seconds"] = clock.laps()
    write_metrics(folder, predictions.as_dict() | more)
    manifest = _manifest(setup, trained, command) | {"metrics": predictions.summary() | more}
    if growth is not None:
        manifest["from"] = growth.as_dict() | _changes(setup, trained, growth)
    tuned = tuning.tuned.weights if tuning is not None and tuning.kept else None
    write_run(folder, predictions.head, predictions.unknown, trained.trunk, manifest=manifest, tuned=tuned)
    if tuning is not None:
        tuning.clean_up(folder)


def _changes(setup: Setup, trained: Trained, growth: Growth) -> dict[str, Any]:
    """Write and log which answers of the run that was grown change, and return that for the manifest."""
    changes = compare_answers(growth.run, trained.predictions, trained.fingerprints)
    if changes is None:
        setup.progress.log("changes", f"no photo was predicted without training on it by {growth.run.name} and now")
        return {}
    write_changes(setup.folder, changes)
    what, how_much = changes.sentences
    setup.progress.log("changes", what)
    setup.progress.log("", how_much)
    return changes.as_dict()


def _manifest(setup: Setup, trained: Trained, command: str) -> dict[str, Any]:
    options, weights, fitted, predictions = setup.options, setup.weights, trained.head_fit, trained.predictions
    network = setup.backbone
    if trained.tuning is not None:  # the image size decides how many a network has that flattens its image
        network = replace(network, parameters=trained.tuning.tuned.parameters)
    head: dict[str, Any] = {"strength": None, "folds": None}
    if fitted is not None:
        head = {"kind": options.head, "description": fitted.sentence, "shrinkage": fitted.shrinkage}
        head |= {"strength": fitted.l2, "folds": fitted.folds}
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(trained.dataset.class_names),
        "backbone": asdict(network),
        "weights": {"choice": weights.choice, "source": weights.source, "sha256": weights.sha256, "seed": weights.seed},
        "engine": {"name": options.engine, "precision": trained.precision},
        "data": describe_data(trained.dataset, trained.split),
        "head": head | {"temperature": predictions.head.temperature, "fitted_on": predictions.fitted_on},
        "options": {name: utf8(value) for name, value in asdict(options).items()},
        "versions": {"tl": __version__, **{name: version(name) for name in _LIBRARIES}},
        "command": [utf8(word) for word in shlex.split(command)],
    }


class Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.started = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def laps(self) -> dict[str, float]:
        """The phases so far, and the total."""
        return self._laps | {"total": round(time.monotonic() - self.started, 3)}


def log_data(dataset: Dataset, progress: Progress) -> None:
    """Log how many images of which classes there are, and which files were skipped."""
    per_class = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    if len(per_class) <= _MOST_CLASSES:
        each = ", ".join(f"{name} {images:,}" for name, images in zip(dataset.class_names, per_class, strict=True))
    else:
        each = f"{spread(per_class)} each"
    images, classes = count(len(dataset.images), "image"), count(len(per_class), "class")
    progress.log("data", f"{dataset.name}: {images}, {classes} ({each})")
    for note in dataset.notes:
        progress.log("", note)
    doubt = nesting_warning(dataset)
    if doubt:
        progress.warn(doubt)
    log_skipped({item.path: item.reason for item in dataset.skipped}, progress)


def _log_network(network: Backbone, weights: Weights, progress: Progress) -> None:
    origin = f"{weights.choice} weights ({weights.source}, sha256 {weights.sha256[:12]})"
    origin = f"random weights (seed {weights.seed})" if weights.choice == "none" else origin
    progress.log("network", f"{network.name}, {origin}")


def log_skipped(reasons: Mapping[str, str], progress: Progress) -> None:
    """Log the files that cannot be used, and why."""
    for name, reason in list(reasons.items())[:_MOST_NAMED]:
        progress.warn(f"skipped {name}: {reason}")
    if len(reasons) > _MOST_NAMED:
        progress.warn(f"skipped {len(reasons) - _MOST_NAMED:,} more; the run's skipped.csv lists all")


def _log_features(features: Features, engine: Engine, progress: Progress) -> None:
    computed = len(features.kept) - features.cached
    rate = f", {computed / features.seconds:.0f} images/s" if computed else ""
    cached = f"{features.cached:,} from the cache, " if features.cached else ""
    seconds = f"{computed:,} computed in {features.seconds:.1f} s{rate}"
    progress.log("features", f"{cached}{seconds} ({engine.name} {engine.precision})")


def _log_head(fitted: HeadFit, predictions: Predictions, progress: Progress) -> None:
    progress.log("head", fitted.sentence)
    unjudged = int((~fitted.judged).sum())
    if unjudged and not fitted.folds and not predictions.metrics:
        progress.warn("one image or group a class says nothing about the accuracy: give others to `tl evaluate`")
    elif unjudged and fitted.folds:
        progress.warn(f"{count(unjudged, 'image')} of classes with one image or group: trained on, but not judged")
    if predictions.unknown is not None:
        progress.log("unknown", predictions.unknown.sentence)


def _learning_curve(
    features: NDArray[np.float32], labels: NDArray[np.int64], fitted: HeadFit, predictions: Predictions, **about: Any
) -> LearningCurve | str:
    judged = predictions.metrics.get("validation")
    try:
        return learning_curve(features, labels, fitted, weight=1.0 if judged is None else judged.weight, **about)
    except DataError as error:
        return str(error)


def draw_augmented(data: str | Path, options: FinetuneOptions, progress: Progress | None = None) -> "Image":
    """Draw a few images of the data set as training with these options would augment them; no network is needed."""
    from tl.views.pictures.augmented import draw_samples

    options = _with_data(options, data)
    check(options)
    dataset = load(options.data, download=options.download, offline=options.offline, progress=progress or Progress())
    log_data(dataset, progress or Progress())
    return draw_samples(dataset, options, _backbone(options).recipe)
