"""Split a data set into training, validation and test images, so that copies and groups never stand on both sides.

Which side an image goes to follows from its content and the seed alone: it is the same on any machine and in any order
of files.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tl.data.dataset import PARTS, Dataset, Labels
from tl.data.folders import nesting_warning
from tl.data.load import Data
from tl.data.near_duplicates import Copy, group_copies
from tl.data.tables import UNUSED, has_columns, read_column
from tl.errors import DataError, UsageError
from tl.text import count, quoted

Row = tuple[str, str, str, str]
"""An image of a split data set: its path, its label and its part ("" for none), and its sha256."""

_DIFFER = ("label", "part of the split", "content")

GROUP_BY_HELP = "What must stay on one side of the split: a column, a place in the path, or a pattern."


@dataclass(frozen=True)
class Split:
    """Indices into the data set, ascending; `notes` say what was decided, a short sentence each."""

    train: Labels
    validation: Labels
    test: Labels
    notes: tuple[str, ...]
    seed: int


def check_counts(dataset: Dataset, *, validation: float | None = 0.2) -> None:
    """Check before any image is read whether a data set can be split. Raises DataError as `split` does."""
    _check_options(dataset, validation)
    rows = [(int(label), part) for label, part in zip(dataset.labels, dataset.parts, strict=True) if label >= 0]
    training = Counter(label for label, part in rows if part in (None, "train"))
    missing = [name for at, name in enumerate(dataset.class_names) if not training[at]]
    if missing:
        raise _no_training_images(missing)
    if validation is None or any(part == "validation" for _, part in rows):
        return
    if max(training.values()) < 2:
        raise _too_few(dataset)


def split(
    dataset: Dataset,
    fingerprints: Sequence[bytes],
    *,
    originals: Sequence[bytes] | None = None,
    validation: float | None = 0.2,
    seed: int = 0,
) -> Split:
    """Split a data set whose images have these content hashes, stratified by class.

    Images with the same hash in `originals` (see `tl.data.near_duplicates`) stay on one side, without it only
    byte-identical ones, and so do the groups of the data set. Where it has a split of its own, that is kept, less the
    training images that are byte-identical to one that is held out, or of its group. `validation` is the fraction of
    each class that is held out where the data set holds out none; None holds out none. A class of one photo or group
    is trained on. Raises DataError for a fraction outside of (0, 1), for a class without training images, and where
    nothing could be held out.
    """
    if len(fingerprints) != len(dataset.names):
        raise ValueError(f"{len(fingerprints)} fingerprints for {len(dataset.names)} images")
    _check_options(dataset, validation)
    splitter = _Splitter(dataset, fingerprints, fingerprints if originals is None else originals, seed)
    parts = splitter.own_parts() if any(part not in (None, "train") for part in dataset.parts) else {}
    train = parts.get("train", splitter.labelled)
    held_out = parts.get("validation", [])
    if missing := set(dataset.class_names) - set(splitter.classes(train)):
        raise splitter.no_training_images(missing)
    if not held_out and validation is not None:
        train, held_out = splitter.hold_out(train, validation)
    elif not held_out:
        splitter.note_copies(train)
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
        self.units = unite(originals, dataset.groups)
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
            what = "a copy or of the group" if self.dataset.groups else "a copy"
            raise DataError(f"data set {self.dataset.name!r}: every validation image is {what} of a test image")
        held_out = parts["validation"] + parts["test"]
        parts["train"] = self._without_copies(parts["train"], "training", held_out, "validation or test")
        unchecked = set(self.classes(parts["train"])) - set(self.classes(parts["validation"]))
        if had_validation and unchecked:
            self.notes.append(f"no validation images for {quoted(unchecked)}")
        return parts

    def no_training_images(self, missing: set[str]) -> DataError:
        """The error for classes without training images, naming the groups that took them to the other parts."""
        dataset = self.dataset
        if not dataset.groups:
            return _no_training_images(missing)
        rows = [(dataset.groups[index], dataset.parts[index] in (None, "train"), index) for index in self.labelled]
        held_out = {group for group, in_training, _ in rows if group and not in_training}
        lost = {group for group, in_training, index in rows if in_training and group in held_out}
        if not lost:
            return _no_training_images(missing)
        return DataError(
            f"groups leave no training images for {quoted(missing)}: theirs are of groups in validation or test, too,"
            f" such as {quoted(lost, 3)}: move each group to one part, or leave out --group-by"
        )

    def hold_out(self, train: list[int], fraction: float) -> tuple[list[int], list[int]]:
        """Training images in two: those that stay, and `fraction` of every class for validation."""
        units = np.unique([self.units[index] for index in train], return_inverse=True)[1]
        sides = _assign(
            self.dataset.labels[train], units, [self.units[index] for index in train], [fraction], self.seed
        )
        held_out = [index for index, side in zip(train, sides[units], strict=True) if side == 0]
        if not held_out:
            raise _too_few(self.dataset)
        if single := set(self.classes(train)) - set(self.classes(held_out)):
            self.notes.append(f"no validation images for {quoted(single)}: one photo or group, which is trained on")
        self.note_copies(train)
        held = set(held_out)
        return [index for index in train if index not in held], held_out

    def _without_copies(self, indices: list[int], part: str, others: list[int], where: str) -> list[int]:
        seen = {self.fingerprints[index] for index in others}
        distinct = [index for index in indices if self.fingerprints[index] not in seen]
        groups = self.dataset.groups
        seen_groups = {groups[index] for index in others} - {""} if groups else set()
        kept = [index for index in distinct if not groups or groups[index] not in seen_groups]
        for left_out, reason in (
            (len(indices) - len(distinct), "byte-identical to one"),
            (len(distinct) - len(kept), "of the group of one"),
        ):
            if left_out:
                self.notes.append(f"{count(left_out, 'image')} left out of {part}: {reason} in {where}")
        return kept

    def note_copies(self, train: list[int]) -> None:
        """Note how many training images are copies of others, or look like them."""
        originals = len({self.originals[index] for index in train})
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


def split_rows(dataset: Dataset, split: Split, fingerprints: Sequence[bytes]) -> list[Row]:
    """A row for each image of a data set, with its part of the split."""
    part_of = {int(index): part for part in PARTS for index in getattr(split, part)}
    labels = [dataset.class_names[label] if label >= 0 else "" for label in dataset.labels.tolist()]
    parts = [part_of.get(index, "") for index in range(len(labels))]
    return list(zip(dataset.names, labels, parts, (one.hex() for one in fingerprints), strict=True))


def describe_changes(before: Iterable[Row], after: Iterable[Row]) -> str:
    """How the rows of a data set differ from those of before, in a few words; "" where they do not."""
    old, new = ({row[0]: row for row in rows} for rows in (before, after))
    classes = [{row[1] for row in rows.values()} for rows in (old, new)]
    both = [name for name in old if name in new]
    differing = [[name for name in both if old[name][at] != new[name][at]] for at in (1, 2, 3)]
    kinds = [
        ("class", "no longer there", sorted(classes[0] - classes[1])),
        ("class", "new", sorted(classes[1] - classes[0])),
        ("image", "no longer there", [name for name in old if name not in new]),
        ("image", "new", [name for name in new if name not in old]),
        *(("image", f"with another {what}", names) for what, names in zip(_DIFFER, differing, strict=True)),
    ]
    return "; ".join(f"{count(len(names), noun)} {what} ({quoted(names, 1)})" for noun, what, names in kinds if names)


def _shuffled(seed: int, fingerprint: bytes) -> bytes:
    """The place of an image in the order that the seed gives."""
    return hashlib.sha256(f"{seed}:".encode() + fingerprint).digest()


def _check_options(dataset: Dataset, validation: float | None) -> None:
    if validation is not None and not 0 < validation < 1:
        raise DataError(f"the validation fraction must be between 0 and 1, such as 0.2; got {validation:g}")
    if len(dataset.class_names) < 2:
        names = quoted(dataset.class_names) or "none"
        raise DataError(f"data set {dataset.name!r} has fewer than two classes with usable images: {names}")


def _no_training_images(missing: Iterable[str]) -> DataError:
    return DataError(
        f"no training images for {quoted(missing)}: every class needs at least one; add images or remove the class"
    )


def _too_few(dataset: Dataset) -> DataError:
    warning = nesting_warning(dataset)
    return DataError(
        "no class has two images or groups, one for training and one for validation: add images, or train on all with"
        " tl finetune without --val and --unfreeze" + (f"; {warning}" if warning else "")
    )


def unite(originals: Sequence[bytes], groups: Sequence[str]) -> list[bytes]:
    """One content hash `[n]` for all images that copies or groups connect: the smallest of them.

    Copies have the same hash in `originals` `[n]`, a group's images the same name in `groups` `[n]`; "" is none.
    """
    if not groups:
        return list(originals)
    first: dict[bytes, int] = {}
    copies = [Copy(first.setdefault(original, at), at, 1.0) for at, original in enumerate(originals)]
    units = group_copies(len(originals), copies, groups).tolist()
    least: dict[int, bytes] = {}
    for unit, original in zip(units, originals, strict=True):
        least[unit] = min(original, least.get(unit, original))
    return [least[unit] for unit in units]


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
    split that training makes. A class with fewer groups than sides is trained on first, then validated. Raises
    UsageError for fractions that leave no training images, DataError where groups keep a larger class off a side, or
    no class is large enough.
    """
    if not all(0 <= fraction < 1 for fraction in fractions.values()) or not 0 < sum(fractions.values()) < 1:
        received = ", ".join(f"{side} {fraction:g}" for side, fraction in fractions.items())
        raise UsageError(
            f"fractions must be at least 0, and below 1 together, such as --val 0.2 --test 0.1; got {received}"
        )
    sides = {side: fraction for side, fraction in fractions.items() if fraction > 0}
    in_classes = Counter(label for _, label in set(zip(groups.tolist(), labels.tolist(), strict=True)))
    enough = [label for label in range(len(class_names)) if in_classes[label] > len(sides)]
    if not enough:
        raise DataError(
            f"no class has {len(sides) + 1} distinct images or groups, one for each side: add images, or split into"
            " fewer sides"
        )
    side_of = _assign(labels, groups, fingerprints, list(sides.values()), seed)[groups]
    for side, purpose in [(-1, "training"), *((number, "validation or test") for number in range(len(sides)))]:
        without = [class_names[label] for label in enough if label not in labels[side_of == side]]
        if without:
            raise DataError(
                f"groups leave no {purpose} images of {quoted(without)}: use smaller groups, another fraction or --seed"
            )
    names = [*sides, "train"]  # -1 is the last
    return [names[side] for side in side_of]


