"""Rows become the end of a file, each whole or not at all; what a kill has torn off is cut away first."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tl.errors import StorageError
from tl.prediction.rows import Cell, Record, csv_line, json_line

_BLOCK = 1 << 20


class Shape(Protocol):
    """What a table has: the names of its columns, and the cells of a record."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""

    def cells(self, record: Record) -> list[Cell]:
        """A record as a line of the table."""


class Appended:
    """A file of JSON Lines or CSV that rows are added to, handed to the system one by one."""

    def __init__(self, path: Path, form: str, columns: Shape, *, skip: int = 0) -> None:
        """`skip` lines at the start are none of the rows. Raises StorageError where the file cannot be used."""
        self._path, self._form, self._columns, self._skip = path, form, columns, skip
        with storage(path):
            if path.exists():
                self._check()  # before anything is cut from what may be a file of somebody else
            self._file = path.open("ab", buffering=0)
            self._end = _whole(path, form)
            self._new = self._end == 0

    def records(self) -> Iterator[Record]:
        """The rows that are there (of CSV path, error, bytes and modified); StorageError if they are something else.

        Only once all have been taken is what a kill has torn off cut away: else the file may be somebody else's.
        """
        with storage(self._path):
            rows = self._csv() if self._form == "csv" else self._jsonl()
            for row in rows:
                if not isinstance(row.get("path"), str) or "error" not in row:
                    raise ValueError
                yield row
            self._cut()

    def write(self, record: Record) -> None:
        """Add a row."""
        line = json_line(record) if self._form != "csv" else csv_line(self._columns.cells(record))
        if self._new and self._form == "csv":
            line = csv_line(self._columns.names) + line
        self._new = False
        with storage(self._path):
            self._cut()
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Make it last."""
        with storage(self._path):
            if self._new and self._form == "csv":
                self._file.write(csv_line(self._columns.names))
            os.fsync(self._file.fileno())
            self._file.close()

    def _cut(self) -> None:
        """Cut away what comes after the last whole row, once."""
        if self._end < self._file.tell() and self._end >= 0:
            self._file.truncate(self._end)
        self._end = -1

    def _check(self) -> None:
        csv_form = self._form == "csv"
        start = csv_line(self._columns.names) if csv_form else b'{"run"' if self._skip else b'{"path"'
        with self._path.open("rb") as file:
            found = file.read(len(start))
        if not start.startswith(found):
            if csv_form and found.startswith(b"path,"):
                raise StorageError(
                    f"{str(self._path)!r} has other columns than are to be written: give the same --top and --sha256,"
                    " or another --out"
                )
            raise ValueError

    def _lines(self) -> Iterator[bytes]:
        """The lines of the whole rows."""
        left = self._end
        with self._path.open("rb") as file:
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                yield line

    def _jsonl(self) -> Iterator[dict[str, Any]]:
        for line in islice(self._lines(), self._skip, None):
            row = json.loads(line)
            yield row if isinstance(row, dict) else {}

    def _csv(self) -> Iterator[dict[str, Any]]:
        for row in csv.DictReader(line.decode("utf-8", "surrogateescape") for line in self._lines()):
            yield {name: row[name] for name in ("path", "error", "bytes", "modified") if name in row}


def _whole(path: Path, form: str) -> int:
    """Where the last whole row ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if form == "csv":
            return _whole_csv(file.read)
        end = size
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _whole_csv(read: Callable[[int], bytes]) -> int:
    # A line ends a row unless it stands between quotes: of those an odd number has come by then.
    whole = offset = quotes = 0
    while block := read(_BLOCK):
        start = 0
        for line in block.splitlines(keepends=True):
            quotes += line.count(b'"')
            start += len(line)
            if quotes % 2 == 0 and line.endswith(b"\n"):
                whole = offset + start
        offset += len(block)
    return whole


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turns what a file of rows can do wrong into a StorageError that names it and what to do."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise StorageError(
            f"{str(path)!r} cannot be written: {why}; the rows that are there stay, predicting goes on with --resume"
        ) from error
    except (ValueError, KeyError, OverflowError, RecursionError, csv.Error):
        raise StorageError(
            f"{str(path)!r} holds something else than rows of tl: give another --out, or remove it"
        ) from None
