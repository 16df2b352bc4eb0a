"""Split a data set into training, validation and test images, so that copies never stand on both sides.

Which side an image goes to follows from its content and the seed alone: it is the same on any machine and in any order
of files.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import PARTS, Dataset, Labels
from tl.data.folders import nesting_warning
from tl.data.load import Data
from tl.data.tables import DELIMITERS, read_column
from tl.errors import DataError, UsageError
from tl.text import count, quoted


@dataclass(frozen=True)
class Split:
    """Indices into the data set, ascending; `notes` say what was decided, a short sentence each."""

    train: Labels
    validation: Labels
    test: Labels
    notes: tuple[str, ...]
    seed: int


def check_counts(dataset: Dataset, *, validation: float = 0.2) -> None:
    """Check before any image is read whether a data set can be split. Raises DataError as `split` does."""
    _check_options(dataset, validation)
    rows = [(int(label), part) for label, part in zip(dataset.labels, dataset.parts, strict=True) if label >= 0]
    training = Counter(label for label, part in rows if part in (None, "train"))
    missing = [name for at, name in enumerate(dataset.class_names) if not training[at]]
    if missing:
        raise _no_training_images(missing)
    if any(part == "validation" for _, part in rows):
        return
    total = Counter(label for label, _ in rows)
    for at in range(len(dataset.class_names)):
        if training[at] < 2:
            raise _too_few(dataset, at, 1, "" if total[at] == 1 else "training ")


def split(
    dataset: Dataset,
    fingerprints: Sequence[bytes],
    *,
    originals: Sequence[bytes] | None = None,
    validation: float = 0.2,
    seed: int = 0,
) -> Split:
    """Split a data set whose images have these content hashes, stratified by class.

    Images with the same hash in `originals` (see `tl.data.near_duplicates`) stay on one side; without it only
    byte-identical ones do. Where the data set has a split of its own, it is kept, less the training images that are
    byte-identical to one that is held out. `validation` is the fraction of each class's distinct images that is held
    out where the data set holds out none. Raises DataError for a fraction outside of (0, 1) and for a class without
    training or validation images.
    """
    if len(fingerprints) != len(dataset.names):
        raise ValueError(f"{len(fingerprints)} fingerprints for {len(dataset.names)} images")
    _check_options(dataset, validation)
    splitter = _Splitter(dataset, fingerprints, fingerprints if originals is None else originals, seed)
    parts = splitter.own_parts() if any(part not in (None, "train") for part in dataset.parts) else {}
    train = parts.get("train", splitter.labelled)
    held_out = parts.get("validation", [])
    if not held_out:
        train, held_out = splitter.hold_out(train, validation)
    if missing := set(dataset.class_names) - set(splitter.classes(train)):
        raise _no_training_images(missing)
    return Split(
        train=np.array(sorted(train), dtype=np.int64),
        validation=np.array(sorted(held_out), dtype=np.int64),
        test=np.array(sorted(parts.get("test", [])), dtype=np.int64),
        notes=tuple(splitter.notes),
        seed=seed,
    )


class _Splitter:
    def __init__(self, dataset: Dataset, fingerprints: Sequence[bytes], originals: Sequence[bytes], seed: int) -> None:
        self.dataset = dataset
        self.fingerprints = fingerprints
        self.originals = originals
        self.seed = seed
        self.notes: list[str] = []
        self.labelled = [index for index, label in enumerate(dataset.labels) if label >= 0]
        self._note_conflicts()
        if unlabelled := len(dataset.names) - len(self.labelled):
            self.notes.append(f"{count(unlabelled, 'image')} without a label left out")

    def own_parts(self) -> dict[str, list[int]]:
        """The parts of the data set's own split, without images that would stand on two sides."""
        parts: dict[str, list[int]] = {side: [] for side in PARTS}
        for index in self.labelled:
            parts[self.dataset.parts[index] or "train"].append(index)
        had_validation = bool(parts["validation"])
        parts["validation"] = self._without_copies(parts["validation"], "validation", parts["test"], "test")
        if had_validation and not parts["validation"]:
            raise DataError(f"data set {self.dataset.name!r}: every validation image is a copy of a test image")
        held_out = parts["validation"] + parts["test"]
        parts["train"] = self._without_copies(parts["train"], "training", held_out, "validation or test")
        unchecked = set(self.classes(parts["train"])) - set(self.classes(parts["validation"]))
        if had_validation and unchecked:
            self.notes.append(f"no validation images for {quoted(unchecked)}")
        return parts

    def hold_out(self, train: list[int], fraction: float) -> tuple[list[int], list[int]]:
        """Training images in two: those that stay, and `fraction` of every class for validation."""
        class_of: dict[bytes, int] = {}
        for index in train:
            label = int(self.dataset.labels[index])
            class_of[self.originals[index]] = min(label, class_of.get(self.originals[index], label))
        members: dict[int, list[bytes]] = {label: [] for label in range(len(self.dataset.class_names))}
        for original, label in class_of.items():
            members[label].append(original)
        held: set[bytes] = set()
        for label, distinct in members.items():
            if len(distinct) < 2:
                total = int((self.dataset.labels == label).sum())
                raise _too_few(self.dataset, label, len(distinct), "" if len(distinct) == total else "distinct ")
            distinct.sort(key=lambda original: _shuffled(self.seed, original))
            held.update(distinct[: min(max(round(len(distinct) * fraction), 1), len(distinct) - 1)])
        self._note_copies(train, len(class_of))
        stays = [index for index in train if self.originals[index] not in held]
        return stays, [index for index in train if self.originals[index] in held]

    def _without_copies(self, indices: list[int], part: str, others: list[int], where: str) -> list[int]:
        seen = {self.fingerprints[index] for index in others}
        kept = [index for index in indices if self.fingerprints[index] not in seen]
        if len(kept) < len(indices):
            left_out = count(len(indices) - len(kept), "image")
            self.notes.append(f"{left_out} left out of {part}: byte-identical to one in {where}")
        return kept

    def _note_copies(self, train: list[int], originals: int) -> None:
        files = len({self.fingerprints[index] for index in train})
        if files < len(train):
            copies = count(len(train) - files, "image")
            self.notes.append(f"{copies} byte-identical to another; copies stay on one side")
        if originals < files:
            verb = "looks" if files - originals == 1 else "look"
            self.notes.append(f"{count(files - originals, 'image')} {verb} like another one; copies stay on one side")

    def _note_conflicts(self) -> None:
        labels: dict[bytes, dict[int, int]] = defaultdict(dict)
        for index in self.labelled:
            labels[self.fingerprints[index]].setdefault(int(self.dataset.labels[index]), index)
        conflicts = sorted(
            sorted(self.dataset.names[index] for index in first.values()) for first in labels.values() if len(first) > 1
        )
        if conflicts:
            example = " and ".join(repr(name) for name in conflicts[0][:2])
            verb = "is" if len(conflicts) == 1 else "are"
            self.notes.append(
                f"{count(len(conflicts), 'image')} {verb} in more than one class, such as {example}: check them"
            )

    def classes(self, indices: list[int]) -> list[str]:
        return [self.dataset.class_names[label] for label in self.dataset.labels[indices]]


