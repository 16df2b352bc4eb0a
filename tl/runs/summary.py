"""A run folder, which may say anything, becomes what people ask of a run: what was done, and what came of it."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tl.data.dataset import PARTS
from tl.errors import RunError
from tl.evaluation.metrics import McNemar
from tl.runs.folder import find_run
from tl.runs.run import Run, load_run

Scalar = str | int | float | bool | None
_READ = ("manifest.json", "head.npz")
_LARGEST = 1 << 26  # bytes of a manifest: far more than ten thousand classes need


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval, which old runs do not have of each."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Part:
    """The figures for the `count` photos of a part of the data set, by name: top1, log_loss, ..."""

    count: int
    figures: Mapping[str, Figure]

    @property
    def top1(self) -> Figure:
        """The share of photos that are right."""
        return self.figures["top1"]


@dataclass(frozen=True)
class Tuning:
    """How training the backbone ended; `before` is the head alone, empty for a network from random weights."""

    unfreeze: str
    kept: bool
    before: Mapping[str, Part]
    after: Mapping[str, Part]
    comparison: McNemar | None
    steps: int
    stopped: str


@dataclass(frozen=True)
class Size:
    """Bytes on disk: a folder's `own`, and those of files that the cache or another run holds as well (hard links)."""

    own: int
    shared: int
    files: int

    @property
    def whole(self) -> int:
        """All bytes."""
        return self.own + self.shared


@dataclass(frozen=True)
class Summary:
    """A run's manifest with every value of the type it should have, and its files; `parts` by name, in order."""

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
    parts: Mapping[str, Part]
    tuning: Tuning | None
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    command: tuple[str, ...]
    files: Mapping[str, int]
    size: Size

    @property
    def judged(self) -> str:
        """The part that tells best how good the run is: test photos where there are some, else validation."""
        return "test" if "test" in self.parts else next(iter(self.parts), "")

    @property
    def unfreeze(self) -> str:
        """Which part of the backbone was trained, "scratch" for all of it from random weights."""
        if self.tuning is None:
            return "none"
        return self.tuning.unfreeze if self.tuning.before else "scratch"

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output."""
        told = asdict(self)
        return told | {"folder": str(self.folder), "created": self.created.isoformat(), "unfreeze": self.unfreeze}


def summarize(folder: str | Path | None = None) -> Summary:
    """What a run was made of and what came of it; the newest run without `folder`.

    Raises RunError where there is none, or where it is damaged.
    """
    try:
        at = find_run(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror}): give a run's name or path") from error
    try:
        for name in _READ:
            if not (at / name).is_file():  # a pipe would be waited for
                raise _damaged(at, f"{name} is missing")
        if (at / "manifest.json").stat().st_size > _LARGEST:
            raise _damaged(at, "manifest.json is too large to be one")
        run = load_run(at)
        for name in run.manifest["files"]:
            if not (at / Path(name).name).is_file():
                raise _damaged(at, f"{name} is missing")
        return _summary(run)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise _damaged(at, f"{type(error).__name__}: {error}"[:200]) from error


def size_of(*roots: Path) -> Size:
    """What folders take on disk, each file once, however many names it has there; links are not followed."""
    seen: set[tuple[int, int]] = set()
    own = shared = files = 0
    for found in _stats(roots):
        files += 1
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        own += found.st_size if found.st_nlink == 1 else 0
        shared += found.st_size if found.st_nlink > 1 else 0
    return Size(own, shared, files)


def _stats(roots: Iterable[Path]) -> Iterator[os.stat_result]:
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                try:
                    yield os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue  # a run that is being written or removed


def _summary(run: Run) -> Summary:
    about, data, weights = run.manifest, run.manifest["data"], run.manifest["weights"]
    metrics = about["metrics"]
    names = sorted(path.name for path in run.folder.iterdir())
    return Summary(
        name=run.name,
        folder=run.folder,
        created=moment(about["created"]),
        classes=run.classes,
        backbone=run.backbone.name,
        recipe=asdict(run.backbone.recipe),
        weights=str(weights["choice"]),
        source=str(weights["source"]),
        sha256=str(weights["sha256"]),
        precision=str(about["engine"]["precision"]),
        data=str(data["name"]),
        images=int(data["images"]),
        per_class={str(name): int(count) for name, count in data["per_class"].items()},
        split={part: int(data["split"][part]) for part in PARTS if part in data["split"]},
        seed=int(data["seed"]),
        skipped=int(data["skipped"]),
        notes=tuple(str(note) for note in data["notes"]),
        head={str(name): _scalar(value) for name, value in about["head"].items()},
        options={str(name): _scalar(value) for name, value in about["options"].items()},
        parts=_parts(metrics),
        tuning=_tuning(metrics["fine-tuning"]) if metrics.get("fine-tuning") is not None else None,
        seconds={str(name): _number(value) for name, value in metrics["seconds"].items()},
        versions={str(name): str(value) for name, value in about["versions"].items()},
        command=tuple(str(word) for word in about["command"]),
        files={name: os.lstat(run.folder / name).st_size for name in names},
        size=size_of(run.folder),
    )


def moment(text: str) -> datetime:
    """The time in a manifest; raises ValueError for one that no run was made at."""
    found = datetime.fromisoformat(text)
    if not 2000 <= found.year <= 9000:
        raise ValueError(f"made in the year {found.year}")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _parts(metrics: Mapping[str, Any]) -> dict[str, Part]:
    found = {}
    for name in PARTS:
        if name in metrics:
            found[name] = _part(metrics[name])
    return found


def _part(scores: Mapping[str, Any]) -> Part:
    """Figures are what has a finite value; whatever else a part holds, such as tables by class, is left."""
    figures = {}
    for name, value in scores.items():
        if name == "count" or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if math.isfinite(value):
            low, high = scores.get(f"{name}_interval") or (None, None)
            figures[name] = Figure(float(value), None if low is None else _number(low), None if low is None else high)
    if not 0 <= figures["top1"].value <= 1:
        raise ValueError("top1 is no share")
    return Part(int(scores["count"]), figures)


def _tuning(about: Mapping[str, Any]) -> Tuning:
    compared = about.get("comparison")
    comparison = None
    if compared is not None:
        gained, lost, count = (int(compared[name]) for name in ("gained", "lost", "count"))
        comparison = McNemar(gained, lost, _number(compared["p_value"]), count)
    return Tuning(
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
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, (str, bool)):
        return value
    _number(value)
    number: int | float = value
    return number


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(f"{folder} is damaged ({reason}): make it again with `tl finetune`, or copy it whole")
