"""A real server process for the tests of the service: its address, its log, and plain requests to it."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import urllib3

ROOT = Path(__file__).resolve().parents[2]
_CODE = """
import json, sys
from pathlib import Path
from tl.service.options import Limits, Options
from tl.service.server import serve

given = json.loads(sys.argv[1])
limits = Limits(**given.pop("limits", {}))
paths = {name: Path(given.pop(name)) for name in ("root", "state", "certificate", "private_key") if name in given}
runs = tuple(given.pop("runs", ()))
options = Options(runs=runs, port=0, workers=given.pop("workers", False), limits=limits, **paths, **given)
serve(options, lambda address: print(address, flush=True))
"""


class Live:
    """A server on a free port. `options` are those of `tl.service.options`, `limits` as a dictionary."""

    def __init__(self, home: Path, **options: Any) -> None:
        given = {"root": str(home / "runs"), "state": str(home / "state"), "watch": 0.2, **options}
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
        self.address = self.process.stdout.readline().strip()
        assert self.address, "\n".join(self.log)
        self.port = int(self.address.rpartition(":")[2])
        self._pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=32)

    def request(self, method: str, path: str, **given: Any) -> Any:
        """An answer of urllib3."""
        return self._pool.request(method, self.address + path, **given)

    def post(self, content: bytes, path: str = "/v1/predict", kind: str = "application/octet-stream") -> Any:
        """What comes of a body."""
        return self.request("POST", path, body=content, headers={"Content-Type": kind})

    def decoders(self) -> list[int]:
        """The ids of its decoding processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if parent == self.process.pid and b"tl.service.decoder" in words:
                    found.append(int(entry.name))
        return found

    def entries(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log if line.startswith("{")]

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self._pool.clear()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))


def problem(answer: Any) -> dict[str, Any]:
    """A refusal, in the form that all of them have."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.data[:200]
    said: dict[str, Any] = json.loads(answer.data)
    assert said["status"] == answer.status
    assert said["detail"]
    assert "\n" not in said["detail"]
    assert said["request_id"] == answer.headers["X-Request-ID"]
    return said
