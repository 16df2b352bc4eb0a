"""A data set that has been read becomes a plan of what a clean copy leaves out, renames and moves; and why."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, Sample
from tl.data.decoding import SUFFIXES
from tl.data.near_duplicates import Copy, copies, groups
from tl.data.write import samples_of
from tl.doctor.files import files, same_class
from tl.doctor.labels import Suspect, suspects
from tl.doctor.read import Seen
from tl.errors import DataError, UsageError

KINDS = ("unreadable", "duplicates", "two-labels", "leaks", "extensions", "class-names")
"""What is mended unless less is asked for."""

_SIDES = ("test", "validation", "train")  # where one photo is in several, it stays in the first of these


@dataclass(frozen=True)
class Step:
    """What becomes of one image: `kind` of KINDS, "labels", "skipped", or "" for one that stays as it is; and why."""

    sample: Sample
    kept: bool
    kind: str = ""
    why: str = ""
    label: str | None = None
    suffix: str = ""

    @property
    def done(self) -> str:
        """What is done, in a word or two."""
        if not self.kept:
            return "left out"
        words = ["relabelled"] if self.label != self.sample.label else []
        return " and ".join([*words, *(["renamed"] if self.suffix else [])]) or "kept"


@dataclass(frozen=True)
class Plan:
    """One step an image, in the order of the data set; `notes` say what was not looked into, and why."""

    dataset: Dataset
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    @property
    def kept(self) -> list[Step]:
        """The steps of what a clean copy holds."""
        return [step for step in self.steps if step.kept]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: how many images of each kind, and each change."""
        changed = [step for step in self.steps if step.done != "kept"]
        return {
            "data": self.dataset.name,
            "images": len(self.steps),
            "kept": len(self.kept),
            "kinds": dict(Counter(step.kind for step in changed)),
            "changes": [
                {"path": step.sample.name, "done": step.done, "kind": step.kind, "why": step.why}
                | ({"label": step.label} if step.kept else {})
                for step in changed
            ],
            "notes": list(self.notes),
        }


def plan(dataset: Dataset, seen: Seen, *, only: Collection[str] = KINDS, relabel: bool = False, seed: int = 0) -> Plan:
    """What a clean copy of a data set does with each image. Raises UsageError for a kind that is none.

    Labels that are probably wrong are changed with `relabel` alone. Raises DataError where fewer than two classes of a
    labelled data set would be left.
    """
    for kind in only:
        if kind not in KINDS:
            raise UsageError(f"--only {kind!r} is nothing that is mended; there are {', '.join(KINDS)}")
    work = _Work(dataset, seen, only)
    same = copies(seen.looks, seen.features, seen.usable) if work.wants("duplicates", "two-labels", "leaks") else []
    if relabel or (same and work.wants("two-labels")):
        work.audit(groups(len(dataset.names), same), relabel, seed)
    if "unreadable" in only:
        work.unreadable()
    work.one_of_each(same)
    if "class-names" in only:
        work.class_names()
    if "extensions" in only:
        work.extensions()
    steps = tuple(work.steps)
    had = len({step.sample.label for step in steps} - {None})
    left = len({step.label for step in steps if step.kept} - {None})
    if not any(step.kept for step in steps) or left < 2 <= had:
        raise DataError(
            f"cleaning {dataset.name!r} leaves {left} of {had} classes: look with tl data check, use --only"
        )
    return Plan(dataset, steps, tuple(work.notes))


