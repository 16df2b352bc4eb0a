"""The worker: a thread of the server that takes jobs from the queue and runs each in a child process.

It keeps nothing important in memory: when a server is killed, its children end, the next one finds in the database what
was under way, and a job continues from its last checkpoint. Checks of data sets run beside training, one of each at a
time.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tl.errors import ServiceError, TLError
from tl.files import child_environment, locked
from tl.runs.folder import CHECKPOINT, partial_folder
from tl.runs.summary import disk_usage
from tl.service import store
from tl.service.archives import Unpacked
from tl.service.database import Database
from tl.service.job_process import COPY, FINDINGS, LOG, ORDER, OUTCOME, write_json
from tl.service.options import TrainingLimits
from tl.service.store import Job

_LOG = logging.getLogger("tl.service")
_POLL = 0.25  # seconds
_HEARTBEAT = 1.0  # seconds
_MEASURE = 3.0  # seconds between two checks of what a job has written
_RETRY = 5.0  # seconds after a failure of the worker itself
_MAX_DEATHS = 10  # of a server in a row over one job


@dataclass
class _Running:
    """A job, its process, the time of its checkpoint, and `time.monotonic()` of its last accounting and measurement."""

    job: Job
    process: subprocess.Popen[bytes]
    checkpoint: float
    counted: float = field(default_factory=time.monotonic)
    measured: float = field(default_factory=time.monotonic)


class Worker:
    """Runs the jobs of a state folder and writes runs to the folder `runs`, from `start` to `stop`.

    Of several servers with one state folder, only one runs jobs at a time.
    """

    def __init__(self, database: Database, runs: Path, limits: TrainingLimits) -> None:
        self._database, self._runs, self._limits = database, runs.absolute(), limits
        self._children: dict[str, _Running] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Kill running jobs, which the next worker continues, and end the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        busy = ServiceError(f"another service runs the jobs of {self._database.folder}")
        while not self._stopping.is_set():
            try:
                with locked(self._database.folder / "worker.lock", busy=busy, timeout=_RETRY):
                    self._run_jobs()
            # A full disk or a busy database must not end the worker; the jobs are in the database.
            except Exception as error:  # noqa: BLE001
                _LOG.error("the worker cannot run jobs: %s", error)
                self._stopping.wait(_RETRY)

    def _run_jobs(self) -> None:
        store.recover_jobs(self._database, _MAX_DEATHS)
        last_heartbeat = 0.0
        try:
            while not self._stopping.wait(_POLL):
                if time.monotonic() - last_heartbeat > _HEARTBEAT:
                    last_heartbeat = time.monotonic()
                    self._heartbeat()
                for kind in store.KINDS:
                    self._poll(kind)
        finally:
            for kind in list(self._children):
                running = self._children.pop(kind)
                _kill(running.process)
                store.requeue_job(self._database, running.job.id, at_fault=False)

    def _poll(self, kind: str) -> None:
        running = self._children.get(kind)
        if running is None:
            job = store.claim_job(self._database, kind)
            if job is not None:
                self._start(job)
        elif _has_ended(running.process):
            del self._children[kind]
            self._finish(running)
        elif time.monotonic() - running.measured > _MEASURE:
            self._measure(running)

    def _start(self, job: Job) -> None:
        dataset = store.get_dataset(self._database, job.dataset)
        if dataset is None:
            store.end_job(self._database, job.id, "failed", "its data set was removed")
            return
        if job.cancel:
            self._end(job, "cancelled")
            return
        home = store.dataset_folder(self._database, dataset)
        try:
            process = self._start_child(job, home)
        except OSError as error:
            self._retry(job, f"its process cannot be started ({error.strerror})")
            return
        self._children[job.kind] = _Running(job, process, checkpoint=self._checkpoint_time(job))

    def _start_child(self, job: Job, home: Path) -> subprocess.Popen[bytes]:
        folder = store.job_folder(self._database, job.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / OUTCOME).unlink(missing_ok=True)
        run = str(self._runs / job.run) if job.run else ""
        order = {"kind": job.kind, "attempt": job.attempt, "data": home.name, "options": job.options, "run": run}
        write_json(folder / ORDER, order)
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tl.service.job_process", str(folder.absolute())],
                cwd=home.parent,  # so that the run names its data set without the server's folders
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=child_environment() | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
            )

    def _heartbeat(self) -> None:
        now = time.monotonic()
        spent = [(running.job.id, now - running.counted) for running in self._children.values()]
        for running in self._children.values():
            running.counted = now
        cancelled = store.heartbeat(self._database, spent)
        for running in list(self._children.values()):
            if running.job.id in cancelled and not _has_ended(running.process):
                self._kill_job(running, "cancelled")

    def _measure(self, running: _Running) -> None:
        running.measured, job = time.monotonic(), running.job
        self._record_progress(running)
        folders = [store.job_folder(self._database, job.id)]
        folders += [partial_folder(self._runs / job.run)] if job.run else []
        current = store.get_job(self._database, job.id)
        if current is not None and current.seconds > self._limits.job_seconds:
            self._kill_job(running, "failed", f"it ran longer than the limit of {self._limits.job_seconds:,.0f} s")
        elif disk_usage(*folders).total > self._limits.job_bytes:
            self._kill_job(running, "failed", f"it wrote more than the limit of {self._limits.job_bytes:,} bytes")
        elif shutil.disk_usage(self._database.folder).free < self._limits.spare:
            self._kill_job(running, "failed", "the disk is full: remove data sets or runs, or free some space")

    def _kill_job(self, running: _Running, state: str, error: str = "") -> None:
        del self._children[running.job.kind]
        _kill(running.process)
        self._end(running.job, state, error)

    def _finish(self, running: _Running) -> None:
        job, code = running.job, _kill(running.process)  # kills what is left of its process group
        store.heartbeat(self._database, [(job.id, time.monotonic() - running.counted)])
        if code == 0:
            try:
                if "fix" in job.options:
                    self._store_copy(job)
                store.end_job(self._database, job.id, "succeeded")
            except TLError as failure:
                self._end(job, "failed", str(failure))
            return
        self._record_progress(running)
        error = _outcome(store.job_folder(self._database, job.id) / OUTCOME)
        if error:
            self._end(job, "failed", error.replace(f"{self._runs}/", ""))  # do not show the server's folders
            return
        how = f"was killed by signal {-code}" if code < 0 else f"crashed (exit code {code}; see its log)"
        self._retry(job, f"its process {how}")

    def _store_copy(self, job: Job) -> None:
        """Make a data set of a cleaned copy, with the id of its job, and let it be checked as its original was."""
        folder = store.job_folder(self._database, job.id)
        if store.get_dataset(self._database, job.id) is not None:  # the server was killed before it noticed
            shutil.rmtree(folder / COPY, ignore_errors=True)
            return
        result = json.loads((folder / FINDINGS).read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in (folder / COPY).rglob("*") if file.is_file())
        unpacked = Unpacked(result["images"], size, result["left_out"])
        most, name = self._limits.datasets, str(job.options["name"])
        store.add_dataset(self._database, folder / COPY, name, unpacked, owner=job.owner, most=most, identity=job.id)
        options = {key: value for key, value in job.options.items() if key in ("backbone", "weights")}
        store.add_job(self._database, "check", job.id, options, owner=job.owner)

    def _retry(self, job: Job, reason: str) -> None:
        """Put a job back in the queue, unless too many attempts in a row made no progress."""
        current = store.get_job(self._database, job.id)
        if current is not None and current.fruitless >= self._limits.attempts:
            self._end(job, "failed", f"{reason}, {self._limits.attempts} times in a row")
        else:
            store.requeue_job(self._database, job.id, wait=1.0)

    def _end(self, job: Job, state: str, error: str = "") -> None:
        """Remove the files of an unfinished run, and set the job's final state."""
        if job.run:
            run = self._runs / job.run
            shutil.rmtree(partial_folder(run), ignore_errors=True)
            with suppress(OSError):
                (run.parent / f".{run.name}.lock").unlink(missing_ok=True)
        store.end_job(self._database, job.id, state, error)

    def _record_progress(self, running: _Running) -> None:
        if (checkpoint := self._checkpoint_time(running.job)) > running.checkpoint:
            running.checkpoint = checkpoint
            store.record_progress(self._database, running.job.id)

    def _checkpoint_time(self, job: Job) -> float:
        with suppress(OSError):
            return (partial_folder(self._runs / job.run) / CHECKPOINT).stat().st_mtime if job.run else 0.0
        return 0.0


def _kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a child and everything it started; returns its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the pid is not reused before `wait`
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended, without reaping it, so that its pid is not reused."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _outcome(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
