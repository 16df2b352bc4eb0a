"""Grow a run: its photos and new ones as one data set, and which of its answers the new run changes."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, Sample, assemble
from tl.data.load import Data, is_in_memory, load
from tl.data.splits import grouped
from tl.errors import DataError, RunError, UsageError
from tl.evaluation.predictions import Predictions
from tl.evaluation.significance import McNemar, mcnemar
from tl.progress import Progress
from tl.runs.finetune_options import FinetuneOptions
from tl.runs.photos import RunImage, RunImages, sha256_of
from tl.runs.run import Run, load_run, read_table
from tl.text import count, percent, quoted

CHANGES = "changes.csv"
_NAMES = " + "  # between those of the data sets
_MOST_MISSING = 0.5  # of a run's photos: with more of them gone, it is not the run that would grow


@dataclass(frozen=True)
class Growth:
    """The `dataset` of a run's photos and new ones, and where they are (`sources`, paths); see `as_dict`."""

    run: Run
    dataset: Dataset
    sources: tuple[str, ...]
    photos: int
    missing: int
    added: int

    def as_dict(self) -> dict[str, Any]:
        """The run that was grown, as the manifest has it: its `photos`, those `missing`, and those `added`."""
        about = {"run": self.run.name, "folder": str(self.run.folder.resolve()), "data": list(self.sources)}
        return about | {"photos": self.photos, "missing": self.missing, "added": self.added}


@dataclass(frozen=True)
class Changes:
    """How the answers of two runs differ on the photos that both predicted without having been trained on them.

    `rows` are path, label, and the answers before and after, where they differ.
    """

    run: str
    rows: tuple[tuple[str, str, str, str], ...]
    accuracy: tuple[float, float]
    test: McNemar

    @property
    def sentences(self) -> tuple[str, str]:
        """What changes, and whether that is more than chance."""
        changed, images = len(self.rows), self.test.count
        other = changed - self.test.gained - self.test.lost
        still = f", {other:,} from one wrong answer to another" if other else ""
        verb = "changes" if changed == 1 else "change"
        what = f": {self.test.gained:,} to right, {self.test.lost:,} to wrong{still} ({CHANGES})" if changed else ""
        before, after = (percent(value) for value in self.accuracy)
        return (
            f"{changed:,} of {count(images, 'photo')} of {self.run} {verb}{what}",
            f"accuracy on them {before} to {after}; {self.test.sentence('the old run', 'the new run')}",
        )

    def as_dict(self) -> dict[str, Any]:
        """The form of the manifest."""
        return {"changed": len(self.rows), "accuracy": list(self.accuracy), "comparison": self.test.as_dict()}


def grow(options: FinetuneOptions, data: Data, progress: Progress) -> Growth:
    """Join the photos of the run `options.from_run` with those of `data`, which may be of new classes.

    A photo that the run has already counts once, with the label that it has in `data`. Raises DataError where most
    photos of the run or all of a class are gone, or `data` has no labels; RunError for a run that trained its backbone.
    """
    run = load_run(options.from_run)
    if run.tuned is not None:
        unfreeze = dict(run.manifest["options"]).get("unfreeze", "all")
        raise RunError(
            f"{run.name} trained its backbone, and --from adds photos to a head alone: train on all photos together,"
            f" with `tl finetune DATA --unfreeze {unfreeze}`"
        )
    more = load(data, labelled=False, download=options.download, offline=options.offline, progress=progress)
    if not more.class_names:
        raise DataError(f"{more.name} has no labels: put its images into one folder a class, such as cat/ and dog/")
    more = more if more.groups else _grouped(more, data, options.group_by, run, progress)
    hint = "put them back, or train on all photos together with `tl finetune DATA`"
    images = RunImages(run, None, progress, hint, group_by=options.group_by, more=more)
    own, missing = images.everything()
    _check_missing(run, own, missing, hint)
    if missing:
        verb = "is missing or has" if missing == 1 else "are missing or have"
        progress.warn(f"{count(missing, 'photo')} of {run.name} {verb} changed: trained without")
    joined, known = _joined(run, own, more)
    sources = [*images.sources, *([] if is_in_memory(data) else [str(data)])]
    growth = Growth(
        run, joined, tuple(dict.fromkeys(sources)), photos=len(own), missing=missing, added=len(more.images) - known
    )
    note = f"{count(growth.photos, 'photo')} of {run.name}, {growth.added:,} added"
    notes = (note + (f"; it has {known:,} of those in {more.name} already" if known else ""), *joined.notes)
    return replace(growth, dataset=replace(joined, notes=notes))


