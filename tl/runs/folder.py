"""The run folder: its name, its lock, and the tables in it.

A run is written under a hidden name and renamed at the end, so that an incomplete one is never seen. In a folder called
`runs`, the link `latest` points to the newest complete run.
"""

import csv
import datetime
import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import PARTS, Dataset
from tl.errors import RunError, StorageError
from tl.files import locked
from tl.text import count

if TYPE_CHECKING:  # prediction needs none of them
    from tl.data.splits import Split
    from tl.evaluation.predictions import Predictions
    from tl.learning.head_fit import Trial
    from tl.learning.loop import Epoch, RangeTest

Numbers = NDArray[np.float64]

RUNS = Path("runs")
CHECKPOINT = "checkpoint.npz"
CROSS_VALIDATION = "cross_validation.npz"
TRAINING_IMAGES = "training_images.npz"

_MAX_TABLE = 10_000_000  # bytes: a hundred thousand epochs
_MAX_STEPS = 2000  # of a schedule, more than a picture shows
_UNFROZEN = {"last": "the last stage", "half": "the upper half", "all": "all"}
HEAD_COLUMNS = ("head", "log_loss", "accuracy")
_EPOCH_COLUMNS = ("epoch", "step", "learning_rate", "loss", "held_out_log_loss", "held_out_top1", "seconds", "top1")
_PREDICTION_COLUMNS = (
    *("path", "split", "label", "predicted", "confidence", "confidence_of_label"),
    *("second", "confidence_of_second", "unknown"),
)


