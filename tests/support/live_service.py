"""A real server process for the tests of the service: its address, its log, and requests to it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import urllib3

from support.session import ROOT
from tl.service.database import Database
from tl.service.keys import ROLES, add_key

LONG = {"backbone": "simple-cnn", "weights": "none", "unfreeze": "all", "epochs": 10_000, "image_size": 32, "batch": 8}
"""Options of a job that does not end by itself."""
_CODE = """
import json, sys
from pathlib import Path
from tl.progress import Progress
from tl.service.options import ArchiveLimits, RequestLimits, ServeOptions, TrainingLimits
from tl.workflows.serve import serve

class Announce(Progress):
    def log(self, topic, text):
        heavy = sorted({"tensorflow", "keras", "matplotlib", "sklearn"} & set(sys.modules))
        print(json.dumps({"address": text.split()[0], "heavy": heavy}), flush=True)

options = json.loads(sys.argv[1])
limits = RequestLimits(**options.pop("limits", {}))
archive = ArchiveLimits(**{"spare": 0, "files": 2000, **options.pop("archive", {})})
training = TrainingLimits(**{"spare": 0, "archive": archive, **options.pop("training", {})})
paths = {name: Path(options.pop(name)) for name in ("root", "state", "tls_certificate", "tls_key") if name in options}
lists = {name: tuple(options.pop(name, ())) for name in ("runs", "allow_host")}
options = ServeOptions(port=0, limits=limits, training=training, **paths, **lists, **options)
serve(options=options, progress=Announce())
"""


class Live:
    """A server on a free port, with runs and state in `home`, and with `keys`, by role, if it wants them. `options` are
    those of `ServeOptions`; `limits`, `training` and `archive` are dictionaries.
    """

    def __init__(self, home: Path, *, keys: bool = False, **options: Any) -> None:
        self.home = home
        self.keys = {role: add_key(Database(home / "state"), f"{role} key", role) for role in ROLES if keys}
        given = {"root": str(home / "runs"), "state": str(home / "state"), "watch": 0.2, "jobs": False, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SECRET_OF_THE_SERVER": "tl-test-secret"},
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "\n".join(self.log)
        started = json.loads(line)
        self.address, self.heavy = started["address"], started["heavy"]
        self.port = int(self.address.rpartition(":")[2])
        self._pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=32)
        self.client = httpx.Client(base_url=self.address, timeout=60, verify=False)  # noqa: S501

    def request(self, method: str, path: str, **options: Any) -> Any:
        """A response of urllib3, which sends what httpx would refuse to send."""
        return self._pool.request(method, self.address + path, **options)

    def post(self, content: bytes, path: str = "/v1/predict", kind: str = "application/octet-stream") -> Any:
        return self.request("POST", path, body=content, headers={"Content-Type": kind})

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path).data)

    def until(self, path: str, states: set[str], seconds: float = 120) -> dict[str, Any]:
        until(lambda: self.get(path)["state"] in states, seconds)
        return dict(self.get(path))

    def children(self, module: str = "tl.service.decoder") -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and module.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log if line.startswith("{")]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop it as an operator does; returns its exit code."""
        self._pool.clear()
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        code = self.process.wait(60)
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def stop_cleanly(self) -> None:
        """Stop it; nothing unexpected may have been logged."""
        assert self.stop() == 0
        bad = "\n".join(self.log if any("Traceback" in line or "internal error" in line for line in self.log) else [])
        assert not bad, bad

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(line.rstrip("\n") for line in self.process.stderr)


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def problem(response: Any) -> dict[str, Any]:
    """The problem in a response of urllib3, in the form that all refusals have."""
    assert response.headers["Content-Type"] == "application/problem+json", response.data[:200]
    body: dict[str, Any] = json.loads(response.data)
    assert body["status"] == response.status
    assert body["detail"]
    assert "\n" not in body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
