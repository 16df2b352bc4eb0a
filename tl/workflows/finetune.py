"""A data set becomes a run: the composer of data, features, head, fine-tuning, evaluation and bundle."""

import datetime
import importlib
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tl import __version__
from tl.cache import usable_cache
from tl.data.image_stats import measure_images
from tl.data.load import Dataset, load
from tl.data.near_duplicates import originals
from tl.data.splits import Split, check_counts, split
from tl.engines import open_engine
from tl.engines.engine import Engine
from tl.engines.trunk import Trunk, prepare
from tl.errors import DataError
from tl.evaluation.predictions import Predictions, held_out_images, predict
from tl.features.extract import Features, extract, scan
from tl.learning.head import Fit, fit
from tl.networks.backbones import Backbone, backbone
from tl.networks.weights import Weights, pretrained, resolve
from tl.progress import Progress
from tl.runs import options, records
from tl.runs.folder import CHECKPOINT, RUNS, claim_folder, find_interrupted, is_taken, partial_folder
from tl.runs.options import Options
from tl.runs.records import utf8
from tl.runs.run import Run, describe_backbone, load_run, write_run
from tl.workflows.data_check import quick_check
from tl.workflows.finetune_backbone import Attempt, Outcome, attempt, first_head, from_scratch, measure
from tl.workflows.finetune_backbone import wanted as scratch_wanted
from tl.workflows.finetune_log import tell_confidence, tell_data, tell_doubts, tell_features, tell_left_out, tell_split

_LIBRARIES = ("keras", "numpy", "openvino", "scipy", "tensorflow")


@dataclass(frozen=True)
class Learned:
    """All that goes into the run folder: what was learned, of which data, and how good it is, by part."""

    dataset: Dataset
    fingerprints: Sequence[bytes]
    split: Split
    fit: Fit | None
    predictions: Predictions
    trunk: Trunk
    outcome: Outcome | None
    precision: str


def finetune(given: Options, *, progress: Progress | None = None, resume: bool = False) -> Run:
    """Train a classifier on a data set and write its run; with `resume`, go on with one that was interrupted.

    Raises the TLError of whatever stands in the way; then no run folder is left behind, but what a killed training
    needs to go on.
    """
    progress = progress or Progress()
    clock = Clock()
    threading.Thread(target=importlib.import_module, args=("scipy.optimize",)).start()  # for the head, half a second
    folder = find_interrupted(given.out) if resume else None
    if folder is not None:
        given = _stored(given, folder)
    given.check()
    network = _network(given)
    whole = scratch_wanted(given, not pretrained(network))
    dataset = load(given.data, download=given.download, offline=given.offline, progress=progress)
    tell_data(dataset, progress)
    check_counts(dataset, validation=given.val)
    clock.lap("data")
    folder = folder or _folder(given, network, dataset)
    with claim_folder(folder, resume=resume) as scratch:
        options.write(given, scratch / "run.toml")
        weights = resolve(network, given.weights, offline=given.offline, seed=given.seed, progress=progress)
        progress.log(
            "network", f"{network.name}, {weights.choice} weights ({weights.source}, sha256 {weights.sha256[:12]})"
        )
        clock.lap("weights")
        with _resumable(scratch, folder, progress):
            learn = _learn_from_scratch if whole else _learn
            learned = learn(given, dataset, network, weights, scratch, clock, progress)
        _write(scratch, given, network, weights, learned, clock)
    return load_run(folder)


@contextmanager
def _resumable(scratch: Path, folder: Path, progress: Progress) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if (scratch / CHECKPOINT).exists():
            progress.warn(
                f"what was trained so far is kept: go on with `tl finetune --resume --out {shlex.quote(str(folder))}`"
            )
        raise


def _stored(given: Options, folder: Path) -> Options:
    """The options that an interrupted run was started with; the time it may take is that of this call."""
    found = options.read(partial_folder(folder) / "run.toml")
    return replace(Options(**found), out=str(folder), budget=given.budget)


def _network(given: Options) -> Backbone:
    found = backbone(given.backbone)
    if given.image_size is None:
        return found
    return replace(found, recipe=replace(found.recipe, image_size=given.image_size))


def _learn(
    given: Options,
    dataset: Dataset,
    network: Backbone,
    weights: Weights,
    scratch: Path,
    clock: "Clock",
    progress: Progress,
) -> Learned:
    engine = open_engine(
        network, weights, engine=given.engine, precision=given.precision, threads=given.threads, progress=progress
    )
    clock.lap("network")
    features = _features(given, dataset, network, engine, progress)
    clock.lap("features")
    tell_features(features, engine, progress)
    precision = engine.precision
    del engine  # and with it the compiled network, whose memory the head can use
    dataset = _usable(dataset, features.failures, progress)
    parts, counted = _split(given, dataset, features, progress)
    if weights.choice != "none":  # to random weights all photos look alike
        tell_doubts(quick_check(dataset, features.values, parts, given.data), progress)
    fitted = fit(
        features.values[parts.train],
        dataset.labels[parts.train],
        len(dataset.class_names),
        fingerprints=[counted.fingerprints[at] for at in parts.train],
        seed=given.seed,
        progress=progress,
    )
    clock.lap("head")
    progress.log(
        "head",
        f"softmax regression, L2 {fitted.strength:.2g} of {len(fitted.trials)} tried on held-out training photos",
    )
    unknown = measure(features.values[parts.train], dataset, parts.train, given)
    indices, names = held_out_images(parts)
    predictions = predict(fitted.head, features.values[indices], dataset, indices, parts=names, unknown=unknown)
    tell_confidence(predictions, progress)
    job = Attempt(given, dataset, counted, parts, fitted.head, predictions, network, weights)
    outcome = attempt(job, scratch, clock.started, progress)
    if outcome is not None:
        clock.lap("fine-tuning")
    if outcome is not None and outcome.kept:
        return Learned(
            dataset, features.fingerprints, parts, fitted, outcome.predictions, outcome.trunk, outcome, precision
        )
    trunk = prepare(network, weights, check=False)  # checked when the engine was opened
    return Learned(dataset, features.fingerprints, parts, fitted, predictions, trunk, outcome, precision)


