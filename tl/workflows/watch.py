"""Predict every image that arrives in a folder.

A row holds the size and the modification time of its file. Which files are done is read from the rows alone, so that a
kill can neither leave a file done without a row nor give it two.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from tl.data.listing import LeftOut, walk_images, why_file_left_out, why_folder_left_out
from tl.errors import DataError, StorageError, UsageError
from tl.options import keywords, option
from tl.prediction.columns import row_format
from tl.progress import Progress
from tl.runs.run import load_run
from tl.workflows.predict import (
    LabelOptions,
    OnPrediction,
    PredictResult,
    check_outputs,
    columns_of,
    file_sorter,
    open_predictor,
    select_answers,
)

# What writes rows is imported where it is needed, as in tl.workflows.predict.

Stamp = tuple[int, int]
"""Size of a file in bytes, and its modification time in nanoseconds since 1970."""

_GROUP = 64  # files returned at a time, so that a full folder is not read into memory
_POLL_SECONDS = 1.0
_RESCAN_SECONDS = 60.0  # the system drops events when too many come at once


@dataclass(frozen=True)
class WatchOptions(LabelOptions):
    """The options of `tl watch`."""

    settle: float = option(1.0, "Seconds that a file must stay unchanged.", low=0.1, high=3600)
    poll: bool = option(False, "List the folder every second, for network disks without change events.")


@keywords(WatchOptions)
def watch(
    folder: str | Path,
    *,
    options: WatchOptions,
    stop: Event | None = None,
    on_prediction: OnPrediction | None = None,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict every image in a folder and below, and each that arrives or changes, until `stop` is set.

    `on_prediction` is called with every prediction after its row is written. Raises a TLError for what cannot be done,
    DataError when the folder is gone.
    """
    folder, progress, stop, result = Path(folder), progress or Progress(), stop or Event(), PredictResult()
    form = _check(folder, options)
    run = load_run(options.run)
    columns = columns_of(options, run)
    stamped = replace(columns, stamped=True)
    predictor = open_predictor(run, options)
    selection = select_answers(predictor, options, progress)
    with ExitStack() as stack:
        rows, seen = None, SeenFiles()
        if options.out is not None:
            from tl.prediction.row_writer import RowFile, exclusive

            stack.enter_context(exclusive(options.out))
            rows = stack.enter_context(closing(RowFile(options.out, form, stamped)))
            result.before = seen.add_rows(rows.records(), options.out)
        sort = stack.enter_context(file_sorter(options, run, result))
        arrivals = Arrivals(folder, seen.has, settle=options.settle, poll=options.poll, progress=progress)
        stack.enter_context(closing(arrivals))
        progress.log("watching", f"{folder}: press Ctrl-C to stop")
        for group in arrivals.groups(stop):
            stamps = dict(group)
            named = ((name, Path(name)) for name in stamps)
            for prediction in predictor.in_order(named, top=options.top, selection=selection):
                if stop.is_set():
                    break
                if prediction.error and stamp_of(prediction.name) != stamps[prediction.name]:
                    continue  # removed, or being written again, in which case it arrives again
                sort(prediction, Path(prediction.name))
                if rows is not None:
                    rows.write(stamped.record(prediction, stamps[prediction.name]))
                seen.add(prediction.name, stamps[prediction.name])
                result.add(prediction)
                if on_prediction is not None:
                    on_prediction(prediction, columns)
    return result


def _check(folder: Path, options: WatchOptions) -> str:
    form = row_format(options.out, options.format)
    if form == "parquet" or (form == "json" and options.out is not None):
        raise UsageError(f"{form} files must be finished, and watching does not end: write jsonl or csv")
    if not folder.is_dir():
        raise DataError(f"no folder {str(folder)!r} to watch: give the folder where images arrive")
    check_outputs(options, [str(folder)])
    return form


