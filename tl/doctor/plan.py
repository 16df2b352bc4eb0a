"""Plan a clean copy of a data set: which images to leave out, relabel or rename, and why."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, Labels, Sample
from tl.data.decoding import SUFFIXES
from tl.data.image_stats import ImageStats
from tl.data.near_duplicates import Copy, find_copies, group_copies, groups_of_several
from tl.doctor.faulty_files import file_findings, same_class
from tl.doctor.labels import Suspect, suspect_labels
from tl.errors import DataError
from tl.linalg import Floats
from tl.text import count, percent, quoted

KINDS = ("unreadable", "duplicates", "two-labels", "leaks", "extensions", "class-names")
DEFAULT_KINDS = KINDS[:-1]  # classes are merged only if that is requested
_PRIORITY = ("test", "validation", "train")  # a photo in several parts stays in the first of these


@dataclass(frozen=True)
class Step:
    """What to do with one image and why: `kind` of KINDS, "labels", "too-small", or "" for one left as it is."""

    sample: Sample
    kept: bool
    kind: str = ""
    why: str = ""
    label: str | None = None
    suffix: str = ""

    @property
    def action(self) -> str:
        """What is done: "kept", "left out", "relabelled", "renamed", "relabelled and renamed"."""
        if not self.kept:
            return "left out"
        actions = ["relabelled"] if self.label != self.sample.label else []
        return " and ".join(actions + ["renamed"] * bool(self.suffix)) or "kept"


@dataclass(frozen=True)
class Plan:
    """One step for each image, in the order of the data set; `notes` say which checks were skipped, and why."""

    dataset: Dataset
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    @property
    def kept(self) -> list[Step]:
        """The steps of the images in the clean copy."""
        return [step for step in self.steps if step.kept]

    @property
    def changed(self) -> list[Step]:
        """The steps that do something."""
        return [step for step in self.steps if step.action != "kept"]

    def as_dict(self) -> dict[str, Any]:
        """The number of images of each kind, and each change, for JSON."""
        return {
            "data": self.dataset.name,
            "images": len(self.steps),
            "kept": len(self.kept),
            "kinds": dict(Counter(step.kind for step in self.changed)),
            "changes": [
                {"path": step.sample.name, "done": step.action, "kind": step.kind, "why": step.why}
                | ({"label": step.label} if step.kept else {})
                for step in self.changed
            ],
            "notes": list(self.notes),
        }


def plan_fixes(
    dataset: Dataset,
    stats: ImageStats,
    features: Floats,
    usable: Labels,
    *,
    kinds: Collection[str] = DEFAULT_KINDS,
    relabel: bool = False,
    smallest: int = 0,
    seed: int = 0,
) -> Plan:
    """The plan of a clean copy; `features` `[len(usable), size]` are those of the images at `usable`.

    `kinds` are the problems to fix; with `relabel`, labels that are surely wrong are changed; classes of which fewer
    than `smallest` images are left are left out. Raises DataError if fewer than two classes of a labelled data set
    would be left.
    """
    planner = _Planner(dataset, stats, kinds)
    same = find_copies(stats, features, usable) if planner.fixes("duplicates", "two-labels", "leaks") else []
    if relabel or (same and planner.fixes("two-labels")):
        planner.judge_labels(features, usable, group_copies(len(dataset.names), same), relabel=relabel, seed=seed)
    if planner.fixes("unreadable"):
        planner.drop_unreadable()
    planner.drop_copies(same)
    if planner.fixes("class-names"):
        planner.merge_classes()
    planner.drop_small_classes(smallest)
    if planner.fixes("extensions"):
        planner.correct_extensions()
    steps = tuple(planner.steps)
    before = len({step.sample.label for step in steps} - {None})
    after = len({step.label for step in steps if step.kept} - {None})
    if not any(step.kept for step in steps) or after < 2 <= before:
        raise DataError(
            f"fixing {dataset.name!r} would leave {after} of {before} classes: see what is wrong with tl data check,"
            " and fix less with --only"
        )
    if lost := {sample.label for sample in dataset.samples()} - {step.sample.label for step in steps if step.kept}:
        planner.notes.append(f"no image is left of {quoted(map(str, lost))}")
    return Plan(dataset, steps, tuple(planner.notes))


class _Planner:
    def __init__(self, dataset: Dataset, stats: ImageStats, kinds: Collection[str]) -> None:
        self.dataset, self.stats, self.kinds = dataset, stats, kinds
        self.steps = [Step(sample, True, label=sample.label) for sample in dataset.samples()]
        self.suspects: dict[int, Suspect] = {}
        self.notes = list(dataset.omissions)
        self.merged = _merged_names(dataset)
        if self.merged and not self.fixes("class-names"):
            listed = quoted(name for name, largest in self.merged.items() if name != largest)
            self.notes.append(f"possibly second names of other classes: {listed}; --merge-classes merges them")
            self.merged = {}

    def fixes(self, *kinds: str) -> bool:
        """Whether any of these kinds is to be fixed."""
        return any(kind in self.kinds for kind in kinds)

    def drop_unreadable(self) -> None:
        for index, reason in self.stats.errors.items():
            self._drop(index, "unreadable", reason)

    def judge_labels(self, features: Floats, usable: Labels, group: Labels, *, relabel: bool, seed: int) -> None:
        """Find the labels that are surely wrong, and with `relabel` change them."""
        names = self.dataset.class_names
        try:
            suspects = suspect_labels(features, self.dataset.labels[usable], len(names), group[usable], seed=seed)
        except DataError as error:
            self.notes.append(str(error))
            return
        self.suspects = {int(usable[suspect.row]): suspect for suspect in suspects if suspect.is_sure}
        for index, suspect in self.suspects.items() if relabel else ():
            label = names[suspect.looks_like]
            why = f"looks like {label} ({percent(suspect.other_probability, 0)})"
            self.steps[index] = replace(self.steps[index], label=label, kind="labels", why=why)

    def drop_copies(self, same: Sequence[Copy]) -> None:
        """Keep one of the images that show the same photo."""
        for members in groups_of_several(group_copies(len(self.dataset.names), same)):
            if len({self._class(index) for index in members} - {None}) < 2:
                self._keep_largest(members)
            elif self.fixes("two-labels"):
                self._keep_largest(self._drop_wrong_labels(members))

    def merge_classes(self) -> None:
        for index, step in enumerate(self.steps):
            if step.kept and step.label is not None and self._merged(step.label) != step.label:
                reason = f"{step.label!r} is merged into {self._merged(step.label)!r}"
                self._add(index, "class-names", reason)
                self.steps[index] = replace(self.steps[index], label=self._merged(step.label))

    def drop_small_classes(self, smallest: int) -> None:
        sizes = Counter(step.label for step in self.steps if step.kept)
        for index, step in enumerate(self.steps):
            if step.kept and step.label is not None and sizes[step.label] < smallest:
                self._drop(index, "too-small", f"{count(sizes[step.label], 'image')} left of class {step.label!r}")

    def correct_extensions(self) -> None:
        for finding in file_findings(self.dataset, self.stats):
            if finding.kind == "wrong extension" and finding.images:
                index = finding.images[0]
                header = self.stats.headers[index]
                if self.steps[index].kept and header is not None:
                    self._add(index, "extensions", finding.evidence)
                    self.steps[index] = replace(self.steps[index], suffix=SUFFIXES[header.format][0])

    def _drop(self, index: int, kind: str, why: str) -> None:
        if self.steps[index].kept:
            self.steps[index] = replace(self.steps[index], kept=False, kind=kind, why=why, label=None, suffix="")

    def _add(self, index: int, kind: str, reason: str) -> None:
        """Note a change of a step that may have others: the first kind stays, the reasons add up."""
        step = self.steps[index]
        why = f"{step.why}; {reason}" if step.why else reason
        self.steps[index] = replace(step, kind=step.kind or kind, why=why)

    def _merged(self, label: str) -> str:
        return self.merged.get(label, label)

    def _class(self, index: int) -> str | None:
        label = self.steps[index].label
        return None if label is None else self._merged(label)

    def _drop_wrong_labels(self, members: list[int]) -> list[int]:
        """Of copies with several labels, keep those with the right one; none if that is not sure."""
        wrong = [index for index in members if index in self.suspects]
        right = [index for index in members if index not in self.suspects]
        looks_like = {self._merged(self.dataset.class_names[self.suspects[index].looks_like]) for index in wrong}
        files = " and ".join(repr(self.dataset.names[index]) for index in members[:3])
        labels = {self._class(index) for index in right}
        if len(labels) != 1 or labels != looks_like:
            for index in members:
                self._drop(index, "two-labels", f"one photo with several labels, none of them sure: {files}")
            return []
        for index in wrong:
            self._drop(index, "two-labels", f"one photo with several labels, this one surely wrong: {files}")
        return right

    def _keep_largest(self, members: list[int]) -> None:
        """Keep the largest of the copies in the part of the split that matters most."""
        kept = [index for index in members if self.steps[index].kept]
        part = {index: self.dataset.parts[index] or "train" for index in kept}
        side = next((side for side in _PRIORITY if side in part.values()), "")
        if not side:
            return
        best = max((index for index in kept if part[index] == side), key=self._size)  # the first of equals
        name = repr(self.dataset.names[best])
        for index in kept:
            if part[index] != side and self.fixes("leaks"):
                self._drop(index, "leaks", f"shows the same photo as {name} in {side}")
            elif part[index] == side and index != best and self.fixes("duplicates"):
                self._drop(index, "duplicates", f"shows the same photo as {name}, which is at least as large")

    def _size(self, index: int) -> tuple[int, int]:
        header = self.stats.headers[index]
        return (header.width * header.height, header.bytes) if header else (0, 0)


def _merged_names(dataset: Dataset) -> dict[str, str]:
    """The name that each class continues under: that of the largest class with the same meaning."""
    sizes = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.class_names)).tolist()
    names: dict[str, str] = {}
    for labels in same_class(dataset.class_names):
        largest = dataset.class_names[max(labels, key=lambda label: sizes[label])]
        names |= {dataset.class_names[label]: largest for label in labels}
    return names
