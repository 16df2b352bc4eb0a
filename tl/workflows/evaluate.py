"""A run and labelled photos it has not seen become an assessment: how good it is on them, and against another run."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import usable_cache
from tl.data.load import Dataset, Skipped, load
from tl.errors import DataError, UsageError
from tl.evaluation.metrics import McNemar, Metrics, mcnemar
from tl.evaluation.predictions import HELD_OUT, Predictions, predict
from tl.features.extract import Features, extract
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs import records
from tl.runs.folder import claim_folder, is_taken
from tl.runs.photos import held_out
from tl.runs.run import Run, load_run, trained_on
from tl.workflows.finetune_log import tell_left_out

PART = "evaluation"
PARTS = ("all", "train", "validation", "test")


@dataclass(frozen=True)
class Assessment:
    """What a run says of the photos of `dataset`, whose classes are the run's; `folder` holds it as files.

    `left_out` counts the photos that were not scored, by reason. `against` is the other run, if there is one, and
    `comparison` tells how it and this one part. `trained_on` counts the scored photos that a run was trained on.
    `held_out` is the part of the run that the photos are, where they are its own.
    """

    run: Run
    folder: Path
    data: str
    dataset: Dataset
    predictions: Predictions
    left_out: dict[str, int]
    against: str
    comparison: McNemar | None
    trained_on: int = 0
    held_out: str = ""

    @property
    def score(self) -> Metrics:
        """The figures."""
        return self.predictions.metrics[PART]

    def as_dict(self) -> dict[str, Any]:
        """The form of metrics.json."""
        told = self.predictions.as_dict()
        told |= {"run": str(self.run.folder), "data": self.data, "left_out": self.left_out}
        told["trained_on"] = self.trained_on
        if self.held_out:
            told["held_out"] = self.held_out
        if self.comparison is not None:
            told["against"] = {
                "run": self.against,
                **self.comparison.as_dict(),
                "sentence": self.comparison.sentence(self.against, self.run.name),
            }
        return told


@dataclass(frozen=True)
class Asked:
    """What is assessed and how; each is the command's option of the same name. No `data`: what the run held out."""

    data: str | None = None
    run: str | None = None
    against: str | None = None
    part: str = "all"
    allow_missing: bool = False
    include_trained: bool = False
    unknown: bool = True
    out: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    cache: bool = True
    download: bool = False
    offline: bool = False


def assess(asked: Asked, *, progress: Progress | None = None) -> Assessment:
    """Score a run on the labelled photos of a data set, and write what came out.

    Classes are matched by name. Raises DataError where they differ from the run's, unless `allow_missing` has photos of
    unknown classes left out, and where no photo is left; UsageError for a part the data set has not.
    """
    progress = progress or Progress()
    run = load_run(asked.run)
    rival = load_run(asked.against) if asked.against is not None else None
    asked, dataset, own = _given(asked, run, progress)
    dataset, left_out = _matched(asked, dataset, [run, *([rival] if rival else [])])
    folder = Path(asked.out) if asked.out is not None else _folder(run, dataset)
    with claim_folder(folder, latest=False) as scratch:  # before the work: a folder that cannot be made costs none
        made = _scored(asked, run, rival, dataset, left_out, folder, progress)
        made = replace(made, held_out=own)
        _write(made, scratch)
    return made


def _given(asked: Asked, run: Run, progress: Progress) -> tuple[Asked, Dataset, str]:
    """What is asked with its data set named, that data set, and which part of the run it is, if it is one."""
    if asked.data is not None:
        found = load(asked.data, labelled=False, download=asked.download, offline=asked.offline, progress=progress)
        return asked, found, ""
    if asked.part not in PARTS:
        raise _no_such_part(asked.part)
    own = held_out(run, progress, asked.part)
    return replace(asked, data=own.where), own.dataset, own.part


def _scored(
    asked: Asked,
    run: Run,
    rival: Run | None,
    dataset: Dataset,
    left_out: dict[str, int],
    folder: Path,
    progress: Progress,
) -> Assessment:
    dataset, features = _features(asked, dataset, run, progress)
    fresh = _fresh(features, [run, *([rival] if rival else [])])
    places = np.arange(len(fresh)) if asked.include_trained else _unseen(asked, fresh, left_out)
    seen = _only(dataset, places)
    predictions = predict(
        run.head,
        features.values[places],
        seen,
        np.arange(len(places)),
        parts=[PART] * len(places),
        unknown=run.unknown if asked.unknown else None,
        fitted_on=_fitted_on(run),
    )
    comparison = None if rival is None else _compared(asked, seen, run, rival, predictions, progress)
    against = rival.name if rival is not None else ""
    trained_on = int(np.sum(~fresh[places]))
    return Assessment(run, folder, str(asked.data), seen, predictions, left_out, against, comparison, trained_on)


def _fitted_on(run: Run) -> str:
    head = run.manifest.get("head")  # which may hold anything
    return str(head.get("fitted_on", HELD_OUT)) if isinstance(head, dict) else HELD_OUT


