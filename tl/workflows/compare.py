"""Networks and one data set become a comparison: each trained on the same split, asked about the same photos."""

import csv
import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.load import load as load_data
from tl.errors import RunError, TLError, UsageError
from tl.evaluation.metrics import Proportion, beats_majority, mcnemar
from tl.networks.backbones import backbone
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs.folder import RUNS, claim_folder, is_taken
from tl.runs.options import Options, seconds
from tl.runs.run import Run, load_run
from tl.workflows.finetune import finetune

_TIMED_PHOTOS = 64  # enough for every stream of the engine to be busy


@dataclass(frozen=True)
class Entry:
    """One network: its run, how it did on the validation photos, and what it costs.

    `p_value` is McNemar's against the best (1 for the best itself); `seconds` to train, with all that goes before, less
    what the cache already had; `speed` in images a second of the network alone; `size` in bytes of what predicts;
    `learned` is False where it does hardly better than naming the largest class, None where the photos do not tell.
    Only `name`, `scratch` and `error` mean something where `error` says why there is no run.
    """

    name: str
    scratch: bool
    top1: Proportion
    top5: Proportion | None = None
    p_value: float = 1.0
    parameters: int = 0
    seconds: float = 0.0
    speed: float = 0.0
    size: int = 0
    learned: bool | None = True
    folder: str = ""
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What a network said of one photo: label and confidence."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Photo:
    """A validation photo, its true label, and every network's answer in the order of the entries that have a run."""

    path: str
    truth: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Comparison:
    """Entries from best to worst, those without a run last; the photos that all of them answered."""

    folder: Path
    data: str
    count: int
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    photos: tuple[Photo, ...]
    command: str

    @property
    def ranked(self) -> tuple[Entry, ...]:
        """The entries that have a run."""
        return tuple(entry for entry in self.entries if not entry.error)


def compare(
    given: Options,
    backbones: Sequence[str],
    scratch: Sequence[str],
    *,
    command: str = "",
    progress: Progress | None = None,
) -> Comparison:
    """Train each backbone from its pretrained weights, and each of `scratch` from random ones, on the same split.

    A budget is shared out evenly. A network that cannot be trained is an entry with its error. Raises UsageError when
    there are none to compare, RunError when not one could be trained.
    """
    progress = progress or Progress()
    asked = [(backbone(name).name, False) for name in backbones] + [(backbone(name).name, True) for name in scratch]
    if not asked:
        raise UsageError("nothing to compare: name networks with --backbones or --scratch, such as resnet50,lenet5")
    if len(set(asked)) < len(asked):
        raise UsageError("a network is named twice: each is trained once")
    load_data(given.data, offline=given.offline)  # what is wrong with it is said once, before any network
    folder = Path(given.out) if given.out is not None else _folder(given)
    ended = time.monotonic() + seconds(given.budget) if given.budget is not None else None
    with claim_folder(folder, latest=False) as partial:
        entries, answers = [], []
        for place, (name, from_random) in enumerate(asked):
            budget = None if ended is None else f"{max(20.0, (ended - time.monotonic()) / (len(asked) - place)):.0f}s"
            entry, answered = _trained(given, name, from_random, budget, partial, progress)
            entries.append(entry)
            answers.append(answered)
        if all(entry.error for entry in entries):
            raise RunError(f"no network could be trained: {'; '.join(entry.error for entry in entries)}")
        made = _compared(folder, partial, given, entries, answers, command)
        _write(made, partial)
    return made


def _trained(
    given: Options, name: str, scratch: bool, budget: str | None, folder: Path, progress: Progress
) -> tuple[Entry, list[dict[str, str]]]:
    progress.log("", "")
    progress.log("network", f"{name}, {'from random weights' if scratch else 'pretrained'}")
    called = f"{name}-scratch" if scratch else name
    options = replace(given, backbone=name, out=str(folder / called), budget=budget)
    options = replace(options, weights="none", unfreeze="all") if scratch else options
    try:
        run = finetune(options, progress=progress)
        return _entry(run, name, scratch), _validation(run)
    except TLError as error:
        progress.warn(f"{name} is left out: {error}")
        return Entry(name, scratch, Proportion(0.0, 0.0, 1.0, 0), error=str(error)), []


