"""Summarize a run from its folder, and compare runs: options, data, results."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import PARTS
from tl.errors import RunError, UsageError
from tl.evaluation.significance import McNemar, mcnemar
from tl.runs.finetune_options import FinetuneOptions
from tl.runs.folder import CROSS_VALIDATION, damaged_run, find_run
from tl.runs.run import Run, load_run, read_table
from tl.text import NONE, html_table, judged_by, percent

Scalar = str | int | float | bool | None
_MAX_MANIFEST = 1 << 26  # bytes: far more than ten thousand classes need
_NETWORK_OPTIONS = ("out", "backbone", "weights", "image_size")


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95% confidence interval, None where an old run has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PartMetrics:
    """The metrics of a part of the data set with `count` images, by name; cross-validated where there are `folds`."""

    count: int
    figures: Mapping[str, MetricValue]
    folds: int = 0

    @property
    def top1(self) -> MetricValue:
        """The top-1 accuracy, from 0 to 1."""
        return self.figures["top1"]


@dataclass(frozen=True)
class TuningSummary:
    """How training the backbone ended; `before` is for the head alone, empty for a network from random weights."""

    unfreeze: str
    kept: bool
    before: Mapping[str, PartMetrics]
    after: Mapping[str, PartMetrics]
    comparison: McNemar | None
    steps: int
    stopped: str


@dataclass(frozen=True)
class DiskUsage:
    """Bytes on disk: a folder's `own`, and those `shared` with the cache or another run through hard links."""

    own: int
    shared: int
    files: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.own + self.shared


@dataclass(frozen=True, repr=False)
class RunSummary:
    """A run's manifest with checked types, and its files; `parts` are the metrics by part of the data set."""

    name: str
    folder: Path
    created: datetime
    classes: tuple[str, ...]
    backbone: str
    recipe: Mapping[str, Any]
    weights: str
    source: str
    sha256: str
    precision: str
    data: str
    images: int
    per_class: Mapping[str, int]
    split: Mapping[str, int]
    seed: int
    skipped: int
    notes: tuple[str, ...]
    head: Mapping[str, Scalar]
    options: Mapping[str, Scalar]
    parts: Mapping[str, PartMetrics]
    tuning: TuningSummary | None
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    command: tuple[str, ...]
    files: Mapping[str, int]
    size: DiskUsage

    def __repr__(self) -> str:
        return f"<RunSummary {self.name}>"

    def _repr_html_(self) -> str:
        about = [("run", self.name), ("data", self.data), ("network", self.backbone), ("unfreeze", self.unfreeze)]
        about += [
            (f"{judged_by(name, part.folds)} accuracy", percent(part.top1.value)) for name, part in self.parts.items()
        ]
        return html_table([*about, ("folder", str(self.folder))])

    @property
    def best_part(self) -> str:
        """The part whose metrics say most about the run: test where there is one, else validation."""
        return "test" if "test" in self.parts else next(iter(self.parts), "")

    @property
    def unfreeze(self) -> str:
        """Which layers of the backbone were trained, "scratch" for all of them from random weights."""
        if self.tuning is None:
            return "none"
        return self.tuning.unfreeze if self.tuning.before else "scratch"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self) | {
            "folder": str(self.folder),
            "created": self.created.isoformat(),
            "unfreeze": self.unfreeze,
        }


def summarize(folder: str | Path | None = None) -> RunSummary:
    """The summary of a run; without `folder`, of the newest. Raises RunError for a missing or damaged run."""
    try:
        at = find_run(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror}): give a run's name or path") from error
    try:
        for name in ("manifest.json", "head.npz"):
            if not (at / name).is_file():  # reading a pipe would block
                raise damaged_run(at, f"{name} is missing")
        if (at / "manifest.json").stat().st_size > _MAX_MANIFEST:
            raise damaged_run(at, "manifest.json is too large")
        run = load_run(at)
        for name in run.manifest["files"]:
            if not (at / Path(name).name).is_file():
                raise damaged_run(at, f"{name} is missing")
        return _summary(run)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise damaged_run(at, f"{type(error).__name__}: {error}"[:200]) from error


