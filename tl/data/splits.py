"""A data set becomes a split into training, validation and test images, keyed by what the images are.

Which side an image goes to follows from its content and the seed alone: the same on any machine, in any order of files,
and copies of an image never stand on both sides.
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

from tl.data.dataset import Dataset, quoted
from tl.data.folders import several
from tl.data.load import Data
from tl.data.tables import DELIMITERS, read_column
from tl.errors import DataError, UsageError


@dataclass(frozen=True)
class Split:
    """Indices into the data set, ascending; `notes` say what was decided, a short sentence each."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    notes: tuple[str, ...]
    seed: int


def check_counts(dataset: Dataset, *, validation: float = 0.2) -> None:
    """Refuse what `split` would refuse, as far as numbers of images tell it, before any image is read.

    Raises DataError as `split` does.
    """
    _check_wanted(dataset, validation)
    rows = [(int(label), part) for label, part in zip(dataset.labels, dataset.parts, strict=True) if label >= 0]
    learnt = Counter(label for label, part in rows if part in (None, "train"))
    missing = [name for at, name in enumerate(dataset.class_names) if not learnt[at]]
    if missing:
        raise DataError(_unlearnable(missing))
    if any(part == "validation" for _, part in rows):
        return
    whole = Counter(label for label, _ in rows)
    for at in range(len(dataset.class_names)):
        if learnt[at] < 2:
            raise DataError(_too_few(dataset, at, 1, "" if whole[at] == 1 else " for training"))


def split(
    dataset: Dataset,
    fingerprints: Sequence[bytes],
    *,
    originals: Sequence[bytes] | None = None,
    validation: float = 0.2,
    seed: int = 0,
) -> Split:
    """The split of a data set whose images have these fingerprints, stratified by class.

    `originals` are the fingerprints of the images that they show once more (see `tl.data.near_duplicates`), by which
    they are kept together; without them only byte-identical ones are. Of a split that the data set gives itself, no
    more is taken out than what is byte-identical.
    `validation` is the share of each class's distinct images that is held out, where the data set does not say itself.
    Raises DataError for a share outside of (0, 1) and for a class that cannot be learnt from or checked with.
    """
    if len(fingerprints) != len(dataset.names):
        raise ValueError(f"{len(fingerprints)} fingerprints for {len(dataset.names)} images")
    _check_wanted(dataset, validation)
    work = _Work(dataset, fingerprints, fingerprints if originals is None else originals, seed)
    parts = work.given() if any(part not in (None, "train") for part in dataset.parts) else {}
    train = parts.get("train", work.labelled)
    held = parts.get("validation", [])
    if not held:
        train, held = work.carve(train, validation)
    work.check_learnable(train)
    return Split(
        train=np.array(sorted(train), dtype=np.int64),
        validation=np.array(sorted(held), dtype=np.int64),
        test=np.array(sorted(parts.get("test", [])), dtype=np.int64),
        notes=tuple(work.notes),
        seed=seed,
    )


