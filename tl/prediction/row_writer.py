"""Write predictions to a file of rows that survives a kill and can be continued.

JSON Lines and CSV are appended to. JSON and Parquet end with something that must be written last, so their rows wait as
JSON Lines in `FILE.unfinished`. That journal exists, whatever the format, until all rows are written; its first line
says which run and which columns made them.

Which names have a row already is counted in a database on disk and does not depend on the order of the names: files may
have come and gone between two calls.
"""

import csv
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tl.errors import RunError, StorageError, TLError, UsageError
from tl.evaluation.selective import Selection
from tl.files import atomic_write, locked, write_errors
from tl.prediction.columns import (
    Columns,
    Record,
    csv_line,
    json_line,
    load_pyarrow,
    other_columns,
    read_parquet,
    write_parquet,
)
from tl.runs.run import Run

if TYPE_CHECKING:
    import sqlite3

Item = TypeVar("Item")

_APPENDED = ("jsonl", "csv")  # formats that can be written row by row
_READ_BACK = ("path", "confidence", "unknown", "error", "review", "bytes", "modified")  # of a CSV
_CONTINUE = "the rows written so far are kept, continue with --resume"


class RowFile:
    """A file of JSON Lines or CSV that rows are appended to, each passed to the system at once."""

    def __init__(self, path: Path, form: str, columns: Columns | None, *, skip: int = 0) -> None:
        """`skip` is the number of lines at the start that are not rows. Without `columns` they are path and error.

        Raises StorageError for an unusable file.
        """
        self._path, self._is_csv, self._columns, self._skip = path, form == "csv", columns, skip
        self._header = csv_line(("path", "error") if columns is None else columns.names)
        with storage_errors(path):
            if path.exists():
                self._check_start()  # before a cut could damage a file that is not ours
            self._file = path.open("ab", buffering=0)
            self._end = _end_of_rows(path, self._is_csv)
            self._needs_header = self._is_csv and self._end == 0

    def records(self) -> Iterator[Record]:
        """The rows in the file (of CSV only what is needed to go on). Raises StorageError for other content.

        A row torn off by a kill is cut away after the last row has been read, since only then is the file known to be
        one of ours.
        """
        with storage_errors(self._path):
            for row in self._csv_rows() if self._is_csv else self._json_rows():
                if not isinstance(row.get("path"), str) or "error" not in row:
                    raise ValueError
                yield row
            self._cut()

    def write(self, record: Record) -> None:
        """Append a row."""
        cells = [record["path"], record["error"]] if self._columns is None else self._columns.cells(record)
        line = csv_line(cells) if self._is_csv else json_line(record)
        if self._needs_header:
            line = self._header + line
        self._needs_header = False
        with storage_errors(self._path):
            self._cut()
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Write everything to disk; an empty table still gets its header."""
        with storage_errors(self._path):
            if self._needs_header:
                self._file.write(self._header)
            os.fsync(self._file.fileno())
            self._file.close()

    def _cut(self) -> None:
        if 0 <= self._end < self._file.tell():
            self._file.truncate(self._end)
        self._end = -1

    def _check_start(self) -> None:
        expected = self._header if self._is_csv else b'{"run"' if self._skip else b'{"path"'
        with self._path.open("rb") as file:
            start = file.read(len(expected))
        if not expected.startswith(start):
            if self._is_csv and start.startswith(b"path,"):
                raise other_columns(self._path)
            raise ValueError

    def _lines(self) -> Iterator[bytes]:
        left = self._end
        with self._path.open("rb") as file:
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                yield line

    def _json_rows(self) -> Iterator[dict[str, Any]]:
        for line in islice(self._lines(), self._skip, None):
            row = json.loads(line)
            yield row if isinstance(row, dict) else {}

    def _csv_rows(self) -> Iterator[dict[str, Any]]:
        for row in csv.DictReader(line.decode("utf-8", "surrogateescape") for line in self._lines()):
            yield {name: row[name] for name in _READ_BACK if name in row}


def _end_of_rows(path: Path, is_csv: bool) -> int:
    complete = offset = quotes = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            start = 0
            for line in block.splitlines(keepends=True):
                quotes += is_csv and line.count(b'"')
                start += len(line)
                if quotes % 2 == 0 and line.endswith(b"\n"):  # after an odd number of quotes, the line break is quoted
                    complete = offset + start
            offset += len(block)
    return complete


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file of rows into a StorageError that names the file and what to do."""
    try:
        with write_errors(path, _CONTINUE):
            yield
    except (ValueError, KeyError, OverflowError, RecursionError, csv.Error):
        raise StorageError(f"{str(path)!r} does not contain rows of tl: give another --out, or remove it") from None


