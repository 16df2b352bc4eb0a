"""A data set becomes a run: the composer of data, features, head, evaluation and bundle."""

import csv
import datetime
import importlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl import __version__
from tl.datasets.sources import Dataset, load
from tl.datasets.splits import Split, split
from tl.engines.engine import Engine, open_engine
from tl.engines.trunks import prepare
from tl.errors import DataError, UsageError
from tl.evaluation.metrics import Evaluation, evaluate
from tl.features.cache import usable_cache
from tl.features.extract import Features, extract
from tl.learning.heads import Fit, fit
from tl.networks.backbones import Backbone, backbone
from tl.networks.weights import Weights, resolve
from tl.reporting import Reporter, Silent
from tl.runs import bundle

_LIBRARIES = ("keras", "numpy", "openvino", "scipy", "tensorflow")
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Options:
    """What a run is made with; each is the command's option of the same name."""

    data: str
    backbone: str = "resnet50"
    weights: str = "imagenet"
    out: str | None = None
    val: float = 0.2
    seed: int = 0
    engine: str = "auto"
    precision: str = "auto"
    cache: bool = True
    offline: bool = False
    download: bool = False


@dataclass(frozen=True)
class _Learned:
    """All that goes into the run folder."""

    dataset: Dataset
    features: Features
    split: Split
    fit: Fit
    scores: dict[str, Evaluation]


def finetune(options: Options, *, report: Reporter | None = None) -> bundle.Run:
    """Train a head on the features of a data set and write the run.

    Raises the TLError of whatever stands in the way; then no run folder is left behind.
    """
    report = report or Silent()
    clock = _Clock()
    threading.Thread(target=importlib.import_module, args=("scipy.optimize",)).start()  # for the head, half a second
    network = backbone(options.backbone)
    if not 0 < options.val < 1:
        raise UsageError(f"--val {options.val:g}: the share held out for validation lies between 0 and 1, such as 0.2")
    if not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed {options.seed}: a seed lies between 0 and {2**32 - 1}")
    dataset = load(options.data, download=options.download, offline=options.offline, report=report)
    _tell_data(dataset, report)
    clock.lap("data")
    with bundle.claimed(_folder(options, network, dataset)) as scratch:
        weights = resolve(network, options.weights, offline=options.offline, seed=options.seed, report=report)
        report.say(
            "network", f"{network.name}, {weights.choice} weights ({weights.source}, sha256 {weights.sha256[:12]})"
        )
        clock.lap("weights")
        engine = open_engine(network, weights, engine=options.engine, precision=options.precision, report=report)
        clock.lap("network")
        learned = _learn(options, dataset, network, engine, clock, report)
        _write(scratch, options, network, weights, engine, learned, clock)
    return bundle.load(_folder_made(options, scratch))


def _learn(
    options: Options, dataset: Dataset, network: Backbone, engine: Engine, clock: "_Clock", report: Reporter
) -> _Learned:
    features = _features(options, dataset, network, engine, report)
    clock.lap("features")
    _tell_features(features, engine, report)
    dataset = _usable(dataset, features.failures, report)
    parts = split(dataset, features.fingerprints, validation=options.val, seed=options.seed)
    _tell_split(parts, options, report)
    fitted = _fitted(dataset, features, parts, options, report)
    clock.lap("head")
    report.say(
        "head",
        f"softmax regression, L2 {fitted.strength:.2g} of {len(fitted.trials)} tried on held-out training photos",
    )
    scores = {
        name: evaluate(fitted.head.probabilities(features.values[indices]), dataset.labels[indices])
        for name, indices in (("validation", parts.validation), ("test", parts.test))
        if len(indices)
    }
    return _Learned(dataset, features, parts, fitted, scores)


def _features(options: Options, dataset: Dataset, network: Backbone, engine: Engine, report: Reporter) -> Features:
    if not options.cache:
        return extract(dataset.pictures, engine, network.recipe, None, report=report)
    with usable_cache(report) as cache:
        return extract(dataset.pictures, engine, network.recipe, cache, report=report)


def _fitted(dataset: Dataset, features: Features, parts: Split, options: Options, report: Reporter) -> Fit:
    return fit(
        features.values[parts.train],
        dataset.labels[parts.train],
        len(dataset.class_names),
        fingerprints=[features.fingerprints[at] for at in parts.train],
        seed=options.seed,
        report=report,
    )


def _usable(dataset: Dataset, failures: dict[int, str], report: Reporter) -> Dataset:
    if not failures:
        return dataset
    if len(failures) == len(dataset.pictures):
        name, reason = dataset.names[0], failures[0]
        raise DataError(
            f"none of the {len(failures)} images of {dataset.name} can be read ({name}: {reason}); check the files"
        )
    for index in list(failures)[:5]:
        report.warn(f"left out {dataset.names[index]}: {failures[index]}")
    if len(failures) > 5:
        report.warn(f"left out {len(failures) - 5} more; all are listed in the run's skipped.csv")
    return dataset.without(failures)


def _folder(options: Options, network: Backbone, dataset: Dataset) -> Path:
    if options.out is not None:
        return Path(options.out)
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{network.name}-{dataset.name}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(bundle.RUNS / name for name in names if not bundle.taken(bundle.RUNS / name))


