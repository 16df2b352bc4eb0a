"""Read data sets of rows path,label[,split]: .csv and .tsv files, lists of pairs, pandas DataFrames."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tl.data.dataset import ALIASES, Dataset, Sample, Skipped, assemble, clean, part_of, short_name
from tl.data.images import ImageLike, as_image
from tl.errors import DataError, UsageError

DELIMITERS = {".csv": ",", ".tsv": "\t"}

COLUMNS = {"path": ("path", "filename", "file", "image"), "label": ("label", "class"), "split": ("split",)}
"""The names that each column may have, in any case."""


@dataclass(frozen=True)
class _Row:
    """One row: `where` it stands for messages, a path or an image in memory, label and split ("" for none)."""

    where: str
    image: str | ImageLike
    label: str
    split: str


def load_table(table: Path, *, labelled: bool) -> Dataset:
    """Load the images that a .csv or .tsv file names, in its order; commas, semicolons or tabs separate its columns.

    Paths are relative to the folder of the table; one with backslashes that does not exist is taken with slashes if
    that does. Rows whose file is missing are skipped. Raises DataError for a missing column, no label where `labelled`,
    an unknown split, or when no file exists at all.
    """
    source, name = f"table {str(table)!r}", short_name(table.stem)
    return _load(_table_rows(table, labelled), source=source, name=name, root=table.parent, labelled=labelled)


def load_rows(source: Any, *, labelled: bool) -> Dataset:
    """Load a list of (image, label) or (image, label, split), or a DataFrame with columns path, label and split.

    An image is a path, relative to the working folder, or in memory (see `tl.data.images.as_image`). Raises UsageError
    for what is no list of pairs, DataError as `load_table` does.
    """
    if hasattr(source, "columns"):
        rows, name = _frame_rows(source, labelled), "DataFrame"
    else:
        rows, name = _pairs(source, labelled), "list of images"
    return _load(rows, source=name, name="images", root=Path(), labelled=labelled)


def read_paths(table: Path) -> Iterator[str]:
    """Read the paths in a .csv or .tsv file, row by row. Raises DataError as `load_table` does."""
    return (str(row.image) for row in _table_rows(table, labelled=False))


def has_columns(data: Any) -> bool:
    """Whether data are a .csv or .tsv file, or a DataFrame."""
    path = Path(data) if isinstance(data, (str, os.PathLike)) else Path()
    return hasattr(data, "columns") or path.suffix.lower() in DELIMITERS


def read_column(data: Any, name: str) -> dict[str, str]:
    """Read a column of a .csv or .tsv file or of a DataFrame, by the name of each row's image in the data set.

    Raises UsageError for a column that is not there.
    """
    if hasattr(data, "columns"):
        return _frame_column(data, name)
    table = Path(data)
    lines = _read_lines(table)
    names = [field.strip().casefold() for field in next(lines, (0, []))[1]]
    if name.casefold() not in names:
        raise UsageError(f"table {str(table)!r} has no column {name!r}: it has {', '.join(names)}")
    path, at = _places(names)["path"] or 0, names.index(name.casefold())
    rows = [row for _, row in lines if len(row) > max(at, path)]
    return {clean(_plain(_existing(table.parent, row[path].strip()))): row[at].strip() for row in rows}


def _frame_column(frame: Any, name: str) -> dict[str, str]:
    columns = {str(column).strip().casefold(): column for column in frame.columns}
    if name.casefold() not in columns:
        raise UsageError(f"the DataFrame has no column {name!r}: it has {', '.join(columns)}")
    rows, values = _frame_rows(frame, labelled=False), list(frame[columns[name.casefold()]])
    names = [clean(_plain(row.image)) if isinstance(row.image, str) else f"{at:05d}" for at, row in enumerate(rows)]
    texts = ["" if value is None or value != value else str(value) for value in values]
    return dict(zip(names, texts, strict=True))


def _load(rows: Iterable[_Row], *, source: str, name: str, root: Path, labelled: bool) -> Dataset:
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    seen: set[tuple[str, str]] = set()
    folder = "" if root == Path() else str(root)
    for at, row in enumerate(rows):
        image, part = row.image, _part(source, row)
        if not isinstance(image, str):
            samples.append(Sample(image, f"{at:05d}", row.label or None, part))
            continue
        shown = clean(_plain(image))
        if reason := _problem(image, row.label, os.path.join(folder, image), seen):
            skipped.append(Skipped(shown if image else row.where, reason))
            continue
        seen.add((image, row.label))
        samples.append(Sample(root / image, shown, row.label or None, part))
    if not samples:
        if not skipped:
            raise DataError(f"{source} has no rows")
        raise DataError(
            f"none of the {len(skipped)} rows of {source} can be used"
            f" (first: {skipped[0].path!r}, {skipped[0].reason}); paths are relative to {str(root)!r}"
        )
    files = all(isinstance(sample.image, Path) for sample in samples)
    return assemble(samples, source=source, name=name, root=root if files else None, skipped=skipped, labelled=labelled)


def _pairs(source: Iterable[Any], labelled: bool) -> Iterator[_Row]:
    for at, entry in enumerate(source, 1):
        pair = entry if isinstance(entry, (tuple, list)) else (entry,)
        if not 1 <= len(pair) <= 3:
            raise UsageError(f"entry {at} of the data has {len(pair)} values: give pairs (image, label)")
        yield _memory_row(f"entry {at}", [*pair, None, None][:3], labelled)


def _frame_rows(frame: Any, labelled: bool) -> Iterator[_Row]:
    names = list(frame.columns)
    column = _columns("DataFrame", [str(name) for name in names], labelled)
    none: list[Any] = [None] * len(frame)
    values = [list(frame[names[at]]) if at is not None else none for at in column.values()]
    for at, entry in enumerate(zip(*values, strict=True), 1):
        yield _memory_row(f"row {at}", entry, labelled)


def _memory_row(where: str, values: Sequence[Any], labelled: bool) -> _Row:
    image, label, split = values
    text = os.fspath(image) if isinstance(image, (str, os.PathLike)) else as_image(image)
    # A missing value is None, or NaN, the only one that is unlike itself.
    label, split = ("" if value is None or value != value else clean(str(value)) for value in (label, split))
    if labelled and not label:
        raise DataError(f"{where} of the data has no label: give pairs (image, label)")
    return _Row(where, text, label, split)


def _table_rows(table: Path, labelled: bool) -> Iterator[_Row]:
    lines = _read_lines(table)
    column = _columns(f"table {str(table)!r}", next(lines, (0, []))[1], labelled)
    for number, fields in lines:
        if not any(field.strip() for field in fields):
            continue
        values = {key: fields[at].strip() if at is not None and at < len(fields) else "" for key, at in column.items()}
        if labelled and not values["label"]:
            raise DataError(f"table {str(table)!r}, line {number}: no label for {values['path']!r}")
        path = _existing(table.parent, values["path"])
        yield _Row(f"line {number}", path, clean(values["label"]), values["split"])


def _read_lines(table: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a .csv or .tsv file, each with the number of its line, the header first. Raises DataError."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = _delimiter(first, DELIMITERS[table.suffix.lower()])
            reader = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
            for fields in reader:
                yield reader.line_num, fields
    except UnicodeDecodeError:
        raise DataError(f"table {str(table)!r} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"table {str(table)!r}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise DataError(f"table {str(table)!r} cannot be read: {(error.strerror or '').lower()}") from None


def _delimiter(header: str, usual: str) -> str:
    # The names of the columns tell it for certain, where csv.Sniffer guesses and gives up on a single column.
    return max((usual, ",", ";", "\t"), key=lambda delimiter: _count_columns(header, delimiter))


def _count_columns(header: str, delimiter: str) -> int:
    try:
        fields = next(csv.reader([header], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return 0
    return sum(at is not None for at in _places(fields).values())


def _places(header: Sequence[str]) -> dict[str, int | None]:
    names = [field.strip().casefold() for field in header]
    return {key: next((names.index(one) for one in aliases if one in names), None) for key, aliases in COLUMNS.items()}


def _columns(source: str, header: Sequence[str], labelled: bool) -> Mapping[str, int | None]:
    column = _places(header)
    for key in ("path", "label") if labelled else ("path",):
        if column[key] is None:
            present = ", ".join(repr(clean(field))[:40] for field in header[:6]) or "nothing"
            raise DataError(
                f"{source} has no column {key!r}: name the columns path,label or path,label,split; found {present}"
            )
    return column


def _existing(root: Path, path: str) -> str:
    """A path as it exists: with slashes where only that does."""
    if "\\" not in path or os.path.exists(root / path):
        return path
    slashed = path.replace("\\", "/")
    return slashed if os.path.exists(root / slashed) else path


def _plain(path: str) -> str:
    """A path without `.` and doubled slashes; most have none, and a `Path` takes as long as all the rest of a row."""
    return Path(path).as_posix() if "//" in path or "./" in path or path.endswith(("/", ".")) or not path else path


def _problem(path: str, label: str, file: str, seen: set[tuple[str, str]]) -> str | None:
    if not path:
        return "no path"
    if (path, label) in seen:
        return "listed twice"
    try:
        if os.path.isfile(file):
            return None
        return "not a file" if os.path.exists(file) else "no such file"
    except ValueError:  # with a zero byte
        return "no such file"


def _part(source: str, row: _Row) -> str | None:
    part = part_of(row.split)
    if row.split and part is None:
        raise DataError(f"{source}, {row.where}: no such split: {row.split!r}; there are {', '.join(ALIASES)}")
    return part