class _Work:
    """The images of one split under way, and what there is to say about them."""

    def __init__(self, dataset: Dataset, fingerprints: Sequence[bytes], originals: Sequence[bytes], seed: int) -> None:
        self.dataset = dataset
        self.fingerprints = fingerprints
        self.originals = originals
        self.seed = seed
        self.notes: list[str] = []
        self.labelled = [index for index, label in enumerate(dataset.labels) if label >= 0]
        self._note_conflicts()
        without = len(dataset.names) - len(self.labelled)
        if without:
            self.notes.append(f"{_images(without)} without a label left out")

    def given(self) -> dict[str, list[int]]:
        """The parts as the data set gives them, without the images that would be seen twice."""
        parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for index in self.labelled:
            parts[self.dataset.parts[index] or "train"].append(index)
        had_validation = bool(parts["validation"])
        parts["validation"] = self._apart(parts["validation"], "validation", parts["test"], "test")
        if had_validation and not parts["validation"]:
            raise DataError(f"data set {self.dataset.name!r}: every validation image is a copy of a test image")
        held, where = parts["validation"] + parts["test"], "validation or test"
        parts["train"] = self._apart(parts["train"], "training", held, where)
        unchecked = set(self._names(parts["train"])) - set(self._names(parts["validation"]))
        if had_validation and unchecked:
            self.notes.append(f"no validation images for {quoted(unchecked)}")
        return parts

    def carve(self, train: list[int], share: float) -> tuple[list[int], list[int]]:
        """Training images in two: what stays, and `share` of every class for validation."""
        home = self._home(train)
        members: dict[int, list[bytes]] = {label: [] for label in range(len(self.dataset.class_names))}
        for fingerprint, label in home.items():
            members[label].append(fingerprint)
        held: set[bytes] = set()
        for label, distinct in members.items():
            if len(distinct) < 2:
                whole = int((self.dataset.labels == label).sum())
                which = "" if len(distinct) == whole else " of its own that differ"
                raise DataError(_too_few(self.dataset, label, len(distinct), which))
            distinct.sort(key=self._key)
            held.update(distinct[: min(max(round(len(distinct) * share), 1), len(distinct) - 1)])
        stays = [index for index in train if self.originals[index] not in held]
        goes = [index for index in train if self.originals[index] in held]
        files = len({self.fingerprints[index] for index in train})
        if files < len(train):
            self.notes.append(f"{_images(len(train) - files)} byte-identical to another; copies stay on one side")
        if len(home) < files:
            verb = "looks" if files - len(home) == 1 else "look"
            self.notes.append(f"{_images(files - len(home))} {verb} like another one; copies stay on one side")
        return stays, goes

    def check_learnable(self, train: list[int]) -> None:
        missing = set(self.dataset.class_names) - set(self._names(train))
        if missing:
            raise DataError(_unlearnable(missing))

    def _key(self, fingerprint: bytes) -> bytes:
        return hashlib.sha256(f"{self.seed}:".encode() + fingerprint).digest()

    def _home(self, indices: list[int]) -> dict[bytes, int]:
        home: dict[bytes, int] = {}
        for index in indices:
            label = int(self.dataset.labels[index])
            home[self.originals[index]] = min(label, home.get(self.originals[index], label))
        return home

    def _apart(self, indices: list[int], part: str, others: list[int], where: str) -> list[int]:
        seen = {self.fingerprints[index] for index in others}
        kept = [index for index in indices if self.fingerprints[index] not in seen]
        if len(kept) < len(indices):
            count = _images(len(indices) - len(kept))
            self.notes.append(f"{count} left out of {part}: byte-identical to one in {where}")
        return kept

    def _note_conflicts(self) -> None:
        places: dict[bytes, dict[int, int]] = defaultdict(dict)
        for index in self.labelled:
            places[self.fingerprints[index]].setdefault(int(self.dataset.labels[index]), index)
        conflicts = sorted(
            sorted(self.dataset.names[index] for index in found.values()) for found in places.values() if len(found) > 1
        )
        if conflicts:
            example = " and ".join(repr(name) for name in conflicts[0][:2])
            verb = "stands" if len(conflicts) == 1 else "stand"
            self.notes.append(f"{_images(len(conflicts))} {verb} in more than one class, such as {example}: check them")

    def _names(self, indices: list[int]) -> list[str]:
        return [self.dataset.class_names[label] for label in self.dataset.labels[indices]]


def _check_wanted(dataset: Dataset, validation: float) -> None:
    if not 0 < validation < 1:
        raise DataError(f"the validation share must lie between 0 and 1, such as 0.2; got {validation:g}")
    if len(dataset.class_names) < 2:
        found = quoted(dataset.class_names) or "none"
        raise DataError(f"data set {dataset.name!r} has fewer than two classes with usable images: {found}")


def _unlearnable(missing: Iterable[str]) -> str:
    return (
        f"no training images for {quoted(missing)}: every class needs at least one to learn from; add images"
        " or remove the class"
    )


def _too_few(dataset: Dataset, label: int, count: int, which: str) -> str:
    said = (
        f"class {dataset.class_names[label]!r} has {_images(count)}{which}; every class needs at least 2, one to learn "
        "from and one to check with: add images or remove the class"
    )
    doubt = several(dataset)
    return f"{said}; {doubt}" if doubt else said


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


Labels = NDArray[np.int64]

SIDES = ("train", "validation", "test")


def apart(
    labels: Labels,
    units: Labels,
    fingerprints: Sequence[bytes],
    names: Sequence[str],
    shares: dict[str, float],
    seed: int,
) -> list[str]:
    """The side of each photo: "test" and "validation" in their `shares`, the rest "train".

    `labels` `[n]` in `range(len(names))`; photos of one number in `units` `[n]` stay on one side. Who goes where
    follows from the fingerprints and the seed alone. A unit goes to a side where that brings the side's classes nearer
    to their shares; without copies and groups that is the split that training makes. Raises UsageError for shares that
    leave nothing to learn from, DataError for a class that cannot be on each side.
    """
    if not all(0 <= share < 1 for share in shares.values()) or not 0 < sum(shares.values()) < 1:
        told = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise UsageError(f"shares must be from 0 up, and below 1 together, such as --val 0.2 --test 0.1; got {told}")
    wanted = {side: share for side, share in shares.items() if share > 0}
    counts = _counts(labels, units, len(names))
    _check(counts, names, len(wanted) + 1)
    order = _order(units, fingerprints, seed)
    side_of = np.full(len(counts), -1)
    for number, share in enumerate(wanted.values()):
        after = len(wanted) - number  # sides that still want a photo of each class
        most = counts[side_of < 0].sum(axis=0) - after
        target = np.minimum(np.maximum(np.round(share * counts.sum(axis=0)), 1), most)
        _fill(number, target, counts, order, side_of)
    _check_learnable(counts, side_of, names)
    sides = [*wanted, "train"]  # -1 is the last
    return [sides[side_of[unit]] for unit in units]


