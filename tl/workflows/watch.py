"""What arrives in a folder becomes predictions and rows, until it is told to stop; a later call goes on.

A row holds the size and the time of change of the file it is of: what is done is read from the rows alone, so that no
kill can leave a file done without a row, or with two.
"""

import os
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from tl.errors import DataError, StorageError, UsageError
from tl.prediction.output import alone, check_file
from tl.prediction.predictor import Predictor
from tl.prediction.rows import Columns, form_of
from tl.prediction.sort import check_outside
from tl.progress import Reporter, Silent
from tl.runs import run as bundle
from tl.runs.appending import Appended
from tl.runs.arrivals import Arrivals, Stamp, stamp_of
from tl.workflows.predict import Each, Labelled, Labelling, sorting


@dataclass(frozen=True)
class Watched(Labelling):
    """Which folder to watch, and how to label what arrives in it; `tl watch` explains it."""

    folder: Path
    settle: float = 1.0
    poll: bool = False
    interval: float = 1.0


def watch(asked: Watched, stop: Event, each: Each = lambda *_: None, *, report: Reporter | None = None) -> Labelled:
    """Label every image in a folder and below, and what arrives there or changes, until `stop` is set.

    `each` is called with every prediction once its row is written. Raises a TLError where it cannot be done, DataError
    when the folder is gone.
    """
    report, made = report or Silent(), Labelled()
    form = _form(asked)
    if not asked.folder.is_dir():
        raise DataError(f"no folder {str(asked.folder)!r} to watch: give the one that photos arrive in")
    if asked.by_class is not None:
        check_outside(asked.by_class, [str(asked.folder)])
    run = bundle.load(asked.run)
    shown = Columns(min(asked.top, len(run.classes)), asked.sha256)
    columns = replace(shown, stamped=True)
    predictor = Predictor(
        run, engine=asked.engine, precision=asked.precision, unknown=asked.unknown, threads=asked.threads
    )
    with ExitStack() as stack:
        rows = None
        seen = stack.enter_context(closing(Seen()))
        if asked.out is not None:
            stack.enter_context(alone(asked.out))
            rows = stack.enter_context(closing(Appended(asked.out, form, columns)))
            made.before = seen.read(rows, asked.out)
        sort = stack.enter_context(sorting(asked.by_class, asked.link, run, made))
        arrivals = Arrivals(
            asked.folder, seen.has, settle=asked.settle, poll=asked.poll, interval=asked.interval, report=report
        )
        stack.enter_context(closing(arrivals))
        report.say("watching", f"{asked.folder}: Ctrl-C ends it")
        for group in arrivals.groups(stop):
            stamps = dict(group)
            for prediction in predictor.in_order(((name, Path(name)) for name in stamps), top=asked.top):
                if stop.is_set():
                    break
                if prediction.error and stamp_of(prediction.name) != stamps[prediction.name]:
                    continue  # it has gone, or is being written again and comes again
                sort(prediction, Path(prediction.name))
                if rows is not None:
                    rows.write(columns.record(prediction, stamps[prediction.name]))
                seen.add(prediction.name, stamps[prediction.name])
                made.count += 1
                made.failed += bool(prediction.error)
                each(prediction, shown)
    return made


class Seen:
    """The files that have a row, as they were then; in a temporary file of the disk."""

    def __init__(self) -> None:
        self._store = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._store.execute("PRAGMA journal_mode = OFF")
        self._store.execute("CREATE TABLE seen (name BLOB PRIMARY KEY, bytes INTEGER, modified INTEGER) WITHOUT ROWID")
        self._store.execute("BEGIN")

    def add(self, name: str, stamp: Stamp) -> None:
        """Note a file."""
        self._store.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (_key(name), *stamp))

    def has(self, name: str, stamp: Stamp) -> bool:
        """Whether a file was noted as it is now."""
        found = self._store.execute("SELECT bytes, modified FROM seen WHERE name = ?", (_key(name),)).fetchone()
        return bool(found == stamp)

    def read(self, rows: Appended, out: Path) -> int:
        """Note what has a row; returns how many rows there are. Raises StorageError for rows of another kind."""
        count = 0
        try:
            for record in rows.records():
                self.add(record["path"], (_whole(record, "bytes"), _whole(record, "modified")))
                count += 1
        except (KeyError, TypeError, ValueError, OverflowError):
            raise StorageError(f"{str(out)!r} was not written by tl watch: give another --out") from None
        return count

    def close(self) -> None:
        """Forget them."""
        self._store.close()


def _key(name: str) -> bytes:
    return os.fsencode(os.path.abspath(name))


def _whole(record: dict[str, Any], name: str) -> int:
    """A number as the database can hold it."""
    number = int(record[name])
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{name} is no size and no time")
    return number


def _form(asked: Watched) -> str:
    form = form_of(asked.out, asked.form)
    if form == "parquet" or (form == "json" and asked.out is not None):
        raise UsageError(f"{form} has an end, and watching has none: write jsonl or csv")
    if asked.out is not None:
        check_file(asked.out)
    return form