def disk_usage(*roots: Path) -> DiskUsage:
    """The disk usage of folders; a file with several names counts once, links are not followed."""
    seen: set[tuple[int, int]] = set()
    own = shared = files = 0
    paths = (Path(folder, name) for root in roots for folder, _, names in os.walk(root) for name in names)
    for path in paths:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # the run is being written or removed
        files += 1
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        own += status.st_size if status.st_nlink == 1 else 0
        shared += status.st_size if status.st_nlink > 1 else 0
    return DiskUsage(own, shared, files)


def _summary(run: Run) -> RunSummary:
    manifest = run.manifest
    data, weights, metrics = manifest["data"], manifest["weights"], manifest["metrics"]
    names = sorted(path.name for path in run.folder.iterdir())
    return RunSummary(
        name=run.name,
        folder=run.folder,
        created=parse_time(manifest["created"]),
        classes=run.classes,
        backbone=run.backbone.name,
        recipe=asdict(run.backbone.recipe),
        weights=str(weights["choice"]),
        source=str(weights["source"]),
        sha256=str(weights["sha256"]),
        precision=str(manifest["engine"]["precision"]),
        data=str(data["name"]),
        images=int(data["images"]),
        per_class={str(name): int(count) for name, count in data["per_class"].items()},
        split={part: int(data["split"][part]) for part in PARTS if part in data["split"]},
        seed=int(data["seed"]),
        skipped=int(data["skipped"]),
        notes=tuple(str(note) for note in data["notes"]),
        head={str(name): _scalar(value) for name, value in manifest["head"].items()},
        options={str(name): _scalar(value) for name, value in manifest["options"].items()},
        parts=_parts(metrics),
        tuning=_tuning(metrics["fine-tuning"]) if metrics.get("fine-tuning") is not None else None,
        seconds={str(name): _number(value) for name, value in metrics["seconds"].items()},
        versions={str(name): str(value) for name, value in manifest["versions"].items()},
        command=tuple(str(word) for word in manifest["command"]),
        files={name: os.lstat(run.folder / name).st_size for name in names},
        size=disk_usage(run.folder),
    )


def parse_time(text: str) -> datetime:
    """The time in a manifest. Raises ValueError for an impossible one."""
    time = datetime.fromisoformat(text)
    if not 2000 <= time.year <= 9000:
        raise ValueError(f"created in the year {time.year}")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _parts(metrics: Mapping[str, Any]) -> dict[str, PartMetrics]:
    return {name: _part(metrics[name]) for name in PARTS if name in metrics}


def _part(scores: Mapping[str, Any]) -> PartMetrics:
    """The finite numbers of a part are its metrics; other entries, such as tables by class, are ignored."""
    figures = {}
    for name, value in scores.items():
        if name in ("count", "folds") or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if math.isfinite(value):
            low, high = scores.get(f"{name}_interval") or (None, None)
            interval = (None, None) if low is None else (_number(low), high)
            figures[name] = MetricValue(float(value), *interval)
    if not 0 <= figures["top1"].value <= 1:
        raise ValueError("top1 is not between 0 and 1")
    return PartMetrics(int(scores["count"]), figures, int(scores.get("folds") or 0))


def _tuning(about: Mapping[str, Any]) -> TuningSummary:
    fields = about.get("comparison")
    comparison = None
    if fields is not None:
        gained, lost, count = (int(fields[name]) for name in ("gained", "lost", "count"))
        comparison = McNemar(gained, lost, _number(fields["p_value"]), count)
    return TuningSummary(
        unfreeze=str(about["unfreeze"]),
        kept=bool(about["kept"]),
        before=_parts(about.get("head_only") or {}),
        after=_parts(about.get("tuned") or {}),
        comparison=comparison,
        steps=int(about.get("steps") or 0),
        stopped=str(about.get("stopped") or ""),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, (str, bool)):
        return value
    return value if isinstance(value, int) else _number(value)


