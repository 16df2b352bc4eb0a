"""What arrives in a folder becomes predictions and rows, until it is told to stop; a later call goes on.

A row holds the size and the time of change of the file it is of: what is done is read from the rows alone, so that no
kill can leave a file done without a row, or with two.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from tl.data.images import IMAGE_SUFFIXES
from tl.data.inputs import walk_images
from tl.errors import DataError, StorageError, UsageError
from tl.prediction.output import Appended, alone, check_file
from tl.prediction.predictor import Predictor
from tl.prediction.rows import Columns, form_of
from tl.prediction.sort import check_outside
from tl.progress import Progress
from tl.runs.run import load_run
from tl.workflows.predict import Each, Labelled, Labelling, sorting

Stamp = tuple[int, int]
"""Bytes of a file, and nanoseconds since 1970 of its last change."""

_GROUP = 64  # files handed on at once, so that all that is known does not gather in memory
_RESCAN = 60.0  # seconds: the system drops events when too many come at once


@dataclass
class _Candidate:
    stamp: Stamp
    since: float


class Arrivals:
    """The images below a folder that are not `known` as they are now, each when it has stayed the same for a while.

    `settle` is in seconds. The system tells what happens in the folder; where it cannot, or with `poll`, the folder is
    looked through every `interval` seconds.
    """

    def __init__(
        self,
        folder: Path,
        known: Callable[[str, Stamp], bool],
        *,
        settle: float = 1.0,
        poll: bool = False,
        interval: float = 1.0,
        progress: Progress,
    ) -> None:
        self._folder, self._known = folder, known
        self._settle, self._interval = settle, interval
        self._waiting: dict[str, _Candidate] = {}
        self._told: SimpleQueue[str] = SimpleQueue()
        self._report, self._poll = progress, poll
        self._place = self._identity()
        self._observer = None if poll else self._observed()

    def groups(self, stop: Event) -> Iterator[list[tuple[str, Stamp]]]:
        """Names of files that have arrived, with their stamps, until `stop` is set; empty lists while there are none.

        Every file is to be known by the time the next group is asked for, or it comes again. Raises DataError when the
        folder is gone.
        """
        scan, next_scan = self._scan(), 0.0
        while not stop.is_set():
            now = time.monotonic()
            if self._is_another():
                scan, next_scan = self._scan(), 0.0
            if now >= next_scan:
                for name in scan:
                    self._look(name)
                    if len(self._waiting) >= _GROUP or stop.is_set():
                        break
                else:
                    scan = self._scan()
                    next_scan = now + (self._interval if self._observer is None else _RESCAN)
            self._listen(0.0 if self._waiting and self._old() else min(0.2, self._settle, self._interval))
            yield self._settled()

    def close(self) -> None:
        """Stop listening."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1)

    def _identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self._folder)
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            raise DataError(f"folder {str(self._folder)!r} cannot be read any more: {why}") from error
        return found.st_dev, found.st_ino

    def _is_another(self) -> bool:
        """Whether another folder stands in the place of the one that is listened to; then it is listened to."""
        place = self._identity()
        if place == self._place:
            return False
        self.close()
        self._place, self._observer = place, None if self._poll else self._observed()
        return True

    def _scan(self) -> Iterator[str]:
        def refused(error: OSError) -> None:
            if error.filename == str(self._folder):
                why = (error.strerror or type(error).__name__).lower()
                raise DataError(f"folder {error.filename!r} cannot be read any more: {why}")

        return walk_images(str(self._folder), refused)

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while len(self._waiting) < _GROUP * 16:
            try:
                self._look(self._told.get(timeout=max(0.001, deadline - time.monotonic())))
            except Empty:
                return
            if time.monotonic() > deadline:
                return

    def _look(self, name: str) -> None:
        """Note a file, if it is an image and not known as it is."""
        stamp = None if self._hidden(name) else stamp_of(name)
        if stamp is None or self._known(name, stamp):
            self._waiting.pop(name, None)
            return
        before = self._waiting.get(name)
        if before is None or before.stamp != stamp:
            # What was written long ago is done, unless the clock of another machine says so.
            age = time.time() - stamp[1] / 1e9
            since = time.monotonic() - (self._settle if age > 60 and before is None else 0)
            self._waiting[name] = _Candidate(stamp, since)

    def _hidden(self, name: str) -> bool:
        parts = Path(name).parts[len(self._folder.parts) : -1]
        return any(part.startswith(".") or part == "__MACOSX" for part in parts)

    def _old(self) -> bool:
        now = time.monotonic()
        return any(now - candidate.since >= self._settle for candidate in self._waiting.values())

    def _settled(self) -> list[tuple[str, Stamp]]:
        now = time.monotonic()
        old = [name for name, candidate in self._waiting.items() if now - candidate.since >= self._settle]
        for name in old:
            self._look(name)  # once more: it starts again if it has changed
        ready = [name for name in old if name in self._waiting and now - self._waiting[name].since >= self._settle]
        return [(name, self._waiting.pop(name).stamp) for name in sorted(ready)[:_GROUP]]

    def _observed(self) -> Any:
        try:
            from watchdog.observers import Observer
        except ImportError:
            self._report.warn(f"watchdog is not installed: looking through the folder every {self._interval:g} seconds")
            return None
        observer = Observer()
        try:
            listener: Any = _Listener(self._told)
            observer.schedule(listener, str(self._folder), recursive=True)
            observer.start()
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            self._report.warn(f"the system tells of no new files ({why}): looking every {self._interval:g} seconds")
            return None
        return observer


def stamp_of(name: str) -> Stamp | None:
    """The stamp of a file that is called like an image; None for anything else, or nothing."""
    base = os.path.basename(name)
    if base.startswith(".") or os.path.splitext(base)[1].lower() not in IMAGE_SUFFIXES:
        return None
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


class _Listener:
    def __init__(self, told: "SimpleQueue[str]") -> None:
        self._told = told

    def dispatch(self, event: Any) -> None:
        """What watchdog calls with every event."""
        for path in (event.src_path, getattr(event, "dest_path", "")):
            name = os.fsdecode(path)
            if not event.is_directory:
                self._told.put(name)
            elif event.event_type in ("created", "moved"):
                for found in walk_images(name):  # what came with it, or before anyone listened there
                    self._told.put(found)


@dataclass(frozen=True)
class Watched(Labelling):
    """Which folder to watch, and how to label what arrives in it; `tl watch` explains it."""

    folder: Path
    settle: float = 1.0
    poll: bool = False
    interval: float = 1.0


def watch(asked: Watched, stop: Event, each: Each = lambda *_: None, *, progress: Progress | None = None) -> Labelled:
    """Label every image in a folder and below, and what arrives there or changes, until `stop` is set.

    `each` is called with every prediction once its row is written. Raises a TLError where it cannot be done, DataError
    when the folder is gone.
    """
    progress, made = progress or Progress(), Labelled()
    form = _form(asked)
    if not asked.folder.is_dir():
        raise DataError(f"no folder {str(asked.folder)!r} to watch: give the one that photos arrive in")
    if asked.by_class is not None:
        check_outside(asked.by_class, [str(asked.folder)])
    run = load_run(asked.run)
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
            asked.folder, seen.has, settle=asked.settle, poll=asked.poll, interval=asked.interval, progress=progress
        )
        stack.enter_context(closing(arrivals))
        progress.log("watching", f"{asked.folder}: Ctrl-C ends it")
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