def _entry(run: Run, name: str, scratch: bool) -> Entry:
    scores, metrics = run.manifest["metrics"]["validation"], run.manifest["metrics"]
    parameters = run.backbone.parameters + run.head.kernel.size + run.head.bias.size
    count = int(scores["count"])
    top1 = _proportion(scores, "top1", count)
    return Entry(
        name,
        scratch,
        top1,
        _proportion(scores, "top5", count) if "top5" in scores else None,
        parameters=parameters,
        seconds=float(metrics["seconds"]["total"]),
        speed=_speed(run),
        size=sum((run.folder / file).stat().st_size for file in ("trunk.xml", "trunk.bin", "head.npz")),
        learned=beats_majority(top1.low, top1.high, scores["class_photos"][1] / count),
        folder=run.folder.name,
    )


def _proportion(scores: dict[str, Any], name: str, count: int) -> Proportion:
    low, high = scores[f"{name}_interval"]
    return Proportion(scores[name], low, high, count)


def _speed(run: Run) -> float:
    """Images a second of the network on arrays in memory, after a first round that compiles it."""
    size = run.backbone.recipe.image_size
    photos = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), np.uint8)
    engine = run_engine(run)
    batches = [(at, photos) for at in range(_TIMED_PHOTOS // len(photos))]
    list(engine.run(batches[:2]))
    started = time.monotonic()
    list(engine.run(batches))
    return _TIMED_PHOTOS / (time.monotonic() - started)


def _validation(run: Run) -> list[dict[str, str]]:
    with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == "validation"]


def _compared(
    folder: Path,
    partial: Path,
    given: Options,
    entries: Sequence[Entry],
    answers: Sequence[list[dict[str, str]]],
    command: str,
) -> Comparison:
    order = sorted(range(len(entries)), key=lambda at: (bool(entries[at].error), -entries[at].top1.value))
    order = [at for at in order if not entries[at].error] + [at for at in order if entries[at].error]
    trained = [at for at in order if not entries[at].error]
    paths = [row["path"] for row in answers[trained[0]]]
    if any([row["path"] for row in answers[at]] != paths for at in trained):
        raise RunError("the networks were not asked about the same photos: a file changed meanwhile; compare again")
    best = _right(answers[trained[0]])
    ranked = [
        replace(entries[at], p_value=mcnemar(best, _right(answers[at])).p_value) if at in trained else entries[at]
        for at in order
    ]
    photos = tuple(
        Photo(
            row["path"],
            row["label"],
            tuple(Answer(answers[at][place]["predicted"], float(answers[at][place]["confidence"])) for at in trained),
        )
        for place, row in enumerate(answers[trained[0]])
    )
    classes = load_run(partial / entries[trained[0]].folder).classes
    return Comparison(folder, given.data, len(paths), classes, tuple(ranked), photos, command)


def _right(rows: list[dict[str, str]]) -> NDArray[np.bool_]:
    return np.array([row["label"] == row["predicted"] for row in rows], bool)


def _write(made: Comparison, folder: Path) -> None:
    entries = [asdict(entry) for entry in made.entries]
    about = {"data": made.data, "count": made.count, "command": made.command, "entries": entries}
    (folder / "comparison.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    columns = ("name", "weights", "top1", "low", "high", "top5", "p_value", "parameters", "seconds", "speed", "size")
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow((*columns, "learned", "error"))
        for entry in made.entries:
            top1, top5 = entry.top1, "" if entry.top5 is None else entry.top5.value
            cost = (entry.p_value, entry.parameters, entry.seconds, round(entry.speed, 2), entry.size)
            weights = "random" if entry.scratch else "pretrained"
            row = (entry.name, weights, top1.value, top1.low, top1.high, top5, *cost, entry.learned, entry.error)
            writer.writerow(row)


def _folder(given: Options) -> Path:
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-compare-{Path(given.data).stem}"
    return next(
        RUNS / name for name in [stem, *(f"{stem}-{number}" for number in range(2, 1000))] if not is_taken(RUNS / name)
    )
