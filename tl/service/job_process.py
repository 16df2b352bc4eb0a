"""The process that the worker starts for each attempt of a job: it makes the run, or checks or cleans the data set.

It ends when the worker does, however that ends: standard input is a pipe that only the worker holds open. It writes
events to a file, one JSON object per line, which the server reads while it grows; each has its time `at` in Unix
seconds.

{"event": "say", "topic": "split", "text": "400 train, 102 validation"}      a line of the log
{"event": "warn", "text": "…"}                                               a warning
{"event": "progress", "task": "features", "done": 120, "total": 502, "unit": "images", "seconds_left": 4.1}
{"event": "figures", "step": 20, "loss": 0.4, "learning_rate": 0.0001}       a point of the learning curve; after an
    epoch with its mean loss and accuracy "top1", "epoch", "epochs", "held_out_log_loss" and "held_out_top1" as well
{"event": "attempt", "attempt": 2, "resumed": true}                          the start of an attempt
"""

import json
import math
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tl.errors import DataError, ServiceError, TLError
from tl.files import locked, write_text
from tl.progress import Progress, Task

ORDER, OUTCOME, EVENTS, LOG = "order.json", "outcome.json", "events.jsonl", "log.txt"
FINDINGS, PAGE, COPY = "findings.json", "page.html", "copy"
_PATIENCE = 30.0  # seconds for the process of an earlier attempt to end
_MIN_PAUSE = 0.5  # seconds between two events of one kind
_PAUSE_GROWTH = 1 / 1000  # by which this pause grows per second
_MAX_TEXT = 4000  # characters


def main() -> None:
    """Do what the order in the folder says; exit code 0, or 1 with the error in the folder's outcome."""
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_worker, daemon=True).start()
    with suppress(OSError):  # predictions run first, and the kernel kills training first when memory runs out
        os.nice(5)
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
    progress = JobProgress(folder / EVENTS)
    busy = ServiceError(f"{folder} is in use by another process")
    with locked(folder / "child.lock", busy=busy, timeout=_PATIENCE):
        try:
            if order["options"].pop("fix", None):
                _fix(folder, order, progress)
            elif order["kind"] == "check":
                _check(folder, order, progress)
            else:
                _finetune(order, progress)
        except TLError as error:
            progress.warn(str(error))
            write_json(folder / OUTCOME, {"error": str(error)})
            sys.exit(1)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, ensure_ascii=False), hint="free some space")