def _assign(
    labels: Labels, groups: Labels, fingerprints: Sequence[bytes], fractions: Sequence[float], seed: int
) -> Labels:
    """The side of each group: an index into `fractions`, or -1 for training.

    Training and each side that is still to be filled keep a group of every class, as far as there are.
    """
    counts: list[Counter[int]] = [Counter() for _ in range(int(groups.max()) + 1)]  # images of each class in a group
    least: dict[int, bytes] = {}
    for label, group, fingerprint in zip(labels.tolist(), groups.tolist(), fingerprints, strict=True):
        counts[group][label] += 1
        least[group] = min(fingerprint, least.get(group, fingerprint))
    order = sorted(least, key=lambda group: _shuffled(seed, least[group]))
    groups_of: dict[int, list[int]] = defaultdict(list)
    for group in order:
        for label in counts[group]:
            groups_of[label].append(group)
    side_of = np.full(len(counts), -1)
    for number, fraction in enumerate(fractions):
        remaining = len(fractions) - number  # sides that still need a group of each class
        target = {
            label: min(
                max(round(fraction * sum(counts[group][label] for group in own)), 1),
                sum(counts[group][label] for group in own if side_of[group] < 0) - remaining,
            )
            for label, own in groups_of.items()
        }
        _fill(number, target, counts, groups_of, remaining=remaining, order=order, side_of=side_of)
    return side_of


