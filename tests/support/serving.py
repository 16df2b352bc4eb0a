"""A real server process for the tests of its data sets and jobs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

_CODE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from tl.service.options import Allowances
from tl.service.archives import Limits
from tl.service.options import Options
from tl.service.server import serve

home, given = Path(sys.argv[1]), json.loads(sys.argv[2])
archive = Limits(**{"spare": 0, "files": 2000, **given.pop("archive", {})})
allowances = Allowances(**{"spare": 0, "archive": archive, **given.pop("allowances", {})})
options = Options(root=home / "runs", state=home / "state", port=0, allowances=allowances, **given)

def started(address):
    heavy = sorted({"tensorflow", "keras", "matplotlib", "sklearn"} & set(sys.modules))
    print(json.dumps({"address": address, "heavy": heavy}), flush=True)

serve(options, started)
"""


class Served:
    """A server whose runs and state lie in `home`, and a client of it."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(home), json.dumps(options)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server did not start"
        told = json.loads(line)
        self.heavy = told["heavy"]
        self.client = httpx.Client(base_url=told["address"], timeout=60)

    def stop(self) -> None:
        """End it as an operator does."""
        self.client.close()
        self.process.terminate()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def until(self, path: str, wanted: set[str], seconds: float = 120) -> dict[str, Any]:
        """What a path says once its state is one of those wanted."""
        deadline = time.monotonic() + seconds
        while True:
            reply = self.client.get(path)
            assert reply.status_code < 300, reply.text
            told: dict[str, Any] = reply.json()
            if told["state"] in wanted:
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
