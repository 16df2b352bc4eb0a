"""Evaluate a run on labelled images that it was not trained on, alone or against another run."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.cache import usable_cache
from tl.data.dataset import PARTS, Dataset, Skipped
from tl.data.load import Data, is_in_memory, load
from tl.data.splits import check_groups, grouped
from tl.errors import DataError, UsageError
from tl.evaluation.predictions import HELD_OUT, Predictions, from_logits
from tl.evaluation.significance import McNemar, mcnemar
from tl.features.extract import Features, extract
from tl.options import (
    download_option,
    engine_option,
    keywords,
    offline_option,
    option,
    precision_option,
    run_option,
    threads_option,
)
from tl.prediction.evaluation import PART, Evaluation
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs.cross_validation import read_cross_validation
from tl.runs.folder import claim_folder, new_folder, write_metrics, write_predictions, write_skipped
from tl.runs.photos import HeldOutData, held_out
from tl.runs.run import Run, load_run
from tl.runs.training_images import find_originals, trained_on
from tl.text import in_order, listed
from tl.workflows.finetune import log_skipped
from tl.workflows.grid import check_classes, differ_in_case
from tl.workflows.report import write_evaluation_report


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `tl evaluate`."""

    run: str | Path | None = run_option()
    against: str | Path | None = option(None, "Another run to compare with, on the same images.", metavar="RUN")
    part: str = option("all", "Evaluate only this part of the data.", choices=("all", *PARTS))
    map: tuple[str, ...] = option(
        (), "Names of the data's classes in the run, such as Cat=cat,Kitten=cat.", metavar="NAME=CLASS,..."
    )
    allow_missing: bool = option(False, "Evaluate the classes that the data and the run have in common.")
    group_by: str | None = option(
        None,
        "What images have in common that no others share, as in tl finetune: intervals count groups.",
        metavar="GROUPS",
    )
    include_trained: bool = option(False, "Evaluate images that the run was trained on as well.")
    out: Path | None = option(None, "Folder to make.", default_text="evaluations/<date>-<data> in the run")
    report: bool = option(True, "Write report.html.")
    engine: str = engine_option()
    precision: str = precision_option()
    threads: int | None = threads_option()
    cache: bool = option(True, "Keep features for the next time.")
    download: bool = download_option()
    offline: bool = offline_option()


@keywords(EvaluateOptions)
def evaluate(
    data: "Data | None" = None, *, options: EvaluateOptions, command: str = "", progress: Progress | None = None
) -> Evaluation:
    """Evaluate a run on a labelled data set; by default on the images that it held out, if they are still there.

    Classes are matched by name. Writes a folder with metrics.json, predictions.csv, skipped.csv and report.html, which
    shows `command`. Raises DataError where the classes differ (unless `allow_missing`) and where no image is left,
    UsageError for a part that the data does not have.
    """
    progress = progress or Progress()
    run = load_run(options.run)
    rival = load_run(options.against) if options.against is not None else None
    runs = [run] if rival is None else [run, rival]
    own = held_out(run, progress, options.part, options.group_by) if data is None else _load(data, options, progress)
    source, dataset, own_part = own.where or own.dataset.name, own.dataset, own.part
    dataset, left_out = _select(_renamed(dataset, run, options.map), runs, options)
    folder = options.out or new_folder(run.folder / "evaluations", dataset.name)
    with claim_folder(folder, latest=False) as scratch:  # before the work: a folder that cannot be made costs none
        dataset, features = _extract(dataset, run, options, progress)
        shown = _recognise(dataset, features, runs, options, progress=progress)
        kept = np.arange(len(dataset.images))
        if not options.include_trained:
            kept = _only_unseen(shown, source, left_out)
            shown = shown.of(kept)
        predictions = _predict(run, dataset.subset(kept), features.values[kept], shown.originals[0])
        comparison = None
        if rival is not None:
            comparison = _test(predictions, rival, shown.originals[1], options, progress=progress)
        evaluation = Evaluation(
            run=run,
            folder=folder,
            data=source,
            predictions=predictions,
            left_out=left_out,
            trained_on=int(shown.seen.sum()),
            copies=int((shown.copies & ~shown.seen).sum()),
            held_out=own_part,
            against="" if rival is None else rival.name,
            comparison=comparison,
        )
        write_predictions(scratch, predictions)
        write_skipped(scratch, evaluation.dataset)
        write_metrics(scratch, evaluation.as_dict())
    if options.report:
        write_evaluation_report(evaluation, command=command)
    return evaluation