def _fill(
    number: int,
    target: dict[int, int],
    counts: Sequence[Counter[int]],
    groups_of: dict[int, list[int]],
    *,
    remaining: int,
    order: list[int],
    side_of: Labels,
) -> None:
    """Give groups to a side until its classes are as near to their targets as they come."""
    missing = dict(target)
    left = {label: sum(side_of[group] < 0 for group in own) for label, own in groups_of.items()}

    def is_free(group: int) -> bool:
        return side_of[group] < 0 and all(left[label] > remaining for label in counts[group])

    def take(group: int) -> None:
        side_of[group] = number
        for label, images in counts[group].items():
            missing[label] -= images
            left[label] -= 1

    for group in order:
        # The squared distance to the targets falls: |m - c|² < |m|².
        nearer = sum(images * (2 * missing[label] - images) for label, images in counts[group].items()) > 0
        if nearer and is_free(group):
            take(group)
    for label in sorted(groups_of):  # a class with large groups alone needs one of them here
        if missing[label] == target[label]:
            free = [group for group in groups_of[label] if is_free(group)]
            if free:
                take(min(free, key=lambda group: counts[group].total()))


def grouped(dataset: Dataset, data: Data, group_by: str | None) -> Dataset:
    """The data set with the groups that `group_by` says, as `groups_by` reads it; the same one without it.

    Raises UsageError as `groups_by` does.
    """
    if group_by is None:
        return dataset
    groups = tuple(groups_by(dataset, data, str(group_by)))
    return replace(dataset, groups=groups, notes=tuple(_with_column(dataset.notes, str(group_by))))