def _shuffled(seed: int, fingerprint: bytes) -> bytes:
    """The place of an image in the order that the seed gives."""
    return hashlib.sha256(f"{seed}:".encode() + fingerprint).digest()


def _check_options(dataset: Dataset, validation: float) -> None:
    if not 0 < validation < 1:
        raise DataError(f"the validation fraction must be between 0 and 1, such as 0.2; got {validation:g}")
    if len(dataset.class_names) < 2:
        names = quoted(dataset.class_names) or "none"
        raise DataError(f"data set {dataset.name!r} has fewer than two classes with usable images: {names}")


def _no_training_images(missing: Iterable[str]) -> DataError:
    return DataError(
        f"no training images for {quoted(missing)}: every class needs at least one; add images or remove the class"
    )


def _too_few(dataset: Dataset, label: int, images: int, which: str) -> DataError:
    warning = nesting_warning(dataset)
    return DataError(
        f"class {dataset.class_names[label]!r} has {count(images, f'{which}image')}; every class needs at least 2, one"
        " for training and one for validation: add images or remove the class" + (f"; {warning}" if warning else "")
    )


def grouped_split(
    labels: Labels,
    groups: Labels,
    fingerprints: Sequence[bytes],
    class_names: Sequence[str],
    fractions: dict[str, float],
    seed: int,
) -> list[str]:
    """Assign each image a side: "test" and "validation" in their `fractions`, the rest "train".

    `labels` `[n]` in `range(len(class_names))`; images of one number in `groups` `[n]` stay on one side. A group goes
    to a side where that brings the side's classes nearer to their fractions; without copies and groups that is the
    split that training makes. Raises UsageError for fractions that leave no training images, DataError for a class that
    cannot be on each side.
    """
    if not all(0 <= fraction < 1 for fraction in fractions.values()) or not 0 < sum(fractions.values()) < 1:
        received = ", ".join(f"{side} {fraction:g}" for side, fraction in fractions.items())
        raise UsageError(
            f"fractions must be at least 0, and below 1 together, such as --val 0.2 --test 0.1; got {received}"
        )
    sides = {side: fraction for side, fraction in fractions.items() if fraction > 0}
    counts = np.zeros((int(groups.max()) + 1, len(class_names)), np.int64)  # images of each class in a group
    np.add.at(counts, (groups, labels), 1)
    few = [name for name, own in zip(class_names, (counts > 0).sum(axis=0), strict=True) if own <= len(sides)]
    if few:
        raise DataError(
            f"classes with fewer than {len(sides) + 1} distinct images or groups, one for each side: {quoted(few)};"
            " add images, or split into fewer sides"
        )
    least: dict[int, bytes] = {}
    for group, fingerprint in zip(groups.tolist(), fingerprints, strict=True):
        least[group] = min(fingerprint, least.get(group, fingerprint))
    order = sorted(least, key=lambda group: _shuffled(seed, least[group]))
    side_of = np.full(len(counts), -1)
    for number, fraction in enumerate(sides.values()):
        remaining = len(sides) - number  # sides that still need an image of each class
        most = counts[side_of < 0].sum(axis=0) - remaining
        target = np.minimum(np.maximum(np.round(fraction * counts.sum(axis=0)), 1), most)
        _fill(number, target, counts, order, side_of)
    _check_sides(counts, side_of, class_names)
    names = [*sides, "train"]  # -1 is the last
    return [names[side_of[group]] for group in groups]


