"""Read data sets of rows path,label[,split]: .csv and .tsv files, lists of pairs, pandas DataFrames."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from tl.data.dataset import ALIASES, Dataset, Sample, Skipped, assemble, class_name, clean, part_of, short_name
from tl.data.images import ImageLike, as_image, as_images, is_pillow, is_pixels
from tl.errors import DataError, UsageError
from tl.text import count, listed, quoted

DELIMITERS = {".csv": ",", ".tsv": "\t"}

COLUMNS = {
    "path": ("path", "filename", "file", "image"),
    "label": ("label", "class"),
    "split": ("split", "set", "subset", "partition", "phase", "data_split", "dataset_split", "fold"),
}
"""The names that each column may have, in any case."""
FLAGS = {
    **dict.fromkeys(("is_valid", "is_val", "is_validation"), ("validation", None)),
    "is_test": ("test", None),
    **dict.fromkeys(("is_train", "is_training"), (None, "validation")),
}
"""Columns of yes and no that mean a split, and the part of their rows with each; None is training."""
UNUSED = "columns not used: "
"""How the note on such columns begins."""
_BOOLEANS = dict.fromkeys(("1", "1.0", "true", "t", "yes", "y"), True) | dict.fromkeys(
    ("", "0", "0.0", "false", "f", "no", "n"), False
)


@dataclass(frozen=True)
class _Row:
    """One row: `where` it stands for messages, a path or an image in memory, label and split ("" for none), and the
    text in the columns of `FLAGS`.
    """

    where: str
    image: str | ImageLike
    label: str
    split: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Columns:
    """The places of the columns of `COLUMNS`, those of the columns of `FLAGS` by name, and the names of all."""

    places: Mapping[str, int | None]
    flags: Mapping[str, int]
    names: tuple[str, ...]

    @property
    def split(self) -> str:
        """The name of the column with the split."""
        at = self.places["split"]
        return "" if at is None else self.names[at]

    @property
    def unused(self) -> list[str]:
        """The names of the columns that say nothing about the data set."""
        used = {*self.places.values(), *self.flags.values()}
        return [name for at, name in enumerate(self.names) if at not in used and name]


class _Finder:
    """Finds the files that rows name, as they are written or, where no such file exists, as it is called on the disk:
    in another Unicode form, with `.JPG` for `.jpg`, or with slashes for backslashes.
    """

    def __init__(self, root: Path) -> None:
        self._root = "" if root == Path() else str(root)
        self._folders: dict[str, dict[str, str]] = {}
        self._real: dict[str, str] = {}
        self.respelled = 0

    def find(self, path: str) -> str:
        """The path of the file that exists, or the path as it is."""
        if not path or "\0" in path or os.path.exists(os.path.join(self._root, path)):
            return path
        slashed = path.replace("\\", "/")
        if slashed != path and os.path.exists(os.path.join(self._root, slashed)):
            return slashed
        found = "/" if slashed.startswith("/") else ""
        for part in filter(None, slashed.split("/")):
            exact = os.path.join(found, part)
            if os.path.lexists(os.path.join(self._root, exact)):
                found = exact
                continue
            other = self._names(os.path.join(self._root, found)).get(_spelling(part), "")
            if not other:
                return path
            found = os.path.join(found, other)
        self.respelled += 1
        return found

    def problem(self, path: str) -> str:
        """Why a path names no file; "" if it does."""
        if not path:
            return "no path"
        try:
            file = os.path.join(self._root, path)
            return "" if os.path.isfile(file) else "not a file" if os.path.exists(file) else "no such file"
        except ValueError:  # with a zero byte
            return "no such file"

    def identity(self, path: str) -> tuple[str, str]:
        """What is equal for two paths of one file: its real folder, and its name."""
        folder, name = os.path.split(os.path.abspath(os.path.join(self._root, path)))
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder], name

    def name(self, path: str) -> str:
        """The name of an image in the data set: its path from the root, if it is below that."""
        if os.path.isabs(path):
            for home in (os.path.abspath(self._root), os.path.realpath(self._root)):
                if path.startswith(os.path.join(home, "")):
                    path = os.path.relpath(path, home)
        return clean(_plain(path))

    def _names(self, folder: str) -> dict[str, str]:
        """What is in a folder, by spelling; "" where several files have the same."""
        if folder not in self._folders:
            names: dict[str, str] = {}
            with suppress(OSError):
                for name in os.listdir(folder or os.curdir):
                    names[_spelling(name)] = "" if _spelling(name) in names else name
            self._folders[folder] = names
        return self._folders[folder]


def _spelling(name: str) -> str:
    stem, suffix = os.path.splitext(clean(name))
    return stem + suffix.lower()


def load_table(table: Path, *, labelled: bool) -> Dataset:
    """Load the images that a .csv or .tsv file names, in its order; commas, semicolons or tabs separate its columns.

    Paths are relative to the folder of the table; one that does not exist is taken in another Unicode form, with
    `.JPG` for `.jpg`, or with slashes for backslashes. Rows whose file is missing or listed before are skipped. Raises
    DataError for a missing column, no label where `labelled`, an unknown split, or when no file exists at all.
    """
    source, name = f"table {str(table)!r}", short_name(table.stem)
    column, rows = _table_rows(table, labelled)
    return _load(rows, column, source=source, name=name, root=table.parent, labelled=labelled)


def load_rows(source: Any, *, labelled: bool) -> Dataset:
    """Load a list of (image, label) or (image, label, split), or a DataFrame with columns path, label and split.

    An image is a path, relative to the working folder, or in memory (see `tl.data.images.as_images`). A batch of pixels
    and its labels are a pair, too; without labels, images may stand alone. Raises UsageError for what is no list of
    pairs, DataError as `load_table` does.
    """
    if hasattr(source, "columns"):
        (column, rows), name = _frame_rows(source, labelled), "DataFrame"
    else:
        column, rows, name = _columns_of(COLUMNS), _pairs(source, labelled), "list of images"
    return _load(rows, column, source=name, name="images", root=Path(), labelled=labelled)


def read_paths(table: Path) -> Iterator[str]:
    """Read the paths in a .csv or .tsv file, row by row. Raises DataError as `load_table` does."""
    finder = _Finder(table.parent)
    return (finder.find(str(row.image)) for row in _table_rows(table, labelled=False)[1])


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
    path, at, finder = _columns_of(names).places["path"] or 0, names.index(name.casefold()), _Finder(table.parent)
    rows = [row for _, row in lines if len(row) > max(at, path)]
    return {finder.name(finder.find(row[path].strip())): row[at].strip() for row in rows}


def _frame_column(frame: Any, name: str) -> dict[str, str]:
    columns = {str(column).strip().casefold(): column for column in frame.columns}
    if name.casefold() not in columns:
        raise UsageError(f"the DataFrame has no column {name!r}: it has {', '.join(columns)}")
    rows, values, finder = _frame_rows(frame, labelled=False)[1], list(frame[columns[name.casefold()]]), _Finder(Path())
    images = [row.image for row in rows]
    names = [finder.name(finder.find(one)) if isinstance(one, str) else f"{at:05d}" for at, one in enumerate(images)]
    return dict(zip(names, map(_text, values), strict=True))


def _load(rows: Iterable[_Row], column: _Columns, *, source: str, name: str, root: Path, labelled: bool) -> Dataset:
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    seen: set[tuple[tuple[str, str], str]] = set()
    rows, finder = list(rows), _Finder(root)
    parts, notes = _parts(rows, column, source)
    for at, (row, part) in enumerate(zip(rows, parts, strict=True)):
        if not isinstance(row.image, str):
            samples.append(Sample(row.image, f"{at:05d}", row.label or None, part))
            continue
        image = finder.find(row.image)
        shown = finder.name(image)
        reason = finder.problem(image)
        if not reason and (finder.identity(image), row.label) in seen:
            reason = "listed twice"
        if reason:
            skipped.append(Skipped(shown if image else row.where, reason))
            continue
        seen.add((finder.identity(image), row.label))
        samples.append(Sample(root / image, shown, row.label or None, part))
    if not samples:
        if not skipped:
            raise DataError(f"{source} has no rows")
        raise DataError(
            f"none of the {len(skipped)} rows of {source} can be used"
            f" (first: {skipped[0].path!r}, {skipped[0].reason}); paths are relative to {str(root)!r}"
        )
    if finder.respelled:
        notes.append(f"{count(finder.respelled, 'file')} found under another spelling (Unicode form, or .JPG for .jpg)")
    if lost := {row.label for row in rows} - {"", *(sample.label for sample in samples)}:
        notes.append(f"left out, because none of its files can be used: {quoted(lost)}")
    files = all(isinstance(sample.image, Path) for sample in samples)
    return assemble(
        samples, source=source, name=name, root=root if files else None, skipped=skipped, notes=notes, labelled=labelled
    )


def _pairs(source: Iterable[Any], labelled: bool) -> Iterator[_Row]:
    for at, entry in enumerate(_entries(source), 1):
        pair = entry if isinstance(entry, (tuple, list)) else (entry,)
        if not 1 <= len(pair) <= 3:
            raise UsageError(f"entry {at} of the data has {count(len(pair), 'value')}: give pairs (image, label)")
        yield _memory_row(f"entry {at}", [*pair, None, None][:3], labelled)


def _entries(source: Any) -> Iterable[Any]:
    if is_pillow(source) or is_pixels(source):
        return as_images(source)
    if isinstance(source, tuple) and len(source) == 2 and is_pixels(source[0]) and len(source[0].shape) == 4:
        images, labels = as_images(source[0]), list(source[1])
        if len(images) != len(labels):
            raise UsageError(f"{count(len(images), 'image')} with {count(len(labels), 'label')}: give one for each")
        return zip(images, labels, strict=True)
    return cast("Iterable[Any]", source)


def _frame_rows(frame: Any, labelled: bool) -> tuple[_Columns, Iterator[_Row]]:
    names = list(frame.columns)
    column = _columns("DataFrame", [str(name) for name in names], labelled)
    none: list[Any] = [None] * len(frame)
    values = [list(frame[names[at]]) if at is not None else none for at in column.places.values()]
    flags = [list(frame[names[at]]) for at in column.flags.values()]
    rows = zip(zip(*values, strict=True), zip(*flags, strict=True) if flags else [()] * len(frame), strict=True)
    return column, (_memory_row(f"row {at}", entry, labelled, flags) for at, (entry, flags) in enumerate(rows, 1))


def _memory_row(where: str, values: Sequence[Any], labelled: bool, flags: Sequence[Any] = ()) -> _Row:
    image, label, split = values
    text = os.fspath(image) if isinstance(image, (str, os.PathLike)) else as_image(image)
    label, split, *marks = map(_text, (label, split, *flags))
    if labelled and not label:
        raise DataError(f"{where} of the data has no label: give pairs (image, label)")
    return _Row(where, text, class_name(label), split, tuple(marks))


def _text(value: Any) -> str:
    """A value as text, "" for a missing one: None, the NA of pandas, or NaN, the only one that is unlike itself."""
    return "" if value is None or type(value).__name__ == "NAType" or value != value else str(value)


def _table_rows(table: Path, labelled: bool) -> tuple[_Columns, Iterator[_Row]]:
    lines = _read_lines(table)
    column = _columns(f"table {str(table)!r}", next(lines, (0, []))[1], labelled)

    def rows() -> Iterator[_Row]:
        for number, fields in lines:
            if not any(field.strip() for field in fields):
                continue
            path, label, split, *flags = (
                fields[at].strip() if at is not None and at < len(fields) else ""
                for at in (*column.places.values(), *column.flags.values())
            )
            if labelled and not label:
                raise DataError(f"table {str(table)!r}, line {number}: no label for {path!r}")
            yield _Row(f"line {number}", path, class_name(label), split, tuple(flags))

    return column, rows()


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
    return sum(at is not None for at in _columns_of(fields).places.values())


def _columns_of(header: Iterable[str]) -> _Columns:
    names = tuple(clean(field).strip() for field in header)
    folded = [name.casefold() for name in names]
    places = {key: next((folded.index(one) for one in some if one in folded), None) for key, some in COLUMNS.items()}
    return _Columns(places, {name: folded.index(name) for name in FLAGS if name in folded}, names)


def _columns(source: str, header: Sequence[str], labelled: bool) -> _Columns:
    column = _columns_of(header)
    for key in ("path", "label") if labelled else ("path",):
        if column.places[key] is None:
            present = ", ".join(repr(clean(field))[:40] for field in header[:6]) or "nothing"
            raise DataError(
                f"{source} has no column {key!r}: name the columns path,label or path,label,split; found {present}"
            )
    return column


def _plain(path: str) -> str:
    """A path without `.` and doubled slashes; most have none, and a `Path` takes as long as all the rest of a row."""
    return Path(path).as_posix() if "//" in path or "./" in path or path.endswith(("/", ".")) or not path else path


def _parts(rows: Sequence[_Row], column: _Columns, source: str) -> tuple[list[str | None], list[str]]:
    """The part of each row, and notes on columns that are not used.

    A column called `split` must name parts. Others that may mean a split are used if all their values do.
    """
    parts, unused = [part_of(row.split) for row in rows], column.unused
    unknown = next((row for row, part in zip(rows, parts, strict=True) if row.split and part is None), None)
    if unknown is not None and column.split.casefold() in ("split", ""):
        raise DataError(f"{source}, {unknown.where}: no such split: {unknown.split!r}; there are {', '.join(ALIASES)}")
    if unknown is not None:
        parts, unused = [None] * len(rows), [*unused, column.split]
    has_split = any(parts)
    for at, (name, place) in enumerate(column.flags.items()):
        marks = [_BOOLEANS.get(row.flags[at].strip().casefold()) for row in rows]
        if has_split or None in marks:
            unused.append(column.names[place])
        else:
            parts = [part or FLAGS[name][not mark] for part, mark in zip(parts, marks, strict=True)]
    return parts, [f"{UNUSED}{listed(unused, 5)}"] if unused else []