@contextmanager
def claim_folder(folder: Path, *, resume: bool = False, latest: bool = True, overwrite: bool = False) -> Iterator[Path]:
    """A scratch folder that becomes `folder` when the block succeeds and is removed when it fails.

    A training checkpoint in it keeps it for another call with `resume`. With `latest` it becomes the newest run. Raises
    RunError when `folder` exists, unless it is to be replaced with `overwrite`, or another process writes it,
    StorageError when nothing can be written there.
    """
    scratch, lock = partial_folder(folder), lock_file(folder)
    with _storage_errors(folder):
        if os.path.lexists(folder) and not overwrite:
            raise RunError(f"{folder} exists already: give another name with --out, or remove it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        busy = RunError(f"{folder} is being written by another process: wait for it, or give another --out")
        with locked(lock, busy=busy, timeout=0):
            try:
                _prepare(scratch, folder, resume)
                yield scratch
                _replace(scratch, folder)
            finally:
                if not (scratch / CHECKPOINT).exists():
                    shutil.rmtree(scratch, ignore_errors=True)
                lock.unlink(missing_ok=True)
    if latest:
        make_newest(folder, folder.parent)


def _replace(scratch: Path, folder: Path) -> None:
    """Rename a folder to one that may exist; what was there goes when the new one is in its place."""
    if not os.path.lexists(folder):
        os.rename(scratch, folder)
        return
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    os.rename(folder, old)
    try:
        os.rename(scratch, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def is_taken(folder: Path) -> bool:
    """Whether a folder exists, is being written, or was interrupted."""
    return folder.exists() or lock_file(folder).exists() or partial_folder(folder).exists()


def new_folder(parent: Path, name: str) -> Path:
    """A free folder in `parent`, named by date, time and `name`."""
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(parent / each for each in names if not is_taken(parent / each))


def partial_folder(folder: Path) -> Path:
    """Where a run is written until it is complete."""
    return folder.parent / f".{folder.name}.partial"


def lock_file(folder: Path) -> Path:
    """The file that is locked while a run is written or removed."""
    return folder.parent / f".{folder.name}.lock"


def make_newest(run: Path, root: Path) -> bool:
    """Make a run the one that commands use by default, and return whether it is: only in a folder called `runs`."""
    if root.name == RUNS.name:
        with suppress(OSError):  # without symbolic links, the manifest written last is the newest run
            point_latest(run, root)
    return root.name == RUNS.name


def point_latest(run: Path, root: Path) -> None:
    """Let `latest` in the folder `root` point to a run in it. Raises OSError."""
    pointer = root / f".latest-{os.getpid()}"
    try:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(run.relative_to(root))
        os.replace(pointer, root / "latest")
    finally:
        pointer.unlink(missing_ok=True)


def find_interrupted(run: str | Path | None = None) -> Path:
    """The folder of an interrupted run that can be resumed: the named one, else the newest in `runs/`.

    Raises RunError when there is none.
    """
    if run is not None:
        for folder in (Path(run), RUNS / run):
            if (partial_folder(folder) / "run.toml").is_file():
                return folder
        raise RunError(f"no interrupted run {str(run)!r} here or in {RUNS}/: start it without --resume")
    interrupted = sorted(RUNS.glob(".*.partial/run.toml"), key=lambda path: path.stat().st_mtime)
    if not interrupted:
        raise RunError(f"no interrupted run in {RUNS.resolve()}: give its --out, or start one without --resume")
    return RUNS / interrupted[-1].parent.name[1 : -len(".partial")]


def find_run(run: str | Path | None) -> Path:
    """The folder of a run: a path, a name in `runs/`, or None for the newest. Raises RunError when there is none."""
    if run is None:
        newest = newest_run(RUNS)
        if newest is None:
            raise RunError(f"no run in {RUNS.resolve()}: train one with `tl finetune DATA`, or give one with --run")
        return newest.resolve()
    places = (Path(run), RUNS / run)
    for folder in places:
        if _exists(folder / "manifest.json", Path.is_file):
            return folder.resolve() if folder.is_symlink() else folder  # `latest` is not the name of the run
    if any(_exists(folder, Path.is_dir) for folder in places):
        raise RunError(f"{run} is not a run: it has no manifest.json; train one with `tl finetune DATA`")
    raise RunError(f"no run {str(run)!r} here or in {RUNS}/: see `tl runs list`, or train one with `tl finetune DATA`")


def damaged_run(folder: Path, reason: str) -> RunError:
    """The error for a run with a damaged file."""
    return RunError(f"{folder} is damaged ({reason}): train it again with `tl finetune`, or copy it whole")


def newest_run(root: Path) -> Path | None:
    """The run that commands use by default: the target of `latest`, else the one written last."""
    latest = root / "latest"
    if latest.is_symlink() and (latest / "manifest.json").is_file():
        return root / os.readlink(latest)
    complete = [path for path in root.glob("[!.]*/manifest.json") if path.is_file()]
    return max(complete, key=lambda path: path.stat().st_mtime).parent if complete else None


def _exists(path: Path, check: Any) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, or has a zero byte
        return bool(check(path))
    return False


def _prepare(scratch: Path, folder: Path, resume: bool) -> None:
    if resume:
        scratch.mkdir(exist_ok=True)
        return
    if (scratch / CHECKPOINT).exists():
        raise RunError(
            f"{folder} was interrupted while training: continue with "
            f"`tl finetune --resume --out {shlex.quote(str(folder))}`, or remove {scratch}"
        )
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # not the disk: the reader of our output is gone
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{folder} cannot be written: {reason}; free some space, or give another --out") from error


def write_split(folder: Path, dataset: Dataset, split: "Split", fingerprints: Sequence[bytes]) -> None:
    """Write split.csv, with the part and the sha256 of each image and any groups, and skipped.csv."""
    from tl.data.splits import split_rows  # prediction needs none of it

    header: tuple[str, ...] = ("path", "label", "split", "sha256")
    rows: list[tuple[str, ...]] = [*split_rows(dataset, split, fingerprints)]
    if dataset.groups:
        header, rows = (*header, "group"), [(*row, group) for row, group in zip(rows, dataset.groups, strict=True)]
    _write_table(folder / "split.csv", header, rows)
    write_skipped(folder, dataset)


def write_skipped(folder: Path, dataset: Dataset) -> None:
    """Write skipped.csv, the files left out and why."""
    _write_table(folder / "skipped.csv", ("path", "reason"), ((item.path, item.reason) for item in dataset.skipped))


def write_head_trials(folder: Path, trials: Iterable["Trial"]) -> None:
    """Write heads.csv, the cross-validated metrics of each candidate for the head."""
    rows = ((trial.name, trial.log_loss, trial.top1) for trial in trials)
    _write_table(folder / "heads.csv", HEAD_COLUMNS, rows)


def write_history(folder: Path, epochs: Sequence["Epoch"], test: "RangeTest | None") -> None:
    """Write history.csv, a row an epoch, and learning_rates.csv, the curve of a learning-rate range test."""
    _write_table(folder / "history.csv", _EPOCH_COLUMNS, (list(vars(epoch).values()) for epoch in epochs))
    if test is not None:
        rows = zip(test.rates, test.losses, strict=True)
        _write_table(folder / "learning_rates.csv", ("learning_rate", "loss"), rows)


def write_gradients(folder: Path, gradients: Sequence[dict[str, float]]) -> None:
    """Write gradients.csv, the norm of each layer's gradient before and after training, where it was measured."""
    if gradients:
        rows = ((layer, *(norms.get(layer, "") for norms in gradients)) for layer in gradients[0])
        _write_table(folder / "gradients.csv", ("layer", "before", "after")[: 1 + len(gradients)], rows)


def write_predictions(folder: Path, predictions: "Predictions") -> None:
    """Write predictions.csv, a row for each image."""
    _write_table(folder / "predictions.csv", _PREDICTION_COLUMNS, _prediction_rows(predictions))


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write metrics.json."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    (folder / "metrics.json").write_text(text, encoding="utf-8", errors="replace")


def describe_data(dataset: Dataset, split: "Split") -> dict[str, Any]:
    """The data set and its split as the manifest has them."""
    counts = Counter(int(label) for label in dataset.labels)
    return {
        "name": utf8(dataset.name),
        "folder": None if dataset.root is None else utf8(str(dataset.root.absolute())),
        "images": len(dataset.images),
        "per_class": {name: counts[label] for label, name in enumerate(dataset.class_names)},
        "split": {name: len(getattr(split, name)) for name in PARTS},
        "seed": split.seed,
        "skipped": len(dataset.skipped),
        "notes": [*dataset.notes, *split.notes],
    }


def utf8(value: Any) -> Any:
    """Text that can be encoded: bytes of a file name that are not UTF-8 become question marks."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _prediction_rows(predictions: "Predictions") -> Iterator[tuple[object, ...]]:
    dataset, names = predictions.dataset, predictions.dataset.class_names
    best_two = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :2]
    for row, (index, part) in enumerate(zip(predictions.indices, predictions.parts, strict=True)):
        (best, second), truth, values = best_two[row], dataset.labels[index], predictions.probabilities[row]
        labels = (names[truth], names[best], f"{values[best]:.6f}", f"{values[truth]:.6f}", names[second])
        yield dataset.names[index], part, *labels, f"{values[second]:.6f}", int(predictions.is_unknown[row])


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as stream:  # names may not be UTF-8
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


@dataclass(frozen=True)
class History:
    """A fine-tuning: the columns of history.csv, a row an epoch, and of learning_rates.csv, the range test.

    `plan` and `verdict` are sentences on what was done and how it ended. `rate` is the full learning rate, reached
    after the fraction `warmup` of the `total` planned steps. Epochs are chosen by the images held out if `monitored`.
    """

    name: str
    epochs: Mapping[str, Numbers]
    test: Mapping[str, Numbers] | None
    plan: str
    verdict: str
    rate: float
    warmup: float
    total: int
    monitored: bool = True

    @property
    def steps(self) -> float:
        """Steps per epoch."""
        return float(self.epochs["step"][0] / self.epochs["epoch"][0])

    @property
    def ends(self) -> Numbers:
        """The number of epochs completed at each row, a fraction where the last one was cut short."""
        return self.epochs["step"] / self.steps

    @property
    def held_out(self) -> bool:
        """Whether images were held out."""
        return bool(np.isfinite(self.epochs["held_out_log_loss"]).any())

    @property
    def best(self) -> int | None:
        """The row with the lowest held-out loss, None where no epoch was chosen by it."""
        return int(np.nanargmin(self.epochs["held_out_log_loss"])) if self.monitored and self.held_out else None

    @property
    def best_epoch(self) -> int:
        """The epoch of that row, 0 for none."""
        return 0 if self.best is None else int(self.epochs["epoch"][self.best])

    def schedule(self) -> tuple[Numbers, Numbers] | None:
        """Epochs and the learning rate at each, step by step; None where the rows follow another schedule."""
        last = self.epochs["step"][-1]
        for total in (self.total, int(last)):  # a budget makes the training shorter
            planned = self._rates(self.epochs["step"] - 1, total)
            if np.allclose(planned, self.epochs["learning_rate"], rtol=1e-6, atol=1e-9 * self.rate):
                steps = np.unique(np.linspace(0, last - 1, _MAX_STEPS).round())
                return (steps + 1) / self.steps, self._rates(steps, total)
        return None

    def _rates(self, steps: Numbers, total: int) -> Numbers:
        from tl.learning.loop import schedule

        return np.array([self.rate * schedule(int(step), total, self.warmup) for step in steps])


def history_of(
    name: str, tuning: Mapping[str, Any], epochs: Sequence["Epoch"], test: "RangeTest | None"
) -> History | None:
    """The history of the run `name` from its training; None where not a single epoch was completed."""
    if not epochs:
        return None
    columns = np.array([list(vars(epoch).values()) for epoch in epochs], np.float64).T
    rates = None if test is None else {"learning_rate": np.array(test.rates), "loss": np.array(test.losses)}
    return _history(name, tuning, dict(zip(_EPOCH_COLUMNS, columns, strict=True)), rates)


def read_history(folder: Path) -> History | None:
    """The history of a run; None where nothing was fine-tuned, or not for a single epoch.

    Raises RunError when its files are damaged.
    """
    if not (folder / "history.csv").is_file():
        return None
    broken = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, csv.Error)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        tuning = manifest["metrics"].get("fine-tuning")
        if tuning is None:
            return None
        epochs, test = _read_numbers(folder / "history.csv", set(_EPOCH_COLUMNS) - {"seconds"}), None
        if (folder / "learning_rates.csv").is_file():
            test = _read_numbers(folder / "learning_rates.csv", ("learning_rate", "loss"))
        return _history(folder.resolve().name, tuning, epochs, test) if len(epochs["step"]) else None
    except broken as error:
        reason = f"its history cannot be read, {type(error).__name__}: {error}"[:200]
        raise damaged_run(folder, reason) from error


def _history(
    name: str, tuning: Mapping[str, Any], epochs: Mapping[str, Numbers], test: Mapping[str, Numbers] | None
) -> History:
    epochs, test = _drawable(epochs), _drawable(test or {})
    counts = np.concatenate([epochs["epoch"], epochs["step"]])
    if not ((counts >= 1) & (counts < 1e9)).all() or (np.diff(epochs["step"]) <= 0).any():
        raise ValueError("history.csv has steps that do not increase")
    if not (test.get("learning_rate", np.ones(1)) > 1e-30).all():
        raise ValueError("learning_rates.csv has a rate that is not positive")
    rule = tuning["rule"]
    rate, warmup = float(rule["learning_rate"]), float(rule["warmup"])
    if not 1e-30 < rate < 1e30 or not 0 <= warmup <= 1:
        raise ValueError(f"learning rate {rate}, warm-up {warmup}")
    total = round(epochs["step"][0] / epochs["epoch"][0] * int(rule["epochs"]))
    tested = test if test and len(test["loss"]) else None
    monitored = rule.get("monitor", 1) != 0
    return History(name, epochs, tested, _plan(tuning), _verdict(tuning), rate, warmup, total, monitored=monitored)


def _drawable(columns: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Columns in which infinite numbers are NaN, which is not drawn."""
    return {name: np.where(np.abs(values) < 1e30, values, np.nan) for name, values in columns.items()}


def _read_numbers(path: Path, columns: Iterable[str]) -> dict[str, Numbers]:
    if path.stat().st_size > _MAX_TABLE:
        raise ValueError(f"{path.name} is larger than {_MAX_TABLE // 1_000_000} MB")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    missing = {"top1": "nan"}  # in runs of earlier versions
    return {name: np.array([float((missing | row)[name]) for row in rows]) for name in columns}


def _plan(tuning: Mapping[str, Any]) -> str:
    rule, unfrozen = tuning["rule"], _UNFROZEN[tuning["unfreeze"]]
    what = f"{unfrozen} of the backbone" if tuning["head_only"] else "random weights"
    steps = f"{count(int(tuning['steps']), 'step')} of {count(int(rule['batch']), 'image')}"
    stopped = f"; stopped early: {tuning['stopped']}" if tuning["stopped"] else ""
    return f"Trained: {what}, {steps}, {rule['optimizer']}, augmentation {rule['augment']}{stopped}"


def _verdict(tuning: Mapping[str, Any]) -> str:
    after = tuning["tuned"]["validation"]
    images = f"on {count(int(after['count']), 'image')}"
    if not tuning["head_only"]:  # from random weights, without a head alone to compare with
        return f"Accuracy {100 * after['top1']:.1f}%, log-loss {after['log_loss']:.3f} {images}"
    before = tuning["head_only"]["validation"]
    accuracy = f"accuracy {100 * before['top1']:.1f}% to {100 * after['top1']:.1f}%"
    loss = f"log-loss {before['log_loss']:.3f} to {after['log_loss']:.3f}"
    kept = "The tuned network is kept" if tuning["kept"] else "No better on validation, so only the head is kept"
    return f"{kept}: {accuracy}, {loss} {images}"