def _fill(number: int, target: NDArray[np.float64], counts: Labels, order: list[int], side_of: Labels) -> None:
    """Give groups to a side until its classes are as near to their targets as they come."""
    held = np.zeros_like(target)
    for group in order:
        missing, own = target - held, counts[group]
        # The squared distance to the targets falls: |m - c|² < |m|².
        if side_of[group] < 0 and own @ own < 2 * (missing @ own):
            side_of[group] = number
            held += own
    for label in np.flatnonzero(held == 0):  # a class with large groups alone needs one of them here
        free = [group for group in order if side_of[group] < 0 and counts[group, label]]
        if len(free) > 1:
            smallest = min(free, key=lambda group: int(counts[group].sum()))
            side_of[smallest] = number
            held += counts[smallest]


def _check_sides(counts: Labels, side_of: Labels, class_names: Sequence[str]) -> None:
    for side in (-1, *range(int(side_of.max()) + 1)):
        held = counts[side_of == side].sum(axis=0)
        without = [name for name, images in zip(class_names, held, strict=True) if not images]
        if without:
            purpose = "training" if side < 0 else "validation or test"
            raise DataError(
                f"groups leave no {purpose} images of {quoted(without)}: use smaller groups, another fraction or --seed"
            )


def groups_by(dataset: Dataset, data: Data, group_by: str) -> list[str]:
    r"""The group of each image ("" for none): a column of the table, a place in the path, or what a pattern matches.

    `patient` is a column, `0` the first folder of each name (-2 the last), `(patient\d+)_` a regular expression whose
    parenthesis is the group. Raises UsageError where none of these fits.
    """
    if re.fullmatch(r"-?\d+", group_by):
        place = int(group_by)
        parts = [name.split("/") for name in dataset.names]
        return [part[place] if -len(part) <= place < len(part) else "" for part in parts]
    if "(" in group_by:
        return _groups_by_pattern(dataset, group_by)
    table = Path(data) if isinstance(data, (str, PathLike)) else Path()
    if table.suffix.lower() not in DELIMITERS:
        raise UsageError(
            f"--group-by {group_by!r} is a column, but {dataset.name!r} is not a table: give a place in the path, such"
            r" as 0, or a pattern such as '(patient\d+)_'"
        )
    column = read_column(table, group_by)
    return [column.get(name, "") for name in dataset.names]


def _groups_by_pattern(dataset: Dataset, text: str) -> list[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--group-by {text!r} is not a regular expression: {error}") from None
    if pattern.groups < 1:
        raise UsageError(f"--group-by {text!r} has no group: put what tells the groups apart in parentheses")
    matches = [pattern.search(name) for name in dataset.names]
    return [match[1] or "" if match else "" for match in matches]