def _renamed(dataset: Dataset, run: Run, pairs: Sequence[str]) -> Dataset:
    """The data set with its classes named as `--map` says. Raises UsageError for a name that either does not have."""
    names: dict[str, str] = {}
    for pair in pairs:
        splits = [(pair[:at], pair[at + 1 :]) for at, letter in enumerate(pair) if letter == "="]  # names may have some
        fitting = [one for one in splits if one[0] in dataset.class_names and one[1] in run.classes]
        if not fitting:
            raise UsageError(
                f"--map {pair}: give a class of the data ({listed(dataset.class_names, 5)}), = and a class of the run"
                f" ({listed(run.classes, 5)})"
            )
        names |= fitting[:1]
    return dataset.renamed(names) if names else dataset


def _load(data: Data, options: EvaluateOptions, progress: Progress) -> HeldOutData:
    dataset = load(data, labelled=False, download=options.download, offline=options.offline, progress=progress)
    dataset = grouped(dataset, data, options.group_by)
    check_groups(dataset, options.group_by)
    return HeldOutData(dataset, "", "" if is_in_memory(data) else str(data))


def _select(dataset: Dataset, runs: Sequence[Run], options: EvaluateOptions) -> tuple[Dataset, dict[str, int]]:
    """The images of classes that all runs know, labelled as the first run numbers them; how many are left out why."""
    left_out: dict[str, int] = {}
    unlabelled = int(np.sum(dataset.labels < 0))
    if unlabelled == len(dataset.labels):
        raise DataError(
            f"{dataset.name} has no labels to evaluate against: use one folder per class, or a table with labels"
        )
    if unlabelled:
        left_out["without a label"] = unlabelled
    for run in runs:
        check_classes(run, dataset)
        if not options.allow_missing:
            _check_same_classes(run, dataset)
    common = set(dataset.class_names).intersection(*(run.classes for run in runs))
    index_of = {name: at for at, name in enumerate(runs[0].classes)}
    indices = np.array([index_of[name] if name in common else -1 for name in dataset.class_names], np.int64)
    labels = np.where(dataset.labels < 0, -1, indices[dataset.labels])
    unknown_classes = int(np.sum((labels < 0) & (dataset.labels >= 0)))
    if unknown_classes:
        left_out[f"of classes that {'the run does not' if len(runs) == 1 else 'not both runs'} know"] = unknown_classes
    kept = labels >= 0
    if options.part != "all":
        within = np.array([part == options.part for part in dataset.parts], bool)
        if not within.any():
            raise UsageError(f"--part {options.part}: {dataset.name} names no such part; leave the option out")
        if (kept & ~within).any():
            left_out["of other parts"] = int(np.sum(kept & ~within))
        kept &= within
    if not kept.any():
        raise DataError(f"no image of {dataset.name} is left to evaluate: none has a class of {runs[0].name}")
    return replace(dataset, class_names=runs[0].classes, labels=labels).subset(np.flatnonzero(kept)), left_out


def _check_same_classes(run: Run, dataset: Dataset) -> None:
    in_data, in_run = set(dataset.class_names), set(run.classes)
    if in_data != in_run:
        differences = [f"only {dataset.name} has {listed(in_order(in_data - in_run), 5)}"] if in_data - in_run else []
        differences += (
            [f"only run {run.name} knows {listed(in_order(in_run - in_data), 5)}"] if in_run - in_data else []
        )
        hint = differ_in_case(in_data - in_run, in_run)
        raise DataError(
            f"classes differ: {'; '.join(differences)}{hint}: rename the folders, or evaluate the common classes with "
            "--allow-missing"
        )


def _extract(dataset: Dataset, run: Run, options: EvaluateOptions, progress: Progress) -> tuple[Dataset, Features]:
    engine = run_engine(
        run, options.engine, options.precision, compiled=False, threads=options.threads, progress=progress
    )
    with usable_cache(progress) if options.cache else nullcontext() as cache:
        features = extract(dataset.images, engine, run.backbone.recipe, cache, progress=progress)
    if not len(features.kept):
        raise DataError(f"none of the {len(dataset.images)} images of {dataset.name} can be read; check the files")
    if not features.failures:
        return dataset, features
    failures = {dataset.names[at]: reason for at, reason in features.failures.items()}
    log_skipped(failures, progress)
    skipped = dataset.skipped + tuple(Skipped(name, reason) for name, reason in failures.items())
    return replace(dataset.subset(features.kept), skipped=skipped), features