def _grouped(more: Dataset, data: Data, group_by: str | None, run: Run, progress: Progress) -> Dataset:
    try:
        more = grouped(more, data, group_by)
    except UsageError as error:
        raise UsageError(f"{error}; the photos of {run.name} keep the groups that they have") from None
    if group_by is not None and not any(more.groups):
        progress.warn(f"--group-by {group_by!r} finds no group in {more.name}: each of its photos stands alone")
    return more


def _check_missing(run: Run, own: Sequence[RunImage], missing: int, hint: str) -> None:
    if missing > _MOST_MISSING * (len(own) + missing):
        raise DataError(
            f"{missing:,} of the {len(own) + missing:,} photos of {run.name} are missing or changed: {hint}"
        )
    gone = [name for label, name in enumerate(run.classes) if label not in {image.label for image in own}]
    if gone:
        raise DataError(f"all photos of {quoted(gone)} of {run.name} are missing or have changed: {hint}")


def _joined(run: Run, own: Sequence[RunImage], more: Dataset) -> tuple[Dataset, int]:
    """The data set of both, and how many of the new photos the run has already."""
    label_of = {image.sha256: run.classes[image.label] for image in own}
    samples, hashes = more.samples(), [sha256_of(image) for image in more.images]
    known = {at for at, one in enumerate(hashes) if label_of.get(one) is not None}
    same = {at for at in known if samples[at].label in (None, label_of[hashes[at]])}
    relabelled = {hashes[at] for at in known - same}
    kept = [image for image in own if image.sha256 not in relabelled]
    first = assemble(
        [Sample(image.image, image.name, run.classes[image.label], image.part) for image in kept],
        source=run.name,
        name=_NAMES.join(dict.fromkeys([*str(run.manifest["data"]["name"]).split(_NAMES), more.name])),
        root=None,
        labelled=False,
    )
    groups = tuple(image.group for image in kept)
    second = replace(more.without(dict.fromkeys(same, "")), skipped=more.skipped, notes=more.notes)
    if relabelled:
        verb = "has" if len(relabelled) == 1 else "have"
        note = f"{count(len(relabelled), 'photo')} of {run.name} {verb} another label in {more.name}: that one counts"
        second = replace(second, notes=(*second.notes, note))
    return replace(first, groups=groups if any(groups) else ()).joined(second), len(known)


def compare_answers(run: Run, predictions: Predictions, fingerprints: Sequence[bytes]) -> Changes | None:
    """Compare what a run answered on its photos with new predictions; `fingerprints` are those of all images.

    Each photo is judged by its label now. None without a photo that both predicted. Raises RunError for a damaged run.
    """
    sha256_of_path = {row[0]: row[1] for row in read_table(run, "split.csv", ("path", "sha256"))}
    answers = read_table(run, "predictions.csv", ("path", "predicted"))
    before = {sha256_of_path[path]: answer for path, answer in answers if path in sha256_of_path}
    names = predictions.dataset.class_names
    common: dict[str, tuple[str, str, str, str]] = {}
    for row, index in enumerate(predictions.indices.tolist()):
        sha256 = fingerprints[index].hex()
        if sha256 in before:
            label, after = names[predictions.labels[row]], names[predictions.probabilities[row].argmax()]
            common[sha256] = predictions.dataset.names[index], label, before[sha256], after
    if not common:
        return None
    rows = list(common.values())
    correct = [np.array([row[at] == row[1] for row in rows]) for at in (2, 3)]
    return Changes(
        run.name,
        tuple(row for row in rows if row[2] != row[3]),
        accuracy=(float(correct[0].mean()), float(correct[1].mean())),
        test=mcnemar(*correct),
    )


def write_changes(folder: Path, changes: Changes) -> None:
    """Write changes.csv, a row for each photo whose answer changes, into a run folder."""
    with (folder / CHANGES).open("w", newline="", encoding="utf-8", errors="replace") as stream:
        csv.writer(stream).writerows([("path", "label", "before", "after"), *changes.rows])
