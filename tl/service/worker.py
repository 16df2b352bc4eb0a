"""The queue of jobs becomes runs: the one process that takes jobs and watches over a child process for each.

It keeps nothing in memory that matters: killed at any time, the next one finds in the database what was under way, and
a job goes on from its last checkpoint. Checks of data sets run beside training, one of each at a time.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tl.errors import ServiceError
from tl.runs.folder import CHECKPOINT, partial_folder
from tl.service import dataset_store, job_store
from tl.service.child import LOG, ORDER, OUTCOME, write
from tl.service.database import Database
from tl.service.job_store import Job
from tl.service.options import Allowances

_TURN = 0.25  # seconds between two looks
_BEAT = 1.0
_MEASURE = 3.0  # seconds between two looks at what a job has written
_POISON = 10  # times in a row that a worker may die over a job
_LOCK = "worker.lock"
_PATIENCE = 5.0  # seconds for the worker before to have left


@dataclass
class _Running:
    """A job, its process, and when it was last looked at."""

    job: Job
    process: subprocess.Popen[bytes]
    counted: float
    measured: float
    checkpoint: float
    written: int = 0


class Worker:
    """Takes jobs from the database of a state folder and makes runs in `runs`, until it is told to stop."""

    def __init__(self, database: Database, runs: Path, allowances: Allowances) -> None:
        self._database, self._runs, self._allowances = database, runs.absolute(), allowances
        self._children: dict[str, _Running] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End what is under way, for a later worker to go on with, and leave `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Work until told to stop. Raises ServiceError where another worker is at it."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._database.folder / _LOCK, timeout=_PATIENCE):
                job_store.recover(self._database, _POISON)
                beaten = 0.0
                while not self._stopping.wait(_TURN):
                    if time.monotonic() - beaten > _BEAT:
                        beaten = time.monotonic()
                        self._beat()
                    for kind in job_store.KINDS:
                        self._turn(kind)
                self._leave()
        except Timeout as error:
            raise ServiceError(f"another worker works on {self._database.folder}: one is enough") from error

    def _turn(self, kind: str) -> None:
        running = self._children.get(kind)
        if running is None:
            job = job_store.claim(self._database, kind)
            if job is not None:
                self._start(kind, job)
        elif _has_ended(running.process):
            del self._children[kind]
            self._came_to_end(running)
        elif time.monotonic() - running.measured > _MEASURE:
            self._measure(running)

    def _start(self, kind: str, job: Job) -> None:
        stored = dataset_store.get(self._database, job.dataset)
        if stored is None:
            job_store.end(self._database, job.id, "failed", "its data set was removed")
            return
        if job.cancel:
            self._clear(job)
            job_store.end(self._database, job.id, "cancelled")
            return
        folder = job_store.job_folder(self._database, job.id)
        home = dataset_store.place(self._database, stored)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / OUTCOME).unlink(missing_ok=True)
            order = {"kind": kind, "attempt": job.attempt, "data": home.name, "options": job.options}
            write(folder / ORDER, order | {"run": str(self._runs / job.run) if job.run else ""})
            with (folder / LOG).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tl.service.child", str(folder.absolute())],
                    cwd=home.parent,  # so that the run names its data set without the folders of this machine
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment(),
                )
        except OSError as error:
            self._failed(job, f"its process cannot be started ({error.strerror})")
            return
        now = time.monotonic()
        self._children[kind] = _Running(job, process, now, now, self._checkpoint(job))

    def _beat(self) -> None:
        now = time.monotonic()
        spent = [(one.job.id, now - one.counted) for one in self._children.values()]
        for one in self._children.values():
            one.counted = now
        unwanted = job_store.beat(self._database, spent, os.getpid())
        for kind, one in list(self._children.items()):
            if one.job.id in unwanted and not _has_ended(one.process):
                self._end(kind, "cancelled", "")

    def _measure(self, running: _Running) -> None:
        """Look at what a job has taken of the machine, and at how far it came."""
        running.measured, job = time.monotonic(), running.job
        checkpoint = self._checkpoint(job)
        if checkpoint > running.checkpoint:
            running.checkpoint = checkpoint
            job_store.fruitful(self._database, job.id)
        current = job_store.get(self._database, job.id)
        if current is not None and current.seconds > self._allowances.job_seconds:
            self._end(
                job.kind, "failed", f"it ran longer than the {self._allowances.job_seconds:,.0f} s a job may take"
            )
        elif self._written(job) > self._allowances.job_bytes:
            self._end(job.kind, "failed", f"it wrote more than the {self._allowances.job_bytes:,} bytes a job may take")
        elif shutil.disk_usage(self._database.folder).free < self._allowances.spare:
            self._end(job.kind, "failed", "the disk is full: remove data sets or runs, or free space")

    def _end(self, kind: str, state: str, error: str) -> None:
        running = self._children.pop(kind)
        _kill(running.process)
        self._clear(running.job)
        job_store.end(self._database, running.job.id, state, error)

    def _came_to_end(self, running: _Running) -> None:
        job, code = running.job, _kill(running.process)  # and with it what is left of its group
        job_store.beat(self._database, [(job.id, time.monotonic() - running.counted)], os.getpid())
        if code == 0:
            job_store.end(self._database, job.id, "succeeded")
            return
        if self._checkpoint(job) > running.checkpoint:
            job_store.fruitful(self._database, job.id)
        reason = _reason(job_store.job_folder(self._database, job.id) / OUTCOME)
        reason = reason.replace(f"{self._runs}/", "")  # folders of this machine are its own
        if reason:
            self._clear(job)
            job_store.end(self._database, job.id, "failed", reason)
            return
        how = f"was killed by signal {-code}" if code < 0 else f"broke down (exit code {code}; see its log)"
        self._failed(job, f"its process {how}")

    def _failed(self, job: Job, reason: str) -> None:
        """Try again after a while, unless that came to nothing too often."""
        current = job_store.get(self._database, job.id)
        if current is not None and current.fruitless >= self._allowances.attempts:
            self._clear(job)
            job_store.end(self._database, job.id, "failed", f"{reason}, {self._allowances.attempts} times in a row")
        else:
            job_store.again(self._database, job.id, wait=1.0)

    def _leave(self) -> None:
        for running in self._children.values():
            _kill(running.process)
            job_store.again(self._database, running.job.id, counted=False)

    def _clear(self, job: Job) -> None:
        """Remove what is left of a run that will not be."""
        if job.run:
            run = self._runs / job.run
            shutil.rmtree(partial_folder(run), ignore_errors=True)
            with suppress(OSError):
                (run.parent / f".{run.name}.lock").unlink(missing_ok=True)

    def _checkpoint(self, job: Job) -> float:
        with suppress(OSError):
            return (partial_folder(self._runs / job.run) / CHECKPOINT).stat().st_mtime if job.run else 0.0
        return 0.0

    def _written(self, job: Job) -> int:
        folders = [job_store.job_folder(self._database, job.id)]
        return sum(_size(folder) for folder in [*folders, *([partial_folder(self._runs / job.run)] if job.run else [])])


def _kill(process: subprocess.Popen[bytes]) -> int:
    """End a child and all that it started; returns its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # until it was waited for, no other process has its number
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended, without taking its number from it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reason(outcome: Path) -> str:
    try:
        return str(json.loads(outcome.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _size(folder: Path) -> int:
    size = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_blocks * 512
    return size


def environment() -> dict[str, str]:
    """That of the worker, with paths that hold in another folder as well."""
    known = dict(os.environ)
    for name in ("TL_CACHE_DIR", "KERAS_HOME"):
        if known.get(name):
            known[name] = os.path.abspath(known[name])
    here = str(Path(__file__).resolve().parents[2])
    if "site-packages" not in here:  # a checkout
        known["PYTHONPATH"] = os.pathsep.join(filter(None, [here, known.get("PYTHONPATH", "")]))
    return known | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


def main(words: list[str] | None = None) -> None:
    """`python -m tl.service.worker --state DIR --runs DIR`: work until SIGTERM, or until standard input ends."""
    parser = argparse.ArgumentParser(description="Take jobs from the database and make runs of them.")
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--runs", required=True, type=Path)
    parser.add_argument("--attached", action="store_true", help="Leave when standard input ends.")
    for name in ("job_seconds", "job_bytes", "attempts", "spare"):
        default = getattr(Allowances(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args(words))
    state, runs, attached = given.pop("state"), given.pop("runs"), given.pop("attached")
    worker = Worker(Database(state), runs, Allowances(**given))
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: worker.stop())
    if attached:
        threading.Thread(target=_wait_for_end, args=(worker,), daemon=True).start()
    worker.run()


def _wait_for_end(worker: Worker) -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    worker.stop()


if __name__ == "__main__":
    main()
