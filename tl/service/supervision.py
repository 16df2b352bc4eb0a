"""A server keeps one worker process alive, and takes it along when it goes."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tl.service.options import Allowances, Options
from tl.service.worker import environment

_PATIENCE = 15.0  # seconds for a worker to leave
_SOON, _LATE = 0.5, 30.0  # seconds before a worker that died is started again


class WorkerHandle:
    """A worker process that is started again whenever it dies, until `stop`."""

    def __init__(self, state: Path, runs: Path, allowances: Allowances) -> None:
        self._command = [
            *(sys.executable, "-m", "tl.service.worker", "--attached"),
            *("--state", str(state.absolute()), "--runs", str(runs.absolute())),
            *("--job-seconds", str(allowances.job_seconds), "--job-bytes", str(allowances.job_bytes)),
            *("--attempts", str(allowances.attempts), "--spare", str(allowances.spare)),
        ]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] = self._start()
        self._thread = threading.Thread(target=self._watch, name="worker", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process that works now."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether there is one."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the worker; what it was at goes on when the next one is started."""
        self._stopping.set()
        self._thread.join(_PATIENCE)
        self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, env=environment()
        )

    def _watch(self) -> None:
        wait = _SOON
        started = time.monotonic()
        while not self._stopping.wait(0.2):
            if self.alive:
                continue
            wait = _SOON if time.monotonic() - started > 60 else min(_LATE, 2 * wait)
            if self._stopping.wait(wait):
                return
            started = time.monotonic()
            self._hang_up()
            with suppress(OSError):
                self._process = self._start()

    def _hang_up(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _end(self) -> None:
        self._hang_up()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_worker(options: Options) -> WorkerHandle:
    """Start a worker for the jobs of a service and keep it alive; it ends with this process, however that ends."""
    return WorkerHandle(options.state, options.root, options.allowances)
