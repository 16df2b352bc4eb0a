"""What a long operation tells becomes lines of JSON in a file, which others read while it grows.

{"event": "say", "topic": "split", "text": "400 train, 102 validation"}      a line of the account
{"event": "warn", "text": "…"}                                               what the user should know
{"event": "progress", "task": "features", "done": 120, "total": 502, "unit": "images", "seconds_left": 4.1}
{"event": "figures", "step": 20, "loss": 0.4, "learning_rate": 0.0001}       a point of the learning curve; after an
    epoch with its mean loss, "epoch", "epochs", "held_out_log_loss" and "held_out_top1" as well
{"event": "attempt", "attempt": 2, "resumed": true}                          the work begins, or begins again

Each has the time `at` as well, in Unix seconds.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tl.progress import Progress, Task

_SOONEST = 0.5  # seconds between two lines of one kind, and the longer the work takes the more
_LONGER = 1000.0
_LONGEST = 4000  # characters of a text


class JobProgress(Progress):
    """Writes what it is told to the end of a file, and tells it to another reporter too."""

    def __init__(self, path: Path, other: Progress) -> None:
        self._other = other
        self._begun = time.monotonic()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._shown = -math.inf
        if os.fstat(self._file).st_size:
            os.write(self._file, b"\n")  # ends the line in which an earlier process was killed

    def close(self) -> None:
        """Nothing more will be told."""
        os.close(self._file)

    def attempt(self, number: int, *, resumed: bool) -> None:
        """The work begins, or begins again."""
        self.write("attempt", attempt=number, resumed=resumed)

    def log(self, topic: str, text: str) -> None:
        """A line of the account."""
        self._other.log(topic, text)
        self.write("say", topic=topic, text=text[:_LONGEST])

    def warn(self, text: str) -> None:
        """What the user should know."""
        self._other.warn(text)
        self.write("warn", text=text[:_LONGEST])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """A point of the learning curve; of those of the steps of an epoch not every one is written."""
        self._other.metrics(step, values)
        of_step = "epoch" not in values
        if of_step and time.monotonic() - self._shown < self.pause():
            return
        if of_step:
            self._shown = time.monotonic()
        known = {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
        self.write("figures", step=step, **known)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """Countable work, written when it begins, now and then, and when it ends."""
        with self._other.task(name, total, unit) as other:
            counted = _Counted(self, other, name, total, unit)
            counted.write()
            yield counted
            counted.write()

    def pause(self) -> float:
        """Seconds between two lines of a kind."""
        return _SOONEST + (time.monotonic() - self._begun) / _LONGER

    def write(self, event: str, **told: Any) -> None:
        """One line, whole in one write."""
        line = json.dumps({"event": event, **told, "at": round(time.time(), 3)}, ensure_ascii=False)
        os.write(self._file, line.encode("utf-8", "replace") + b"\n")


class _Counted(Task):
    def __init__(self, progress: JobProgress, other: Task, name: str, total: int | None, unit: str) -> None:
        self._progress, self._other, self._name, self._total, self._unit = progress, other, name, total, unit
        self._done, self._written = 0, -math.inf
        self._first: tuple[int, float] | None = None  # what the first took is no measure: it compiles

    def advance(self, amount: int = 1) -> None:
        self._other.advance(amount)
        self._done += amount
        self._first = self._first or (self._done, time.monotonic())
        if time.monotonic() - self._written > self._progress.pause():
            self.write()

    def expect(self, total: int) -> None:
        self._other.expect(total)
        self._total = total

    def write(self) -> None:
        self._written = time.monotonic()
        left = None
        if self._total and self._first and self._done > self._first[0]:
            pace = (self._written - self._first[1]) / (self._done - self._first[0])
            left = round(pace * max(0, self._total - self._done), 1)
        self._progress.write(
            "progress", task=self._name, done=self._done, total=self._total, unit=self._unit, seconds_left=left
        )


def events(path: Path, start: int = 0, most: int = 1 << 20) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """The events of a file from byte `start` on, each with the place after it; and where to read on.

    At most about `most` bytes at once. What is no whole line, or no event, is passed over.
    """
    try:
        with path.open("rb") as file:
            file.seek(start if 0 <= start <= os.fstat(file.fileno()).st_size else 0)
            at = file.tell()
            content = file.read(most)
    except FileNotFoundError:
        return [], 0
    found = []
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.splitlines(keepends=True):
        at += len(line)
        event = _parsed(line)
        if event is not None:
            found.append((at, event))
    return found, at


def last(path: Path, event: str, most: int = 1 << 16) -> dict[str, Any] | None:
    """The newest event of a kind near the end of a file."""
    try:
        start = max(0, path.stat().st_size - most)
    except FileNotFoundError:
        return None
    found, _ = events(path, start, most)
    return next((one for _, one in reversed(found) if one["event"] == event), None)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
