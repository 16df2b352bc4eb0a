"""Predictions become a file of rows that a kill leaves whole, and that a later call goes on with.

JSON Lines and CSV grow in place. JSON and Parquet have an end that must be written last: their rows wait as JSON Lines
in `FILE.unfinished`. That file is there, whatever the form, until all is done; its first line says what made the rows.

Names are counted in a database on the disk, not trusted to come in the same order: files may have come and gone since.
"""

import csv
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tl.errors import RunError, StorageError, TLError, UsageError
from tl.prediction import rows as parquet
from tl.prediction.rows import Cell, Columns, Record, csv_line, json_line
from tl.runs.run import Run

if TYPE_CHECKING:
    import sqlite3


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


Item = TypeVar("Item")

_COUNT = "INSERT INTO done VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1"


class Done:
    """How often each name has a row; in a temporary file of the disk, and in little memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self._store: sqlite3.Connection | None = None

    def add(self, name: str, *, failed: bool) -> None:
        """Count a row."""
        if self._store is None:
            import sqlite3

            self._store = sqlite3.connect(
                "", isolation_level=None, check_same_thread=False
            )  # unnamed: gone when closed
            self._store.execute("PRAGMA journal_mode = OFF")
            self._store.execute("CREATE TABLE done (name BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
            self._store.execute("BEGIN")
        self.rows += 1
        self.failed += failed
        self._store.execute(_COUNT, (_key(name),))

    def take(self, name: str) -> bool:
        """Whether a name has a row that no earlier call has taken."""
        if self._store is None:
            return False
        change = "UPDATE done SET times = times - 1 WHERE name = ? AND times > 0"
        return self._store.execute(change, (_key(name),)).rowcount > 0

    def without(self, items: Iterable[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """The named items that have no row yet."""
        return (item for item in items if not self.take(item[0]))

    def close(self) -> None:
        """Forget them."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _key(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # the form in which Parquet, too, has names that are no UTF-8


_IN_PLACE = ("jsonl", "csv")


@contextmanager
def rows_file(out: Path, form: str, columns: Columns, run: Run, *, resume: bool) -> Iterator[tuple[Appended, Done]]:
    """The rows of `out`, to be added to, and what it has already; with the block's good end the file is complete.

    Raises UsageError where there is one and `resume` is not asked for, RunError where another run made its rows,
    StorageError where it cannot be written, or another process is writing it.
    """
    if form == "parquet":
        parquet.check()
    journal = out.with_name(f"{out.name}.unfinished")
    _check(out, journal, resume)
    with alone(out):
        rows, done = _opened(out, form, columns, run, journal)
        try:
            yield rows, done
        finally:
            rows.close()
            done.close()
        with storage(out):
            if form not in _IN_PLACE:
                _finish(journal, out, form, columns)
            journal.unlink()


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """While no other process writes `out`; its folder is made. Raises StorageError."""
    from filelock import FileLock, Timeout

    lock = out.with_name(f".{out.name}.lock")
    held = FileLock(lock)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise StorageError(f"{str(out)!r} is being written by another process: wait for it, or give another") from None
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{str(out)!r} cannot be written: {why}; give another place") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.release()


def check_file(out: Path) -> None:
    """Raises UsageError for a name under which rows cannot be written: a folder, a pipe, a device."""
    with suppress(OSError, ValueError):
        if not out.name or not stat.S_ISREG(os.stat(out).st_mode):
            raise UsageError(f"--out {str(out)!r} is no file: give the name of a new one, such as rows.jsonl")


def _check(out: Path, journal: Path, resume: bool) -> None:
    check_file(out)
    if not resume and (os.path.lexists(out) or os.path.lexists(journal)):
        state = "is unfinished" if os.path.lexists(journal) else "is there already"
        raise UsageError(f"--out {str(out)!r} {state}: go on with --resume, give a new name, or remove it")


def _begin(out: Path, form: str, columns: Columns, run: Run, journal: Path) -> None:
    about = {"run": run.name, "files": run.manifest["files"], "columns": asdict(columns)}
    before = _first_line(journal)
    if before is None:
        rows = [] if form in _IN_PLACE or not out.exists() else _read(out, form, columns)
        _replace(
            journal, (line for part in ([json.dumps(about).encode() + b"\n"], map(json_line, rows)) for line in part)
        )
    elif before != json.loads(json.dumps(about)):
        raise RunError(
            f"{str(out)!r} was begun with run {before.get('run')!r} and {before.get('columns')}: go on with these, or"
            " give another --out"
        )


def _opened(out: Path, form: str, columns: Columns, run: Run, journal: Path) -> tuple[Appended, Done]:
    begun, rows = not journal.exists(), None
    try:
        with storage(out):
            _begin(out, form, columns, run, journal)
        rows = Appended(out, form, columns) if form in _IN_PLACE else Appended(journal, "jsonl", columns, skip=1)
        done = Done()
        for record in rows.records():
            columns.check(record, out)
            done.add(record["path"], failed=bool(record["error"]))
    except TLError:
        if rows is not None:
            rows.close()
        if begun:  # nothing was added: what is there is as it was
            journal.unlink(missing_ok=True)
        raise
    return rows, done


def _first_line(journal: Path) -> Record | None:
    try:
        with journal.open("rb") as file:
            found = json.loads(file.readline())
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _finish(journal: Path, out: Path, form: str, columns: Columns) -> None:
    scratch = out.with_name(f".{out.name}.part")
    try:
        with journal.open("rb") as file:
            records = (json.loads(line) for line in islice(file, 1, None))
            if form == "parquet":
                parquet.write(scratch, records, columns)
            else:
                _write_json(scratch, records)
        os.replace(scratch, out)
    finally:
        scratch.unlink(missing_ok=True)


def _write_json(target: Path, records: Iterator[Record]) -> None:
    with target.open("wb") as file:
        file.write(b"[")
        for at, record in enumerate(records):
            file.write((b",\n" if at else b"\n") + json_line(record).rstrip(b"\n"))
        file.write(b"\n]\n")


def _read(out: Path, form: str, columns: Columns) -> Iterator[Record]:
    """The rows of a file that is complete."""
    if form == "parquet":
        yield from parquet.read(out, columns)
        return
    try:
        with out.open("rb") as file:
            for line in file:
                if line.strip() not in (b"[", b"]"):
                    row = json.loads(line.rstrip(b",\n"))
                    row["path"], row["error"]
                    yield row
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{str(out)!r} holds something else than rows of tl: give another --out") from None


def _replace(target: Path, lines: Iterator[bytes]) -> None:
    scratch = target.with_name(f".{target.name}.part")
    try:
        with scratch.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Columns:
    names: tuple[str, ...] = ("path", "error")

    def cells(self, record: Record) -> list[Cell]:
        return [record[name] for name in self.names]


class Failures:
    """A table of failures, made with the first of them and added to by later calls."""

    def __init__(self, path: Path) -> None:
        self._path, self._done = path, Done()
        self._rows: Appended | None = None
        if path.exists():
            self._open()

    def add(self, name: str, error: str) -> None:
        """Note a failure, unless an earlier call of the command did."""
        if not self._done.take(name):
            self._open().write({"path": name, "error": error})

    def close(self) -> None:
        """Make it last."""
        self._done.close()
        if self._rows is not None:
            self._rows.close()

    def _open(self) -> Appended:
        if self._rows is None:
            self._rows = Appended(self._path, "csv", _Columns())
            for record in self._rows.records():
                self._done.add(record["path"], failed=True)
        return self._rows