@dataclass(frozen=True)
class _Recognised:
    """Which training images of each run n images are: `originals` has a list of sha256 `[n]` for each run.

    `copies` `[n]` are not the training images themselves; `seen` `[n]` can't be judged, as a run was trained on them
    and didn't predict them in a cross-validation.
    """

    originals: tuple[tuple[str, ...], ...]
    copies: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    def of(self, kept: NDArray[np.int64]) -> "_Recognised":
        originals = tuple(tuple(each[at] for at in kept) for each in self.originals)
        return _Recognised(originals, self.copies[kept], self.seen[kept])


def _recognise(
    dataset: Dataset, features: Features, runs: Sequence[Run], options: EvaluateOptions, *, progress: Progress
) -> _Recognised:
    own = [fingerprint.hex() for fingerprint in features.fingerprints]
    originals, copies, seen = [], np.zeros(len(own), np.bool_), np.zeros(len(own), np.bool_)
    with usable_cache(progress) if options.cache else nullcontext() as cache:
        for run in runs:
            shown = find_originals(run, dataset.images, own, cache=cache, progress=progress)
            not_judged = _only_trained_on(run)
            originals.append(tuple(shown))
            copies |= np.array([one != each for one, each in zip(shown, own, strict=True)], np.bool_)
            seen |= np.array([one in not_judged for one in shown], np.bool_)
    return _Recognised(tuple(originals), copies, seen)


def _only_unseen(shown: _Recognised, source: str, left_out: dict[str, int]) -> NDArray[np.int64]:
    if shown.seen.all():
        copies = ", or on photos they are copies of" if shown.copies.any() else ""
        raise DataError(
            f"the run was trained on all {len(shown.seen):,} images of {source}{copies}, so their accuracy says "
            "nothing: give other images, or --include-trained"
        )
    for reason, images in (
        ("trained on", shown.seen & ~shown.copies),
        ("that are copies of training images", shown.seen & shown.copies),
    ):
        if images.any():
            left_out[reason] = int(images.sum())
    return np.flatnonzero(~shown.seen)


def _only_trained_on(run: Run) -> frozenset[str]:
    """The sha256 of the images that a run can't be judged on: trained on, and not predicted in a cross-validation."""
    validated = read_cross_validation(run)
    return trained_on(run) - (frozenset() if validated is None else validated.row_of.keys())


def _answers(
    run: Run, features: NDArray[np.float32], originals: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Logits `[n, classes]` of features, which are unknown `[n]`, and the folds, 0 for none.

    Those of cross-validated images, and of copies of them, are what heads fitted without them said.
    """
    logits, validated, training = run.head.logits(features), read_cross_validation(run), trained_on(run)
    unknown = np.zeros(len(features), np.bool_)
    if run.unknown is not None:
        trained, probabilities = (
            np.array([each in training for each in originals], np.bool_),
            run.head.calibrated(logits),
        )
        unknown[trained] = run.unknown.is_unknown_held_out(features[trained], probabilities[trained])
        unknown[~trained] = run.unknown.is_unknown(features[~trained], probabilities[~trained])
    if validated is None or validated.row_of.keys().isdisjoint(originals):
        return logits, unknown, 0
    own, theirs = np.array(
        [(at, validated.row_of[each]) for at, each in enumerate(originals) if each in validated.row_of]
    ).T
    logits[own] = validated.log_probabilities[theirs] * np.float32(run.head.temperature)
    unknown[own] = validated.is_unknown[theirs]
    return logits, unknown, validated.folds


def _predict(run: Run, dataset: Dataset, features: NDArray[np.float32], originals: Sequence[str]) -> Predictions:
    count, head = len(dataset.images), run.manifest.get("head")  # the manifest may hold anything
    logits, unknown, folds = _answers(run, features, originals)
    return from_logits(
        run.head,
        logits,
        dataset,
        np.arange(count),
        parts=[PART] * count,
        is_unknown=unknown,
        unknown=run.unknown,
        fitted_on=str(head.get("fitted_on", HELD_OUT)) if isinstance(head, dict) else HELD_OUT,
        folds=folds,
    )


def _test(
    predictions: Predictions, rival: Run, originals: Sequence[str], options: EvaluateOptions, *, progress: Progress
) -> McNemar:
    dataset = predictions.dataset
    _, features = _extract(dataset, rival, options, progress)
    if len(features.kept) != len(dataset.images):
        raise DataError("an image of the data set was removed while it was evaluated: run again")
    logits, *_ = _answers(rival, features.values, originals)
    best = logits.argmax(axis=1)
    correct = [rival.classes[at] == dataset.class_names[truth] for at, truth in zip(best, dataset.labels, strict=True)]
    return mcnemar(np.array(correct, bool), predictions.correct)