def temporary_table(columns: str) -> "sqlite3.Connection":
    """A database with the table `rows` in an unnamed file, which is deleted when it is closed."""
    import sqlite3

    store = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    store.execute("PRAGMA journal_mode = OFF")
    store.execute(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
    store.execute("BEGIN")
    return store


class DoneNames:
    """How many rows each name has, on disk, so that millions of names take little memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self._store: sqlite3.Connection | None = None

    def add(self, name: str, *, failed: bool) -> None:
        """Count a row."""
        if self._store is None:
            self._store = temporary_table("name BLOB PRIMARY KEY, times INTEGER")
        self.rows += 1
        self.failed += failed
        count = "INSERT INTO rows VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1"
        self._store.execute(count, (_key(name),))

    def take(self, name: str) -> bool:
        """Whether a name has a row that no earlier call has taken."""
        if self._store is None:
            return False
        change = "UPDATE rows SET times = times - 1 WHERE name = ? AND times > 0"
        return self._store.execute(change, (_key(name),)).rowcount > 0

    def without(self, items: Iterable[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """The named items that have no row yet."""
        return (item for item in items if not self.take(item[0]))

    def close(self) -> None:
        """Delete the database."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _key(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # as Parquet, too, writes names that are not UTF-8


@contextmanager
def open_rows(
    out: Path, form: str, columns: Columns, run: Run, *, resume: bool, selection: Selection | None = None
) -> Iterator[tuple[RowFile, DoneNames]]:
    """The rows of `out`, to be appended to, and the names it has already; complete when the block succeeds.

    Raises UsageError where `out` exists and `resume` is not set, RunError where another run made its rows, StorageError
    where they were selected otherwise than by `selection`, and where `out` cannot be written or another process is
    writing it.
    """
    if form == "parquet":
        load_pyarrow()
    journal = _journal(out)
    check_output_file(out)
    if not resume and (os.path.lexists(out) or os.path.lexists(journal)):
        state = "is unfinished" if os.path.lexists(journal) else "exists already"
        raise UsageError(f"--out {str(out)!r} {state}: continue with --resume, give a new name, or remove it")
    with exclusive(out):
        rows, done = _open(out, form, columns, run, selection=selection)
        try:
            yield rows, done
        finally:
            rows.close()
            done.close()
        with storage_errors(out):
            if form not in _APPENDED:
                _finish(journal, out, form, columns)
            journal.unlink()


def _journal(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Make the folder of `out` and keep other processes from writing it. Raises StorageError."""
    lock = out.with_name(f".{out.name}.lock")
    busy = StorageError(f"{str(out)!r} is being written by another process: wait for it, or give another name")
    with ExitStack() as stack:
        with write_errors(out, "give another folder"):
            out.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock, busy=busy, timeout=0))
        stack.callback(lock.unlink, missing_ok=True)
        yield


def check_output_file(out: Path) -> None:
    """Raises UsageError for a name that rows cannot be written to: a folder, a pipe, a device."""
    with suppress(OSError, ValueError):
        if not out.name or not stat.S_ISREG(os.stat(out).st_mode):
            raise UsageError(f"--out {str(out)!r} is not a file: give the name of a new one, such as rows.jsonl")


def _open(
    out: Path, form: str, columns: Columns, run: Run, *, selection: Selection | None
) -> tuple[RowFile, DoneNames]:
    journal = _journal(out)
    is_new, rows = not journal.exists(), None
    try:
        with storage_errors(out):
            _begin(out, form, columns, run, journal)
        rows = RowFile(out, form, columns) if form in _APPENDED else RowFile(journal, "jsonl", columns, skip=1)
        done = DoneNames()
        for record in rows.records():
            columns.check(record, out, selection)
            done.add(record["path"], failed=bool(record["error"]))
    except TLError:
        if rows is not None:
            rows.close()
        if is_new:  # nothing was appended: leave everything as it was
            journal.unlink(missing_ok=True)
        raise
    return rows, done


def _begin(out: Path, form: str, columns: Columns, run: Run, journal: Path) -> None:
    """Write the journal, with the rows of a complete file that cannot be appended to; or check an existing one."""
    chosen = {name: value for name, value in asdict(columns).items() if name != "seconds" or value}  # new in 0.4
    header = {"run": run.name, "files": run.manifest["files"], "columns": chosen}
    existing = _first_line(journal)
    if existing is None:
        records = [] if form in _APPENDED or not out.exists() else _read_complete(out, form, columns)
        with atomic_write(journal, hint=_CONTINUE) as scratch, scratch.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.writelines(map(json_line, records))
    elif existing != json.loads(json.dumps(header)):
        raise RunError(
            f"{str(out)!r} was begun with run {existing.get('run')!r} and {existing.get('columns')}: continue with"
            " these, or give another --out"
        )


def _first_line(journal: Path) -> Record | None:
    try:
        with journal.open("rb") as file:
            header = json.loads(file.readline())
        return header if isinstance(header, dict) else {}
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _finish(journal: Path, out: Path, form: str, columns: Columns) -> None:
    with atomic_write(out, hint=_CONTINUE) as scratch, journal.open("rb") as lines:
        records = (json.loads(line) for line in islice(lines, 1, None))
        if form == "parquet":
            write_parquet(scratch, records, columns)
            return
        with scratch.open("wb") as file:
            file.write(b"[")
            for index, record in enumerate(records):
                file.write((b",\n" if index else b"\n") + json_line(record).rstrip(b"\n"))
            file.write(b"\n]\n")


def _read_complete(out: Path, form: str, columns: Columns) -> Iterator[Record]:
    if form == "parquet":
        yield from read_parquet(out, columns)
        return
    try:
        with out.open("rb") as file:
            for line in file:
                if line.strip() not in (b"[", b"]"):
                    row = json.loads(line.rstrip(b",\n"))
                    row["path"], row["error"]
                    yield row
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{str(out)!r} does not contain rows of tl: give another --out") from None


class FailureTable:
    """A CSV file of images that failed, created with the first failure; a later call continues it."""

    def __init__(self, path: Path) -> None:
        self._path, self._done = path, DoneNames()
        self._rows: RowFile | None = None
        if path.exists():
            self._open()

    def add(self, name: str, error: str) -> None:
        """Record a failure, unless an earlier call did."""
        if not self._done.take(name):
            self._open().write({"path": name, "error": error})

    def close(self) -> None:
        """Write everything to disk."""
        self._done.close()
        if self._rows is not None:
            self._rows.close()

    def _open(self) -> RowFile:
        if self._rows is None:
            self._rows = RowFile(self._path, "csv", None)
            for record in self._rows.records():
                self._done.add(record["path"], failed=True)
        return self._rows
