"""Find photos that are in a data set more than once: on two sides of the split, under two labels, or just twice."""

from collections.abc import Sequence

from tl.data.dataset import PARTS, Dataset
from tl.data.near_duplicates import Copy, group_copies
from tl.doctor.findings import Finding, FixCommands
from tl.text import count, percent

Parts = Sequence[str | None]

_MAX_FILES = 12  # of a group that a finding lists


def duplicate_findings(dataset: Dataset, copies: Sequence[Copy], parts: Parts, *, own_split: bool) -> list[Finding]:
    """A finding for each photo that is in the data set more than once.

    `parts` has the part of the split of each image; `own_split` says whether the data set itself defines it, rather
    than the split that training would make.
    """
    grouped: dict[int, list[Copy]] = {}
    group = group_copies(len(dataset.names), copies)
    for copy in copies:
        grouped.setdefault(int(group[copy.first]), []).append(copy)
    return [_duplicate(dataset, same, parts, own_split) for same in grouped.values()]


def _duplicate(dataset: Dataset, same: list[Copy], parts: Parts, own_split: bool) -> Finding:
    members = sorted({index for copy in same for index in (copy.first, copy.second)})
    labels = sorted({dataset.class_names[dataset.labels[index]] for index in members if dataset.labels[index] >= 0})
    sides = _sides(parts, members)
    identical = all(copy.identical for copy in same)
    how = "identical files"
    if not identical:
        least = min(copy.likeness for copy in same if not copy.identical)
        mirrored = ", mirrored" if any(copy.mirrored for copy in same) else ""
        how = f"{percent(least)} similar when aligned{mirrored}"
    fixes = FixCommands(dataset)
    if len(labels) > 1:
        kind, severity = "two labels", "error" if identical else "warning"
        evidence = f"one photo is labelled {' and '.join(labels[:4])} ({how})"
        fix = "remove the one with the wrong label"
    elif len(sides) > 1:
        kind, severity = "leak", "error" if own_split else "warning"
        evidence = f"one photo in {_listed(sides, own_split)} ({how})"
        fix = fixes.remove(*(index for index in members if parts[index] != sides[-1]))  # the held-out data stay as is
    else:
        kind, severity = "duplicate", "note"
        evidence = f"{len(members)} copies of one photo ({how})"
        fix = fixes.remove(*members[1:])
    return fixes.finding(kind, severity, evidence, *members, fix=fix, score=max(copy.likeness for copy in same))


def _sides(parts: Parts, indices: Sequence[int]) -> list[str]:
    return [side for side in PARTS if any(parts[index] == side for index in indices)]


def _listed(sides: Sequence[str], own_split: bool) -> str:
    return f"{' and in '.join(sides)}{'' if own_split else ' of the default split'}"


def group_findings(dataset: Dataset, groups: Sequence[str], parts: Parts, *, own_split: bool) -> list[Finding]:
    """Findings about groups (such as all photos of one patient) that are on more than one side of the split."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        if group and parts[index]:
            members.setdefault(group, []).append(index)
    fixes = FixCommands(dataset)
    findings = []
    for group, indices in sorted(members.items()):
        sides = _sides(parts, indices)
        if len(sides) < 2:
            continue
        smallest = min(sides, key=lambda side: sum(parts[index] == side for index in indices))
        misplaced = [index for index in indices if parts[index] == smallest]
        shown = misplaced[:_MAX_FILES]
        evidence = f"group {group} has images in {_listed(sides, own_split)}"
        if len(misplaced) > len(shown):
            evidence += f"; the first {len(shown)} of {count(len(misplaced), 'image')} in {smallest} are listed"
        severity = "error" if own_split else "warning"
        findings.append(fixes.finding("group leak", severity, evidence, *shown, fix=fixes.remove(*shown), score=0.9))
    return findings