Rows = dict[str, tuple[Scalar, ...]]
MetricRows = dict[str, tuple[MetricValue | None, ...]]


@dataclass(frozen=True)
class RunPair:
    """Two runs, by index, compared on the images that neither was trained on; images are matched by sha256.

    `images` are in both data sets. `trained` were predicted by one and trained on by the other, `disputed` have
    different labels: both are left out of the `test`, which is None without a common image.
    """

    first: int
    second: int
    images: int
    trained: int
    disputed: int
    test: McNemar | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return vars(self) | {"test": None if self.test is None else self.test.as_dict()}


@dataclass(frozen=True, repr=False)
class RunDifference:
    """What differs between runs, by name, with a value for each run; None where a run has none.

    `results` has the metrics by part, with accuracy and count even where they are the same.
    """

    runs: tuple[RunSummary, ...]
    options: Rows
    network: Rows
    data: Rows
    per_class: Rows
    versions: Rows
    results: Mapping[str, MetricRows]
    outcome: Rows
    pairs: tuple[RunPair, ...]

    def __repr__(self) -> str:
        return f"<RunDifference {self.runs}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[Any, ...]] = [
            (f"{part} accuracy", *(NONE if one is None else percent(one.value) for one in figures["top1"]))
            for part, figures in self.results.items()
        ]
        tests = [NONE if pair.test is None else f"{pair.test.p_value:.3f}" for pair in self.pairs]
        rows.append(("p (McNemar, against the first)", NONE, *tests))
        for name, values in (self.options | self.network | self.data | self.outcome).items():
            rows.append((name, *(NONE if value is None else value for value in values)))
        return html_table(rows, ("", *(run.name for run in self.runs)))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        same_keys = ("options", "network", "data", "per_class", "versions", "outcome")
        results = {
            part: {name: [None if one is None else asdict(one) for one in row] for name, row in figures.items()}
            for part, figures in self.results.items()
        }
        return {name: getattr(self, name) for name in same_keys} | {
            "runs": [{"name": run.name, "folder": str(run.folder)} for run in self.runs],
            "results": results,
            "pairs": [pair.as_dict() for pair in self.pairs],
        }


@dataclass(frozen=True)
class _RunImages:
    """The sha256 of a run's images: those trained on, and of those `predicted` the label and whether it was correct."""

    trained: frozenset[str]
    predicted: Mapping[str, tuple[str, bool]]
    all: frozenset[str]


def compare_runs(runs: Sequence[str | Path]) -> RunDifference:
    """What differs between runs; each later one is tested against the first on their common images.

    Raises UsageError for fewer than two runs or the same one twice, RunError for a missing or damaged run.
    """
    summaries = tuple(summarize(run) for run in runs)
    if len(summaries) < 2 or len({summary.folder.resolve() for summary in summaries}) < len(summaries):
        raise UsageError("give two or more different runs: see `tl runs list`")
    images = [_run_images(load_run(summary.folder)) for summary in summaries]
    return RunDifference(
        runs=summaries,
        options=_differing([_options(summary) for summary in summaries]),
        network=_differing([_network(summary) for summary in summaries]),
        data=_differing([_data(summary) for summary in summaries]),
        per_class=_differing([summary.per_class for summary in summaries]),
        versions=_differing([summary.versions for summary in summaries]),
        results=_results(summaries),
        outcome=_differing([_outcome(summary) for summary in summaries]),
        pairs=tuple(_pair(images, index) for index in range(1, len(summaries))),
    )


def changed_options(about: RunSummary) -> dict[str, Scalar]:
    """The options that differ from the defaults, except those that choose the network and the data."""
    defaults = asdict(FinetuneOptions())
    return {
        name: value
        for name, value in about.options.items()
        if name not in ("data", *_NETWORK_OPTIONS) and value != defaults.get(name)
    }