def _counts(labels: Labels, units: Labels, classes: int) -> Labels:
    """How many photos `[units, classes]` of each class a unit holds."""
    counts = np.zeros((int(units.max()) + 1, classes), np.int64)
    np.add.at(counts, (units, labels), 1)
    return counts


def _order(units: Labels, fingerprints: Sequence[bytes], seed: int) -> list[int]:
    """The units as the seed shuffles them: by what a photo of theirs is, and not by any order of files."""
    least: dict[int, bytes] = {}
    for unit, fingerprint in zip(units.tolist(), fingerprints, strict=True):
        least[unit] = min(fingerprint, least.get(unit, fingerprint))
    return sorted(least, key=lambda unit: hashlib.sha256(f"{seed}:".encode() + least[unit]).digest())


def _fill(number: int, target: NDArray[np.float64], counts: Labels, order: list[int], side_of: Labels) -> None:
    held = np.zeros_like(target)
    for unit in order:
        missing, own = target - held, counts[unit]
        # The squared distance to the shares falls: |m - c|² < |m|².
        if side_of[unit] < 0 and own @ own < 2 * (missing @ own):
            side_of[unit] = number
            held += own
    for label in np.flatnonzero(held == 0):  # a class whose only units are large is still to be checked with
        free = [unit for unit in order if side_of[unit] < 0 and counts[unit, label]]
        if len(free) > 1:
            best = min(free, key=lambda unit: int(counts[unit].sum()))
            side_of[best] = number
            held += counts[best]


def _check(counts: Labels, names: Sequence[str], sides: int) -> None:
    few = [name for name, held in zip(names, (counts > 0).sum(axis=0), strict=True) if held < sides]
    if few:
        raise DataError(
            f"classes with fewer than {sides} photos or groups that differ, one for each side: {quoted(few)}; add"
            " photos, or ask for fewer sides"
        )


def _check_learnable(counts: Labels, side_of: Labels, names: Sequence[str]) -> None:
    for side in (-1, *range(int(side_of.max()) + 1)):
        held = counts[side_of == side].sum(axis=0)
        without = [name for name, count in zip(names, held, strict=True) if not count]
        if without:
            told = "to learn from" if side < 0 else "to check with"
            raise DataError(
                f"groups leave nothing {told} of {quoted(without)}: take smaller groups, another share or --seed"
            )


def groups_by(dataset: Dataset, data: Data, group_by: str) -> list[str]:
    """The group of each picture ("" for none): a column of the table, a place in the path, or what a pattern matches.

    `patient` is a column, `0` the first folder of each name (-2 the last), `(patient\\d+)_` a regular expression whose
    parenthesis is the group. Raises UsageError where none of these fits.
    """
    if re.fullmatch(r"-?\d+", group_by):
        return [_part(name, int(group_by)) for name in dataset.names]
    if "(" in group_by:
        return _matched(dataset, group_by)
    table = Path(data) if isinstance(data, (str, PathLike)) else Path()
    if table.suffix.lower() not in DELIMITERS:
        raise UsageError(
            f"--group-by {group_by!r} is a column, but {dataset.name!r} is not a table: give a place in the path, such"
            r" as 0, or a pattern such as '(patient\d+)_'"
        )
    column = read_column(table, group_by)
    return [column.get(name, "") for name in dataset.names]


def _part(name: str, place: int) -> str:
    parts = name.split("/")
    return parts[place] if -len(parts) <= place < len(parts) else ""


def _matched(dataset: Dataset, pattern: str) -> list[str]:
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-by {pattern!r} is not a regular expression: {error}") from None
    if wanted.groups < 1:
        raise UsageError(f"--group-by {pattern!r} has no group: put what tells the groups in parentheses")
    found = [wanted.search(name) for name in dataset.names]
    return [match[1] or "" if match else "" for match in found]
