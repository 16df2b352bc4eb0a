"""A column of a table, or a part of each name, becomes groups of photos that must stay on one side of a split."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from tl.data.dataset import Dataset, clean
from tl.data.tables import DELIMITERS
from tl.doctor.findings import Finding
from tl.doctor.mending import Mending
from tl.errors import UsageError

_SHOWN = 12  # files of a group that a finding names


def groups_by(dataset: Dataset, data: str, group_by: str) -> list[str]:
    """The group of each picture ("" for none): a column of the table, a place in the path, or what a pattern matches.

    `patient` is a column, `0` the first folder of each name (-2 the last), `(patient\\d+)_` a regular expression whose
    parenthesis is the group. Raises UsageError where none of these fits.
    """
    if re.fullmatch(r"-?\d+", group_by):
        return [_part(name, int(group_by)) for name in dataset.names]
    if "(" in group_by:
        return _matched(dataset, group_by)
    table = Path(data)
    if table.suffix.lower() not in DELIMITERS:
        raise UsageError(
            f"--group-by {group_by!r} is a column, but {data!r} is no table: give a place in the path, such as 0, or a"
            r" pattern such as '(patient\d+)_'"
        )
    column = _column(table, group_by)
    return [column.get(name, "") for name in dataset.names]


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


def _column(table: Path, name: str) -> dict[str, str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        delimiter = max(",;\t", key=header.count)
        names = [field.strip().casefold() for field in next(csv.reader([header], delimiter=delimiter), [])]
        if name.casefold() not in names:
            raise UsageError(f"table {str(table)!r} has no column {name!r}: it has {', '.join(names)}")
        path = next((names.index(word) for word in ("path", "filename", "file", "image") if word in names), 0)
        at = names.index(name.casefold())
        rows = [row for row in csv.reader(file, delimiter=delimiter) if len(row) > max(at, path)]
    return {clean(Path(row[path].strip().replace("\\", "/")).as_posix()): row[at].strip() for row in rows}
