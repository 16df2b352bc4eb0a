"""A machine and a network become the batch, streams and threads it computes with: measured once, remembered.

When it is measured: as an engine has computed `MANY` photos in `LONG` seconds or more and still more come, be it for
`tl finetune`, `tl evaluate` or `tl predict`; or when `tl bench --remember` asks for it. One photo never waits for it, a
few hundred neither, and nothing is measured for features that are known already. It takes up to `BUDGET` seconds, once,
in a process of its own, so that its networks leave no memory behind; what comes after it in the same job profits.

What it measures: the network alone, on arrays, which is what the choice changes. What it cannot change: features. They
are bit for bit the same for each choice that was looked at, and their key does not name it.

The file `trunks/choices.json` in the cache holds the last `MOST` choices, by network, precision, processor, number of
CPUs and version of OpenVINO: what differs in one of them is measured anew. Two processes that write at the same time
lose one of the entries, which is measured again.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tl.errors import EngineError, StorageError
from tl.settings import Settings, settings

MANY, LONG = 800, 5.0  # photos and seconds after which measuring pays
BUDGET = 4.0  # seconds that it may take, but for the start of a process
CLEARLY = 1.05  # times as fast as the default has another choice to be
MOST = 256  # choices in the file
BATCH = 16  # larger batches are rarely faster on two to eight cores, and smaller ones are slower
_LIMITS = {"batch": 1024, "streams": 1024, "threads": 1024}


@dataclass(frozen=True)
class Choice:
    """Photos a batch, and OpenVINO's streams and threads; None: what its own hint for throughput makes of the CPU."""

    batch: int = BATCH
    streams: int | None = None
    threads: int | None = None

    @property
    def options(self) -> dict[str, int]:
        """What OpenVINO is told when it compiles the network."""
        given = {"NUM_STREAMS": self.streams, "INFERENCE_NUM_THREADS": self.threads}
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        streams = "" if self.streams is None else f", {self.streams} stream{'s' * (self.streams != 1)}"
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads != 1)}"
        return f"batches of {self.batch}{streams or ', streams as OpenVINO sets them'}{threads}"


DEFAULT = Choice()


@dataclass(frozen=True)
class Measured:
    """The choice, and how many photos a second it and the default have computed."""

    choice: Choice
    rate: float
    default_rate: float

    def __str__(self) -> str:
        if self.choice == DEFAULT:
            return f"{self.choice}: nothing else is clearly faster, {self.rate:.0f} photos/s"
        return f"{self.choice}: {self.rate:.0f} photos/s, by default {self.default_rate:.0f}"


def remembered(key: str, machine: str, where: Settings | None = None) -> Choice | None:
    """What was measured for the features of `key` on this machine; None if nothing was, or it cannot be read."""
    return _choice(_read(_file(where)).get(_name(key, machine)))


def remember(key: str, machine: str, measured: Measured, where: Settings | None = None) -> None:
    """Keep what was measured, whole or not at all. Raises StorageError."""
    file = _file(where)
    about = asdict(measured.choice) | {"rate": measured.rate, "default_rate": measured.default_rate}
    kept = {name: entry for name, entry in _read(file).items() if name != _name(key, machine)}
    kept[_name(key, machine)] = about | {"network": key, "machine": machine}
    scratch = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".choices-", delete=False) as stream:
            scratch = stream.name
            json.dump(dict(list(kept.items())[-MOST:]), stream, indent=1)
        os.replace(scratch, file)
    except OSError as error:
        raise StorageError(f"{file} cannot be written ({error.strerror}): set TL_CACHE_DIR") from error
    finally:
        with suppress(OSError):
            os.unlink(scratch)


def measure(xml: Path, precision: str) -> Measured:
    """Try batches, streams and threads out on a network, in a process of its own. Raises EngineError."""
    order = json.dumps({"xml": str(xml.resolve()), "precision": precision, "seconds": BUDGET})
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tl.engines.autotune_trials"]
    try:
        done = subprocess.run(
            command,
            input=order,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
            timeout=12 * BUDGET,
            check=False,
        )
        answer = json.loads(done.stdout)
        choice, rates = _choice(answer), (float(answer["rate"]), float(answer["default_rate"]))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise EngineError(_FAILED) from error
    if choice is None:
        raise EngineError(_FAILED)
    return Measured(choice, *rates)


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_FAILED = "the fastest batch, streams and threads could not be measured: going on with the default ones"


def _file(where: Settings | None) -> Path:
    return (where or settings()).cache_dir / "trunks" / "choices.json"


def _name(key: str, machine: str) -> str:
    return hashlib.sha256(json.dumps([key, machine]).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _choice(about: object) -> Choice | None:
    """A choice as the file has it, which may hold anything."""
    if not isinstance(about, Mapping):
        return None
    given: dict[str, Any] = {name: about.get(name) for name in _LIMITS}
    for name, most in _LIMITS.items():
        value = given[name]
        if value is None and name != "batch":
            continue
        if type(value) is not int or not 1 <= value <= most:
            return None
    return Choice(**given)