class _Work:
    """A plan under way."""

    def __init__(self, dataset: Dataset, seen: Seen, only: Collection[str]) -> None:
        self.dataset, self.seen, self.only = dataset, seen, only
        self.steps = [Step(sample, True, label=sample.label) for sample in samples_of(dataset)]
        self.sure: dict[int, Suspect] = {}
        self.notes: list[str] = []
        self.merged = _merged(dataset)

    def wants(self, *kinds: str) -> bool:
        return any(kind in self.only for kind in kinds)

    def drop(self, index: int, kind: str, why: str) -> None:
        if self.steps[index].kept:
            self.steps[index] = replace(self.steps[index], kept=False, kind=kind, why=why, label=None, suffix="")

    def unreadable(self) -> None:
        for index, reason in self.seen.looks.errors.items():
            self.drop(index, "unreadable", reason)

    def audit(self, group: "np.ndarray[Any, np.dtype[np.int64]]", relabel: bool, seed: int) -> None:
        """Find the labels that are surely wrong, and change them where asked for."""
        labelled = np.flatnonzero(self.dataset.labels[self.seen.usable] >= 0)
        indices = self.seen.usable[labelled]
        features = self.seen.features if len(labelled) == len(self.seen.usable) else self.seen.features[labelled]
        classes = len(self.dataset.class_names)
        try:
            found = suspects(features, self.dataset.labels[indices], classes, group[indices], seed=seed)
        except DataError as error:
            self.notes.append(str(error))
            return
        self.sure = {int(indices[suspect.place]): suspect for suspect in found if suspect.sure}
        for index, suspect in self.sure.items() if relabel else ():
            label = self.dataset.class_names[suspect.looks_like]
            why = f"looks like {label} ({100 * suspect.other_share:.0f} %)"
            self.steps[index] = replace(self.steps[index], label=label, kind="labels", why=why)

    def one_of_each(self, same: Sequence[Copy]) -> None:
        """Of what shows one photo, keep one."""
        number = groups(len(self.dataset.names), same)
        together: dict[int, list[int]] = defaultdict(list)
        for index in sorted({index for copy in same for index in (copy.first, copy.second)}):
            together[int(number[index])].append(index)
        for members in together.values():
            # Two spellings of one class are no two labels.
            labels = {self._class(index) for index in members} - {None}
            if len(labels) > 1 and not self.wants("two-labels"):
                continue
            if len(labels) > 1:
                members = self._agreed(members)
            self._reduce(members)

    def _class(self, index: int) -> str | None:
        label = self.steps[index].label
        return None if label is None else self._goes_on_as(label)

    def _goes_on_as(self, label: str) -> str:
        return self.merged[label] if self.wants("class-names") else label

    def _agreed(self, members: list[int]) -> list[int]:
        """Of copies under several labels, those with the right one; none where the audit of labels is unsure."""
        doubted = [index for index in members if index in self.sure]
        meant = {self._class(index) for index in members if index not in self.sure}
        to = {self._goes_on_as(self.dataset.class_names[self.sure[index].looks_like]) for index in doubted}
        named = " and ".join(repr(self.dataset.names[index]) for index in members[:3])
        if len(meant) != 1 or meant != to:
            for index in members:
                self.drop(index, "two-labels", f"one photo under several labels, of which none is sure: {named}")
            return []
        for index in doubted:
            self.drop(index, "two-labels", f"one photo under several labels, of which this is surely wrong: {named}")
        return [index for index in members if index not in self.sure]

    def _reduce(self, members: list[int]) -> None:
        members = [index for index in members if self.steps[index].kept]
        sides = [side for side in _SIDES if any((self.dataset.parts[index] or "train") == side for index in members)]
        here = [index for index in members if (self.dataset.parts[index] or "train") == sides[0]] if sides else []
        if not here:
            return
        best = max(here, key=self._pixels)  # of those alike the first
        name = repr(self.dataset.names[best])
        for index in members:
            if index == best:
                continue
            if index not in here:
                if self.wants("leaks"):
                    self.drop(index, "leaks", f"shows the same photo as {name} in {sides[0]}")
            elif self.wants("duplicates"):
                self.drop(index, "duplicates", f"shows the same photo as {name}, which is as large or larger")

    def _pixels(self, index: int) -> tuple[int, int]:
        header = self.seen.looks.headers[index]
        return (header.width * header.height, header.bytes) if header else (0, 0)

    def class_names(self) -> None:
        for index, step in enumerate(self.steps):
            if step.kept and step.label is not None and self.merged[step.label] != step.label:
                why = f"{step.label!r} and {self.merged[step.label]!r} are one class"
                kind, why = (step.kind, f"{step.why}; {why}") if step.kind else ("class-names", why)
                self.steps[index] = replace(step, label=self.merged[step.label], kind=kind, why=why)

    def extensions(self) -> None:
        found = [one for one in files(self.dataset, self.seen.looks) if one.kind == "wrong extension" and one.pictures]
        for finding in found:
            step, header = self.steps[finding.pictures[0]], self.seen.looks.headers[finding.pictures[0]]
            if step.kept and header is not None:
                why = f"{step.why}; {finding.evidence}" if step.why else finding.evidence
                kind = step.kind or "extensions"
                self.steps[finding.pictures[0]] = replace(step, suffix=SUFFIXES[header.format][0], kind=kind, why=why)


def _merged(dataset: Dataset) -> dict[str, str]:
    """The name under which each class goes on: that of the largest of those that may be one."""
    into = {name: name for name in dataset.class_names}
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(into)).tolist()
    for labels in same_class(dataset.class_names):
        most = max(labels, key=lambda label: counts[label])
        into |= {dataset.class_names[label]: dataset.class_names[most] for label in labels}
    return into
