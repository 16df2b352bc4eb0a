"""Copies become findings: one photo in two parts of a split, under two labels, or merely twice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.near_duplicates import Copy, groups
from tl.doctor.findings import Finding
from tl.doctor.suggest import Mending

Labels = NDArray[np.int64]

_SHOWN = 12  # files of a group that a finding names
_HELD_OUT = ("validation", "test")


def duplicates(dataset: Dataset, found: Sequence[Copy], parts: Sequence[str | None], *, given: bool) -> list[Finding]:
    """A finding for each photo that is there more than once.

    `parts` are those in which the pictures are learnt from and checked with; `given` says that the data set itself
    tells them, and not the split that training would make.
    """
    together: dict[int, list[Copy]] = {}
    number = groups(len(dataset.names), found)
    for copy in found:
        together.setdefault(int(number[copy.first]), []).append(copy)
    return [_finding(dataset, same, parts, given) for same in together.values()]


def _finding(dataset: Dataset, same: list[Copy], parts: Sequence[str | None], given: bool) -> Finding:
    members = sorted({index for copy in same for index in (copy.first, copy.second)})
    labels = sorted({dataset.class_names[dataset.labels[index]] for index in members if dataset.labels[index] >= 0})
    sides = [part for part in ("train", *_HELD_OUT) if any(parts[index] == part for index in members)]
    exact = all(copy.identical for copy in same)
    what = "the same bytes" if exact else _how(same)
    mending = Mending(dataset)
    if len(labels) > 1:
        kind, severity = "two labels", "error" if exact else "warning"
        said = f"one photo is labelled {' and '.join(labels[:4])} ({what}); keep the one whose label is right"
        mend = mending.remove(members[0])
    elif len(sides) > 1:
        kind, severity = "leak", "error" if given else "warning"
        said = f"one photo in {' and in '.join(sides)}{'' if given else ' of the split by default'} ({what})"
        mend = mending.remove(*_learnt(members, parts, sides))
    else:
        kind, severity = "duplicate", "note"
        said = f"one photo {len(members)} times ({what})"
        mend = mending.remove(*members[1:])
    likeness = max(copy.likeness for copy in same)
    names = tuple(dataset.names[index] for index in members)
    return Finding(kind, severity, names, said, mend, likeness, tuple(members))


def _learnt(members: list[int], parts: Sequence[str | None], sides: list[str]) -> list[int]:
    """What is taken out to mend a leak: all but what the last part holds, so that checks stay as they are."""
    return [index for index in members if parts[index] != sides[-1]]


def _how(same: list[Copy]) -> str:
    least = min(copy.likeness for copy in same if not copy.identical)
    mirrored = ", mirrored" if any(copy.mirrored for copy in same) else ""
    return f"{100 * least:.1f} % alike, laid over each other{mirrored}"


def torn(dataset: Dataset, groups: Sequence[str], parts: Sequence[str | None], *, given: bool) -> list[Finding]:
    """Findings about groups that stand on more than one side of a split."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        if group and parts[index]:
            members.setdefault(group, []).append(index)
    mending = Mending(dataset)
    found = []
    for group, indices in sorted(members.items()):
        sides = [part for part in ("train", "validation", "test") if any(parts[index] == part for index in indices)]
        if len(sides) < 2:
            continue
        fewest = min(sides, key=lambda side: sum(parts[index] == side for index in indices))
        astray = [index for index in indices if parts[index] == fewest]
        said = f"group {group} has photos in {' and in '.join(sides)}{'' if given else ' of the split by default'}"
        shown = tuple(astray[:_SHOWN])
        names = tuple(dataset.names[index] for index in shown)
        severity = "error" if given else "warning"
        found.append(Finding("torn group", severity, names, said, mending.remove(*astray[:_SHOWN]), 0.9, shown))
    return found
