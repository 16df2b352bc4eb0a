"""A table of path,label[,split] becomes a data set; paths are relative to the folder of the table."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tl.data.dataset import ALIASES, Dataset, Sample, Skipped, assemble, clean, part_of, short_name
from tl.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}

_COLUMNS = {
    "path": ("path", "filename", "file", "image"),
    "label": ("label", "class"),
    "split": ("split",),
}


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    split: str


def load_table(table: Path, *, labelled: bool) -> Dataset:
    """The images that a .csv or .tsv file names, in its order; commas, semicolons or tabs separate its columns.

    A path with backslashes that does not exist is taken with slashes if that does. Rows whose file is missing are
    skipped. Raises DataError for a missing column, no label where `labelled`, an unknown split, or when no file exists
    at all.
    """
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    seen: set[tuple[str, str]] = set()
    root = str(table.parent)
    for row in _rows(table, labelled):
        name = clean(_plain(row.path))
        reason = _problem(row, os.path.join(root, row.path), seen)
        if reason:
            skipped.append(Skipped(name if row.path else f"line {row.line}", reason))
            continue
        seen.add((row.path, row.label))
        samples.append(Sample(table.parent / row.path, name, row.label or None, _part(table, row)))
    if not samples:
        raise DataError(_why_nothing(table, skipped))
    return assemble(
        samples,
        source=f"table {str(table)!r}",
        name=short_name(table.stem),
        root=table.parent,
        skipped=skipped,
        labelled=labelled,
    )


def read_paths(table: Path) -> Iterator[str]:
    """Read the paths in a .csv or .tsv file, row by row. Raises DataError as `load_table` does."""
    return (row.path for row in _rows(table, labelled=False))


def _rows(table: Path, labelled: bool) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = _delimiter(first, DELIMITERS[table.suffix.lower()])
            reader = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
            column = _columns(table, next(reader, []), labelled)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                values = {
                    key: fields[at].strip() if at is not None and at < len(fields) else "" for key, at in column.items()
                }
                if labelled and not values["label"]:
                    raise DataError(f"table {str(table)!r}, line {reader.line_num}: no label for {values['path']!r}")
                path = _spelled(table.parent, values["path"])
                yield _Row(reader.line_num, path, clean(values["label"]), values["split"])
    except UnicodeDecodeError:
        raise DataError(f"table {str(table)!r} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"table {str(table)!r}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise DataError(f"table {str(table)!r} cannot be read: {(error.strerror or '').lower()}") from None


def _delimiter(header: str, usual: str) -> str:
    # The names of the columns tell it for certain, where csv.Sniffer guesses and gives up on a single column.
    return max((usual, ",", ";", "\t"), key=lambda delimiter: _known_columns(header, delimiter))


def _known_columns(header: str, delimiter: str) -> int:
    try:
        fields = next(csv.reader([header], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return 0
    return sum(at is not None for at in _places(fields).values())


def _places(header: list[str]) -> dict[str, int | None]:
    names = [field.strip().casefold() for field in header]
    return {
        key: next((names.index(alias) for alias in aliases if alias in names), None)
        for key, aliases in _COLUMNS.items()
    }


def _columns(table: Path, header: list[str], labelled: bool) -> dict[str, int | None]:
    column = _places(header)
    for key in ("path", "label") if labelled else ("path",):
        if column[key] is None:
            found = ", ".join(repr(clean(field))[:40] for field in header[:6]) or "nothing"
            raise DataError(
                f"table {str(table)!r} has no column {key!r}: its first line must be path,label or path,label,split;"
                f" found {found}"
            )
    return column


def _spelled(root: Path, path: str) -> str:
    if "\\" not in path or os.path.exists(root / path):
        return path
    slashed = path.replace("\\", "/")
    return slashed if os.path.exists(root / slashed) else path


def _plain(path: str) -> str:
    """A path without `.` and doubled slashes; most have none, and a `Path` takes as long as all the rest of a row."""
    return Path(path).as_posix() if "//" in path or "./" in path or path.endswith(("/", ".")) or not path else path


def _problem(row: _Row, picture: str, seen: set[tuple[str, str]]) -> str | None:
    if not row.path:
        return "no path"
    if (row.path, row.label) in seen:
        return "listed twice"
    try:
        if os.path.isfile(picture):
            return None
        return "not a file" if os.path.exists(picture) else "no such file"
    except ValueError:  # with a zero byte
        return "no such file"


def _part(table: Path, row: _Row) -> str | None:
    part = part_of(row.split)
    if row.split and part is None:
        allowed = ", ".join(ALIASES)
        raise DataError(f"table {str(table)!r}, line {row.line}: no such split: {row.split!r}; there are {allowed}")
    return part


def _why_nothing(table: Path, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"table {str(table)!r} has no rows"
    return (
        f"none of the {len(skipped)} rows of table {str(table)!r} can be used"
        f" (first: {skipped[0].path!r}, {skipped[0].reason}); paths are relative to {str(table.parent)!r}"
    )