def _finetune(order: dict[str, Any], progress: "JobProgress") -> None:
    from tl.runs.folder import CHECKPOINT, partial_folder
    from tl.workflows.finetune import finetune

    run = Path(order["run"])
    if (run / "manifest.json").is_file():
        return  # an earlier attempt finished, but the worker was killed before it noticed
    resume = (partial_folder(run) / CHECKPOINT).is_file()
    progress.write("attempt", attempt=order["attempt"], resumed=resume)
    words = [word for name, value in order["options"].items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = shlex.join(["tl", "finetune", order["data"], *words])
    options = {"budget": order["options"].get("budget")} if resume else order["options"]
    finetune(order["data"], out=str(run), resume=resume, progress=progress, command=command, **options)


def _check(folder: Path, order: dict[str, Any], progress: "JobProgress") -> None:
    from tl.workflows.data_check import check

    progress.write("attempt", attempt=order["attempt"], resumed=False)
    diagnosis = check(order["data"], out=folder / PAGE, command=None, progress=progress, **order["options"])
    write_json(folder / FINDINGS, diagnosis.as_dict())


def _fix(folder: Path, order: dict[str, Any], progress: "JobProgress") -> None:
    """Write the cleaned copy into the job's folder, where the worker makes a data set of it."""
    from tl.workflows.data_fix import fix

    copy = folder / COPY
    if (folder / FINDINGS).is_file() and copy.is_dir():
        return  # an earlier attempt finished, but the worker was killed before it noticed
    shutil.rmtree(copy, ignore_errors=True)
    progress.write("attempt", attempt=order["attempt"], resumed=False)
    options = {name: value for name, value in order["options"].items() if name != "name"}
    result = fix(order["data"], out=copy, link=True, progress=progress, **options)
    if not result.plan.changed:
        raise DataError("a cleaned copy would be the same: what was found needs a decision of yours")
    (copy / "undo.csv").replace(folder / "undo.csv")  # it has the paths of this machine
    left_out = Counter(step.kind for step in result.plan.changed if not step.kept)
    write_json(folder / FINDINGS, {"images": len(result.plan.kept), "left_out": left_out})


def _end_with_worker() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.killpg(0, signal.SIGKILL)


class JobProgress(Progress):
    """Writes events to a file, and log lines and warnings to standard output as well."""

    def __init__(self, path: Path) -> None:
        self._started = time.monotonic()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._last_step = -math.inf
        if os.fstat(self._file).st_size:
            os.write(self._file, b"\n")  # ends the line that an earlier process was killed in

    def log(self, topic: str, text: str) -> None:
        print(f"{topic:<12}{text}", flush=True)
        self.write("say", topic=topic, text=text[:_MAX_TEXT])

    def warn(self, text: str) -> None:
        print(f"{'note':<12}{text}", flush=True)
        self.write("warn", text=text[:_MAX_TEXT])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record a point of the learning curve; not every step within an epoch is recorded."""
        if "epoch" not in values:
            if time.monotonic() - self._last_step < self.pause():
                return
            self._last_step = time.monotonic()
        finite = {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
        self.write("figures", step=step, **finite)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """Record countable work when it begins, now and then, and when it ends."""
        task = _JobTask(self, name, total, unit)
        task.write()
        yield task
        task.write()

    def pause(self) -> float:
        """Seconds between two events of one kind: the longer the job runs, the more."""
        return _MIN_PAUSE + _PAUSE_GROWTH * (time.monotonic() - self._started)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event, in a single write."""
        line = json.dumps({"event": event, **fields, "at": round(time.time(), 3)}, ensure_ascii=False)
        os.write(self._file, line.encode("utf-8", "replace") + b"\n")


class _JobTask(Task):
    def __init__(self, progress: JobProgress, name: str, total: int | None, unit: str) -> None:
        self._progress, self._name, self._total, self._unit = progress, name, total, unit
        self._done, self._written = 0, -math.inf
        self._first: tuple[int, float] | None = None  # the first advance compiles, so it says nothing about speed

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._first = self._first or (self._done, time.monotonic())
        if time.monotonic() - self._written > self._progress.pause():
            self.write()

    def expect(self, total: int) -> None:
        self._total = total

    def write(self) -> None:
        self._written = time.monotonic()
        left = None
        if self._total and self._first and self._done > self._first[0]:
            seconds = (self._written - self._first[1]) / (self._done - self._first[0])
            left = round(seconds * max(0, self._total - self._done), 1)
        self._progress.write(
            "progress", task=self._name, done=self._done, total=self._total, unit=self._unit, seconds_left=left
        )


def read_events(path: Path, start: int = 0, most: int = 1 << 20) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """The events of a file from byte `start` on, each with the offset of its end; and the offset to continue from.

    Reads at most `most` bytes. Incomplete lines and lines that are no events are skipped.
    """
    try:
        with path.open("rb") as file:
            file.seek(start if 0 <= start <= os.fstat(file.fileno()).st_size else 0)
            offset = file.tell()
            content = file.read(most)
    except FileNotFoundError:
        return [], 0
    events = []
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        offset += len(line)
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                events.append((offset, event))
    return events, offset


def last_event(path: Path, event: str, most: int = 1 << 16) -> dict[str, Any] | None:
    """The newest event of a kind in the last `most` bytes of a file."""
    try:
        start = max(0, path.stat().st_size - most)
    except FileNotFoundError:
        return None
    events, _ = read_events(path, start, most)
    return next((one for _, one in reversed(events) if one["event"] == event), None)


if __name__ == "__main__":
    main()