class Arrivals:
    """The images in a folder and below that are not `is_done`, each once it has not changed for `settle` seconds.

    Changes come from the system's file events; without them, or with `poll`, the folder is listed every `interval`
    seconds.
    """

    def __init__(
        self,
        folder: Path,
        is_done: Callable[[str, Stamp], bool],
        *,
        settle: float = 1.0,
        poll: bool = False,
        interval: float = _POLL_SECONDS,
        progress: Progress,
    ) -> None:
        self._folder, self._is_done = folder, is_done
        self._settle, self._interval = settle, interval
        self._waiting: dict[str, tuple[Stamp, float]] = {}  # with the time since when they have been unchanged
        self._events: SimpleQueue[str] = SimpleQueue()
        self._progress, self._poll = progress, poll
        self._left_out: LeftOut | None = LeftOut()  # of the first listing, until it is told
        self._identity = self._read_identity()
        self._observer = None if poll else self._start_observer()

    def groups(self, stop: Event) -> Iterator[list[tuple[str, Stamp]]]:
        """Names of arrived files with their stamps, until `stop` is set; empty lists while there are none.

        Each file must be done when the next group is requested, or it is returned again. Raises DataError when the
        folder is gone.
        """
        scan, next_scan = self._scan(), 0.0
        while not stop.is_set():
            now = time.monotonic()
            if self._was_replaced():
                scan, next_scan = self._scan(), 0.0
            if now >= next_scan:
                for name in scan:
                    self._update(name)
                    if len(self._waiting) >= _GROUP or stop.is_set():
                        break
                else:
                    scan = self._scan()
                    next_scan = now + (self._interval if self._observer is None else _RESCAN_SECONDS)
            self._read_events(0.0 if self._unchanged() else min(0.2, self._settle, self._interval))
            yield self._settled()

    def close(self) -> None:
        """Stop listening for events."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1)

    def _gone(self, error: OSError) -> DataError:
        reason = (error.strerror or type(error).__name__).lower()
        return DataError(f"folder {str(self._folder)!r} cannot be read any more: {reason}")

    def _read_identity(self) -> tuple[int, int]:
        try:
            status = os.stat(self._folder)
        except OSError as error:
            raise self._gone(error) from error
        return status.st_dev, status.st_ino

    def _was_replaced(self) -> bool:
        """Whether another folder has taken the place of the watched one; if so, that one is watched from now on."""
        identity = self._read_identity()
        if identity == self._identity:
            return False
        self.close()
        self._identity, self._observer = identity, None if self._poll else self._start_observer()
        return True

    def _scan(self) -> Iterator[str]:
        def unreadable(error: OSError) -> None:
            if error.filename == str(self._folder):
                raise self._gone(error)

        yield from walk_images(str(self._folder), unreadable, self._left_out or (lambda *_: None))
        if self._left_out is not None and self._left_out.counts:
            self._progress.warn(f"left out: {self._left_out}")
        self._left_out = None

    def _read_events(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while len(self._waiting) < _GROUP * 16:
            try:
                self._update(self._events.get(timeout=max(0.001, deadline - time.monotonic())))
            except Empty:
                return
            if time.monotonic() > deadline:
                return

    def _update(self, name: str) -> None:
        """Wait for a file if it is an image that is not done as it is now."""
        stamp = stamp_of(name)
        if stamp is None or self._is_done(name, stamp) or self._is_left_out(name):
            self._waiting.pop(name, None)
            return
        earlier = self._waiting.get(name)
        if earlier is None or earlier[0] != stamp:
            # A file that was written long ago is complete, unless the clock of another machine is wrong.
            age = time.time() - stamp[1] / 1e9
            since = time.monotonic() - (self._settle if age > 60 and earlier is None else 0)
            self._waiting[name] = stamp, since

    def _is_left_out(self, name: str) -> bool:
        below = list(Path(name).parents)[: len(Path(name).parts) - len(self._folder.parts) - 1]
        return any(why_folder_left_out(str(folder)) for folder in below) or bool(why_file_left_out(name))

    def _unchanged(self) -> list[str]:
        now = time.monotonic()
        return [name for name, (_, since) in self._waiting.items() if now - since >= self._settle]

    def _settled(self) -> list[tuple[str, Stamp]]:
        unchanged = self._unchanged()
        for name in unchanged:
            self._update(name)  # which starts waiting anew if the file has changed
        ready = set(self._unchanged())
        names = sorted(name for name in unchanged if name in ready)
        return [(name, self._waiting.pop(name)[0]) for name in names[:_GROUP]]

    def _start_observer(self) -> Any:
        from watchdog.observers import Observer

        observer = Observer()
        try:
            listener: Any = _Listener(self._events)
            observer.schedule(listener, str(self._folder), recursive=True)
            observer.start()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            self._progress.warn(f"no file events here ({reason}): the folder is listed every {self._interval:g} s")
            return None
        return observer


def stamp_of(name: str) -> Stamp | None:
    """The stamp of a file, None where there is none."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class _Listener:
    def __init__(self, events: "SimpleQueue[str]") -> None:
        self._events = events

    def dispatch(self, event: Any) -> None:
        """Called by watchdog with every event."""
        for path in (event.src_path, getattr(event, "dest_path", "")):
            name = os.fsdecode(path)
            if not event.is_directory:
                self._events.put(name)
            elif event.event_type in ("created", "moved"):
                for file in walk_images(name):  # that came with the folder, or before it was listened to
                    self._events.put(file)


class SeenFiles:
    """The files that have a row, each with its stamp: 200 bytes a file."""

    def __init__(self) -> None:
        self._stamps: dict[bytes, Stamp] = {}

    def add(self, name: str, stamp: Stamp) -> None:
        """Remember a file."""
        self._stamps[_key(name)] = stamp

    def has(self, name: str, stamp: Stamp) -> bool:
        """Whether a file is remembered with this stamp."""
        return self._stamps.get(_key(name)) == stamp

    def add_rows(self, records: Iterator[dict[str, Any]], out: Path) -> int:
        """Remember the files of rows. Returns how many rows there are. Raises StorageError for rows without a stamp."""
        count = 0
        try:
            for count, record in enumerate(records, 1):  # noqa: B007 - their number is returned
                self.add(record["path"], (int(record["bytes"]), int(record["modified"])))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise StorageError(f"{str(out)!r} was not written by tl watch: give another --out") from None
        return count


def _key(name: str) -> bytes:
    return os.fsencode(os.path.abspath(name))