def _learn_from_scratch(
    given: Options,
    dataset: Dataset,
    network: Backbone,
    weights: Weights,
    scratch: Path,
    clock: "Clock",
    progress: Progress,
) -> Learned:
    found = scan(dataset.images, network.recipe, progress=progress)
    dataset = _usable(dataset, found.failures, progress)
    parts, counted = _split(given, dataset, found, progress)
    clock.lap("reading")
    head = first_head(network.features, len(dataset.class_names), given.seed)
    job = Attempt(given, dataset, counted, parts, head, None, network, weights)
    outcome = from_scratch(job, scratch, clock.started, progress)
    clock.lap("training")
    return Learned(
        dataset, found.fingerprints, parts, None, outcome.predictions, outcome.trunk, outcome, given.precision
    )


def _split(given: Options, dataset: Dataset, features: Features, progress: Progress) -> tuple[Split, Features]:
    """The split, and the features under the content hash that each photo counts as: copies of one stay together."""
    with usable_cache(progress) if given.cache else nullcontext() as cache:
        looks = measure_images(dataset.images, known=features.fingerprints, cache=cache, progress=progress)
    found = originals(looks, dataset.labels)
    own = features.fingerprints
    parts = split(dataset, own, originals=found.fingerprints, validation=given.val, seed=given.seed)
    tell_split(parts, given.seed, progress, found.notes)
    return parts, replace(features, fingerprints=found.fingerprints)


def _features(given: Options, dataset: Dataset, network: Backbone, engine: Engine, progress: Progress) -> Features:
    if not given.cache:
        return extract(dataset.images, engine, network.recipe, None, progress=progress)
    with usable_cache(progress) as cache:
        return extract(dataset.images, engine, network.recipe, cache, progress=progress)


def _usable(dataset: Dataset, failures: dict[int, str], progress: Progress) -> Dataset:
    if not failures:
        return dataset
    if len(failures) == len(dataset.images):
        name, reason = dataset.names[0], failures[0]
        raise DataError(
            f"none of the {len(failures)} images of {dataset.name} can be read ({name}: {reason}); check the files"
        )
    tell_left_out({dataset.names[index]: reason for index, reason in failures.items()}, progress)
    return dataset.without(failures)


def _folder(given: Options, network: Backbone, dataset: Dataset) -> Path:
    if given.out is not None:
        return Path(given.out)
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{network.name}-{dataset.name}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(RUNS / name for name in names if not is_taken(RUNS / name))


def _write(
    folder: Path,
    given: Options,
    network: Backbone,
    weights: Weights,
    learned: Learned,
    clock: "Clock",
) -> None:
    dataset, parts, outcome = learned.dataset, learned.split, learned.outcome
    records.write_data(folder, dataset, parts, learned.fingerprints)
    if learned.fit is not None:
        records.write_strengths(folder, learned.fit.trials)
    predictions = learned.predictions
    records.write_predictions(folder, predictions)
    more: dict[str, Any] = {}
    if outcome is not None:
        records.write_history(folder, outcome.tuned.history, outcome.tuned.range_test)
        records.write_gradients(folder, outcome.tuned.gradients)
        more["fine-tuning"] = outcome.as_dict()
    more["seconds"] = clock.laps()
    records.write_metrics(folder, predictions.as_dict() | more)
    head = predictions.head
    manifest = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(dataset.class_names),
        "backbone": describe_backbone(network),
        "weights": {"choice": weights.choice, "source": weights.source, "sha256": weights.sha256, "seed": weights.seed},
        "engine": {"name": given.engine, "precision": learned.precision},
        "data": records.about_data(dataset, parts),
        "head": {
            "strength": learned.fit.strength if learned.fit is not None else None,
            "folds": learned.fit.folds if learned.fit is not None else None,
            "temperature": head.temperature,
            "fitted_on": predictions.fitted_on,
        },
        "options": {name: utf8(value) for name, value in asdict(given).items()},
        "metrics": predictions.summary() | more,
        "versions": {"tl": __version__, **{name: version(name) for name in _LIBRARIES}},
        "command": [utf8(word) for word in sys.argv],
    }
    kept = outcome.tuned.weights if outcome is not None and outcome.kept else None
    write_run(folder, head, predictions.unknown, learned.trunk, manifest, tuned=kept)
    if outcome is not None:
        outcome.remove_traces(folder)


class Clock:
    """Seconds of each phase; `started` is a time of `time.monotonic`."""

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
