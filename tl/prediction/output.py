"""Predictions become a file of rows that a kill leaves whole, and that a later call goes on with.

JSON Lines and CSV grow in place. JSON and Parquet have an end that must be written last: their rows wait as JSON Lines
in `FILE.unfinished`. That file is there, whatever the form, until all is done; its first line says what made the rows.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from tl.errors import RunError, StorageError, TLError, UsageError
from tl.prediction.rows import Columns, Record, json_line
from tl.runs import parquet
from tl.runs.appending import Appended, storage
from tl.runs.resuming import Done
from tl.runs.run import Run

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