def _matched(asked: Asked, dataset: Dataset, runs: Sequence[Run]) -> tuple[Dataset, dict[str, int]]:
    """The photos of classes that all runs know, numbered as the first run numbers them."""
    left_out: dict[str, int] = {}
    unlabelled = int(np.sum(dataset.labels < 0))
    if unlabelled == len(dataset.labels):
        raise DataError(
            f"{dataset.name} has no classes to score against: put the photos into one folder a class, or their classes "
            "into a table"
        )
    if unlabelled:
        left_out["without a class"] = unlabelled
    for run in runs:
        _check_classes(run, dataset, asked.allow_missing)
    common = set(dataset.class_names).intersection(*(run.classes for run in runs))
    places_of = {name: at for at, name in enumerate(runs[0].classes)}
    numbers = np.array([places_of[name] if name in common else -1 for name in dataset.class_names], np.int64)
    labels = np.where(dataset.labels < 0, -1, numbers[dataset.labels])
    foreign = int(np.sum((labels < 0) & (dataset.labels >= 0)))
    if foreign:
        left_out[f"of classes that {'the run does not' if len(runs) == 1 else 'not both runs'} know"] = foreign
    kept = labels >= 0
    if asked.part != "all":
        if asked.part not in PARTS:
            raise _no_such_part(asked.part)
        within = np.array([part == asked.part for part in dataset.parts], bool)
        if not within.any():
            raise UsageError(f"--part {asked.part}: {dataset.name} names no such part; leave the option out")
        if (kept & ~within).any():
            left_out["of other parts"] = int(np.sum(kept & ~within))
        kept &= within
    if not kept.any():
        raise DataError(f"no photo of {dataset.name} is left to score: none has a class of {runs[0].name}")
    return _only(replace(dataset, class_names=runs[0].classes, labels=labels), np.flatnonzero(kept)), left_out


def _no_such_part(part: str) -> UsageError:
    return UsageError(f"--part {part}: choose {', '.join(PARTS)}")


def _check_classes(run: Run, dataset: Dataset, allow_missing: bool) -> None:
    theirs, ours = set(dataset.class_names), set(run.classes)
    if not theirs & ours:
        raise DataError(
            f"{dataset.name} has the classes {_few(theirs)}, run {run.name} knows {_few(ours)}: none in common; "
            "give another --run"
        )
    if theirs != ours and not allow_missing:
        parts = [f"{dataset.name} alone has {_few(theirs - ours)}"] if theirs - ours else []
        parts += [f"run {run.name} alone knows {_few(ours - theirs)}"] if ours - theirs else []
        raise DataError(
            f"classes differ: {'; '.join(parts)}: name the folders alike, or score what is common with --allow-missing"
        )


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _only(dataset: Dataset, places: NDArray[np.int64]) -> Dataset:
    return replace(
        dataset,
        images=tuple(dataset.images[at] for at in places),
        names=tuple(dataset.names[at] for at in places),
        labels=dataset.labels[places],
        parts=tuple(dataset.parts[at] for at in places),
    )


def _features(asked: Asked, dataset: Dataset, run: Run, progress: Progress) -> tuple[Dataset, Features]:
    engine = run_engine(run, asked.engine, asked.precision, at_once=False, threads=asked.threads, progress=progress)
    recipe = run.backbone.recipe
    if asked.cache:
        with usable_cache(progress) as cache:
            features = extract(dataset.images, engine, recipe, cache, progress=progress)
    else:
        features = extract(dataset.images, engine, recipe, None, progress=progress)
    if not len(features.kept):
        raise DataError(f"none of the {len(dataset.images)} images of {dataset.name} can be read; check the files")
    if features.failures:
        reasons = {dataset.names[at]: why for at, why in features.failures.items()}
        tell_left_out(reasons, progress)
        kept = _only(dataset, features.kept)
        broken = tuple(Skipped(name, why) for name, why in reasons.items())
        return replace(kept, skipped=kept.skipped + broken), features
    return dataset, features


def _fresh(features: Features, runs: Sequence[Run]) -> NDArray[np.bool_]:
    """Which photos none of the runs was trained on `[n]`."""
    trained: frozenset[str] = frozenset().union(*(trained_on(run) for run in runs))
    return np.array([fingerprint.hex() not in trained for fingerprint in features.fingerprints], bool)


def _unseen(asked: Asked, fresh: NDArray[np.bool_], left_out: dict[str, int]) -> NDArray[np.int64]:
    """The places of photos that none of the runs was trained on."""
    if not fresh.any():
        raise DataError(
            f"all {len(fresh):,} photos of {asked.data} were trained on, so that scoring them says nothing: "
            "give others, or --include-trained"
        )
    if not fresh.all():
        left_out["trained on"] = int(np.sum(~fresh))
    return np.flatnonzero(fresh)


def _compared(
    asked: Asked, dataset: Dataset, run: Run, rival: Run, predictions: Predictions, progress: Progress
) -> McNemar:
    _, features = _features(asked, dataset, rival, progress)
    if len(features.kept) != len(dataset.images):
        raise DataError("a photo of the data set was removed while it was scored: run again")
    said = rival.head.probabilities(features.values).argmax(axis=1)
    theirs = [rival.classes[at] == run.classes[truth] for at, truth in zip(said, dataset.labels, strict=True)]
    return mcnemar(np.array(theirs, bool), predictions.correct)


def _folder(run: Run, dataset: Dataset) -> Path:
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{dataset.name}"
    home = run.folder / "evaluations"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(home / name for name in names if not is_taken(home / name))


def _write(made: Assessment, scratch: Path) -> None:
    records.write_predictions(scratch, made.predictions)
    records.write_skipped(scratch, made.dataset)
    records.write_metrics(scratch, made.as_dict())
