"""A folder that is written to becomes the images that have arrived in it, once their writers seem done."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from tl.data.images import IMAGE_SUFFIXES
from tl.datasets.walking import below
from tl.errors import DataError
from tl.progress import Reporter

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
        report: Reporter,
    ) -> None:
        self._folder, self._known = folder, known
        self._settle, self._interval = settle, interval
        self._waiting: dict[str, _Candidate] = {}
        self._told: SimpleQueue[str] = SimpleQueue()
        self._report, self._poll = report, poll
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
        def refused(at: str, error: OSError) -> None:
            if at == str(self._folder):
                why = (error.strerror or type(error).__name__).lower()
                raise DataError(f"folder {at!r} cannot be read any more: {why}")

        return below(str(self._folder), refused)

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
                for found in below(name):  # what came with it, or before anyone listened there
                    self._told.put(found)