def _with_column(notes: Iterable[str], column: str) -> Iterator[str]:
    """The notes, without this column among those that are not used."""
    for note in notes:
        names = note.removeprefix(UNUSED).split(", ") if note.startswith(UNUSED) else []
        others = [name for name in names if name.casefold() != column.casefold()]
        if others or not names:
            yield UNUSED + ", ".join(others) if names else note


def check_groups(dataset: Dataset, group_by: str | None) -> None:
    """Raise UsageError where `group_by` has put all images into one group, or none into any."""
    if group_by is not None and len(set(dataset.groups)) < 2:
        names = f"such as {dataset.names[0]!r}" if dataset.names else "there are none"
        finds = f"puts all images into one group, {dataset.groups[0]!r}" if any(dataset.groups) else "finds no group"
        raise UsageError(f"--group-by {group_by!r} {finds} ({names}): give another column, place or pattern")


def groups_by(dataset: Dataset, data: Data, group_by: str) -> list[str]:
    r"""The group of each image ("" for none): a column of the table, a place in the path, or what a pattern matches.

    `patient` is a column, `0` the first folder of each name (-2 the last), `(patient\d+)_` a regular expression whose
    parenthesis is the group. Raises UsageError where none of these fits.
    """
    if re.fullmatch(r"-?\d+", group_by):
        place = int(group_by)
        parts = [name.split("/") for name in dataset.names]
        groups = [part[place] if -len(part) <= place < len(part) else "" for part in parts]
    elif "(" in group_by:
        groups = _groups_by_pattern(dataset, group_by)
    elif has_columns(data):
        column = read_column(data, group_by)
        groups = [column.get(name, "") for name in dataset.names]
    else:
        raise UsageError(
            f"--group-by {group_by!r} is a column, but {dataset.name!r} is not a table: give a place in the path, such"
            r" as 0, or a pattern such as '(patient\d+)_'"
        )
    return groups


def _groups_by_pattern(dataset: Dataset, text: str) -> list[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--group-by {text!r} is not a regular expression: {error}") from None
    if pattern.groups < 1:
        raise UsageError(f"--group-by {text!r} has no group: put what tells the groups apart in parentheses")
    matches = [pattern.search(name) for name in dataset.names]
    return [match[1] or "" if match else "" for match in matches]
