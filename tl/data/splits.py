"""A data set becomes a split into training, validation and test images, keyed by what the images are.

Which side an image goes to follows from its content and the seed alone: the same on any machine, in any order of files,
and copies of an image never stand on both sides.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, quoted
from tl.datasets.nesting import several
from tl.errors import DataError


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

    `originals` are the fingerprints of the images that they show once more (see `tl.doctor.originals`), by which they
    are kept together; without them only byte-identical ones are. Of a split that the data set gives itself, no more is
    taken out than what is byte-identical.
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