def _differing(runs: Sequence[Mapping[str, Any]]) -> Rows:
    names = dict.fromkeys(name for run in runs for name in run)
    rows = {name: tuple(run.get(name) for run in runs) for name in names}
    return {name: row for name, row in rows.items() if len(set(map(repr, row))) > 1}


def _options(about: RunSummary) -> dict[str, Scalar]:
    """All options but those in `_network`; one that is newer than the run has its default."""
    whole = asdict(FinetuneOptions()) | dict(about.options)
    return {name: value for name, value in whole.items() if name not in _NETWORK_OPTIONS}


def _network(about: RunSummary) -> dict[str, Scalar]:
    recipe = {
        name: ", ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value
        for name, value in about.recipe.items()
        if name != "image_size"
    }
    return {
        "backbone": about.backbone,
        "pixels": about.recipe["image_size"],
        "weights": about.options.get("weights") if about.weights == "file" else about.weights,
        "weights sha256": about.sha256,
        "precision": about.precision,
        **recipe,
    }


def _data(about: RunSummary) -> dict[str, Scalar]:
    return {
        "name": about.data,
        "images": about.images,
        "skipped": about.skipped,
        "classes": len(about.classes),
        "split seed": about.seed,
        **{part: about.split.get(part, 0) for part in PARTS},
    }


def _outcome(about: RunSummary) -> dict[str, Scalar]:
    kept = "none" if about.tuning is None else f"{about.unfreeze}, {'kept' if about.tuning.kept else 'not kept'}"
    kept = "from scratch" if about.unfreeze == "scratch" else kept
    return {
        "fine-tuning": kept,
        "temperature": about.head.get("temperature"),
        "seconds": about.seconds.get("total"),
        "bytes": about.size.total,
    }


def _results(runs: Sequence[RunSummary]) -> dict[str, MetricRows]:
    results: dict[str, MetricRows] = {}
    for part in PARTS:
        scores = [run.parts.get(part) for run in runs]
        names = dict.fromkeys(name for score in scores if score is not None for name in score.figures)
        rows = {name: tuple(None if score is None else score.figures.get(name) for score in scores) for name in names}
        counts = tuple(None if score is None else MetricValue(score.count) for score in scores)
        if rows:
            differing = {name: row for name, row in rows.items() if name == "top1" or len(set(row)) > 1}
            results[part] = {"count": counts, **differing}
    return results


def _pair(images: Sequence[_RunImages], index: int) -> RunPair:
    first, second = images[0], images[index]
    trained = (first.predicted.keys() & second.trained) | (second.predicted.keys() & first.trained)
    common = sorted((first.predicted.keys() & second.predicted.keys()) - first.trained - second.trained)
    agreed = [sha256 for sha256 in common if first.predicted[sha256][0] == second.predicted[sha256][0] != ""]
    correct = [np.array([run.predicted[sha256][1] for sha256 in agreed], bool) for run in (first, second)]
    return RunPair(
        first=0,
        second=index,
        images=len(first.all & second.all),
        trained=len(trained),
        disputed=len(common) - len(agreed),
        test=mcnemar(*correct) if agreed else None,
    )


def _run_images(run: Run) -> _RunImages:
    split = read_table(run, "split.csv", ("path", "split", "sha256"))
    sha256_of = {path: sha256 for path, _, sha256 in split}
    trained = frozenset(sha256 for _, part, sha256 in split if part == "train")
    predicted: dict[str, tuple[str, bool]] = {}
    for path, truth, best in read_table(run, "predictions.csv", ("path", "label", "predicted")):
        sha256 = sha256_of.get(path)
        if sha256 is None:
            raise damaged_run(run.folder, f"predictions.csv names {path[:80]!r}, which is not in split.csv")
        label = truth if predicted.get(sha256, (truth,))[0] == truth else ""
        predicted[sha256] = label, truth == best
    if CROSS_VALIDATION in run.manifest["files"]:  # it predicted images by heads that were not trained on them
        trained -= predicted.keys()
    return _RunImages(trained, predicted, frozenset(sha256_of.values()))