def _folder_made(options: Options, scratch: Path) -> Path:
    return Path(options.out) if options.out is not None else scratch.parent / scratch.name[1 : -len(".partial")]


def _write(
    folder: Path,
    options: Options,
    network: Backbone,
    weights: Weights,
    engine: Engine,
    learned: _Learned,
    clock: "_Clock",
) -> None:
    trunk = prepare(network, weights, check=False)  # checked when the engine was opened
    dataset, scores = learned.dataset, learned.scores
    _write_tables(folder, learned)
    seconds = clock.laps()
    metrics = {name: score.as_dict() for name, score in scores.items()} | {"seconds": seconds}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    manifest = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(dataset.class_names),
        "backbone": bundle.describe(network),
        "weights": {"choice": weights.choice, "source": weights.source, "sha256": weights.sha256, "seed": weights.seed},
        "engine": {"name": engine.name, "precision": engine.precision},
        "data": _about(dataset, learned.split),
        "head": {
            "strength": learned.fit.strength,
            "folds": learned.fit.folds,
            "temperature": learned.fit.head.temperature,
        },
        "options": {name: _utf8(value) for name, value in asdict(options).items()},
        "metrics": metrics,
        "versions": {"tl": __version__, **{name: version(name) for name in _LIBRARIES}},
        "command": [_utf8(word) for word in sys.argv],
    }
    bundle.write(folder, learned.fit.head, trunk, manifest)


def _about(dataset: Dataset, parts: Split) -> dict[str, Any]:
    counts = Counter(int(label) for label in dataset.labels)
    return {
        "name": _utf8(dataset.name),
        "images": len(dataset.pictures),
        "per_class": {name: counts[at] for at, name in enumerate(dataset.class_names)},
        "split": {name: len(getattr(parts, name)) for name in _PARTS},
        "seed": parts.seed,
        "skipped": len(dataset.skipped),
        "notes": [*dataset.notes, *parts.notes],
    }


def _write_tables(folder: Path, learned: _Learned) -> None:
    dataset, parts, features = learned.dataset, learned.split, learned.features
    part_of = {int(at): name for name in _PARTS for at in getattr(parts, name)}
    names = dataset.class_names
    _table(
        folder / "split.csv",
        ("path", "label", "split", "sha256"),
        (
            (dataset.names[at], names[dataset.labels[at]], part_of.get(at, ""), features.fingerprints[at].hex())
            for at in range(len(dataset.names))
        ),
    )
    _table(folder / "skipped.csv", ("path", "reason"), ((item.path, item.reason) for item in dataset.skipped))
    trials = ((trial.strength, trial.log_loss, trial.top1) for trial in learned.fit.trials)
    _table(folder / "history.csv", ("strength", "held_out_log_loss", "held_out_top1"), trials)
    scored = [at for at, name in sorted(part_of.items()) if name != "train"]
    probabilities = learned.fit.head.probabilities(features.values[scored])
    _table(
        folder / "predictions.csv",
        ("path", "split", "label", "predicted", "confidence", "confidence_of_label"),
        (_predicted(dataset, at, part_of[at], row) for at, row in zip(scored, probabilities, strict=True)),
    )


def _predicted(dataset: Dataset, at: int, part: str, row: NDArray[np.float32]) -> tuple[object, ...]:
    best, truth = int(row.argmax()), int(dataset.labels[at])
    names = dataset.class_names
    return dataset.names[at], part, names[truth], names[best], f"{row[best]:.6f}", f"{row[truth]:.6f}"


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([_utf8(cell) for cell in row] for row in rows)


def _utf8(value: Any) -> Any:
    """Text that can be written: bytes of a file name that are no UTF-8 become question marks."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _tell_data(dataset: Dataset, report: Reporter) -> None:
    counts = Counter(int(label) for label in dataset.labels)
    per_class = [f"{name} {counts[at]}" for at, name in enumerate(dataset.class_names)]
    shown = ", ".join(per_class) if len(per_class) <= 6 else f"{min(counts.values())} to {max(counts.values())} each"
    report.say("data", f"{dataset.name}: {len(dataset.pictures):,} images, {len(per_class)} classes ({shown})")
    for note in dataset.notes:
        report.say("", note)
    for item in dataset.skipped[:5]:
        report.warn(f"left out {item.path}: {item.reason}")
    if len(dataset.skipped) > 5:
        report.warn(f"left out {len(dataset.skipped) - 5} more; all are listed in the run's skipped.csv")


def _tell_features(features: Features, engine: Engine, report: Reporter) -> None:
    computed = len(features.kept) - features.cached
    rate = f", {computed / features.seconds:.0f} images/s" if computed else ""
    kept = f"{features.cached:,} from the cache, " if features.cached else ""
    report.say(
        "features", f"{kept}{computed:,} computed in {features.seconds:.1f} s{rate} ({engine.name} {engine.precision})"
    )


def _tell_split(parts: Split, options: Options, report: Reporter) -> None:
    counts = ", ".join(f"{len(getattr(parts, name)):,} {name}" for name in _PARTS if len(getattr(parts, name)))
    report.say("split", f"{counts} (seed {options.seed})")
    for note in parts.notes:
        report.say("", note)


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def laps(self) -> dict[str, float]:
        return self._laps | {"total": round(time.monotonic() - self._started, 3)}
