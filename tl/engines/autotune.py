"""Measure the fastest batch size, streams and threads for a network on this machine, and remember them.

An engine measures once it has computed more than `MIN_PHOTOS` photos over more than `MIN_SECONDS` and more photos are
waiting, in `tl finetune`, `tl evaluate` or `tl predict` alike; or when `tl bench --remember` requests it. So a single
photo never waits for it, nor do features that are cached. It takes up to `BUDGET` seconds, once, in a child process,
whose networks leave no memory behind.

It measures the network alone, on arrays in memory. First streams and threads with the default batch size, then other
batch sizes with the best of them; finally the winner against the default, in turn: it is used only if it is clearly
faster. If time runs out before that, the default stays. Features do not depend on the result: they are bit for bit
the same, and their cache key does not include it.

The file `trunks/choices.json` in the cache holds the last `MAX_ENTRIES` results by network, precision, processor,
number of CPUs and OpenVINO version. If two processes write at the same time, one result is lost and measured again.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tl.engines.engine import Engine, Photos
from tl.errors import EngineError
from tl.files import atomic_write, child_environment
from tl.settings import settings
from tl.text import count

MIN_PHOTOS, MIN_SECONDS = 800, 5.0  # after which measuring pays
BUDGET = 4.0  # seconds for all trials, without starting the process
CLEARLY_FASTER = 1.05  # times the default's rate
MAX_ENTRIES = 256
BATCH = 16  # larger batches are rarely faster on two to eight cores, smaller ones are slower
BATCHES = (8, 32)
TRIAL_SECONDS = 0.25
DUELS = 3
_MAXIMUM = 1024  # of each option in the file


@dataclass(frozen=True)
class InferenceOptions:
    """Photos per batch, and OpenVINO's streams and threads; None leaves them to its throughput hint."""

    batch: int = BATCH
    streams: int | None = None
    threads: int | None = None

    @property
    def properties(self) -> dict[str, int]:
        """The properties with which OpenVINO compiles the network."""
        values = {"NUM_STREAMS": self.streams, "INFERENCE_NUM_THREADS": self.threads}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        streams = "streams set by OpenVINO" if self.streams is None else count(self.streams, "stream")
        threads = "" if self.threads is None else f", {count(self.threads, 'thread')}"
        return f"batches of {self.batch}, {streams}{threads}"


DEFAULT = InferenceOptions()


@dataclass(frozen=True)
class AutotuneResult:
    """The fastest options, and the photos per second with them and with the default."""

    options: InferenceOptions
    rate: float
    default_rate: float

    def __str__(self) -> str:
        if self.options == DEFAULT:
            return f"{self.options}: nothing else is clearly faster, {self.rate:.0f} images/s"
        return f"{self.options}: {self.rate:.0f} images/s, default {self.default_rate:.0f}"


def recall(key: str, machine: str) -> InferenceOptions | None:
    """The options measured for the engine `key` on this machine; None if there are none or they cannot be read."""
    return _parse(_read(_file()).get(_name(key, machine)))


def recall_rates() -> dict[tuple[str, str], float]:
    """The photos per second measured so far, by engine key and machine."""
    entries = [entry for entry in _read(_file()).values() if _parse(entry) is not None]
    rates = {(str(entry.get("network")), str(entry.get("machine"))): entry.get("rate") for entry in entries}
    return {engine: float(rate) for engine, rate in rates.items() if isinstance(rate, (int, float)) and rate > 0}


def remember(key: str, machine: str, result: AutotuneResult) -> None:
    """Save a result, whole or not at all. Raises StorageError."""
    file, name = _file(), _name(key, machine)
    entries = {other: entry for other, entry in _read(file).items() if other != name}
    rates = {"rate": result.rate, "default_rate": result.default_rate}
    entries[name] = asdict(result.options) | rates | {"network": key, "machine": machine}
    with atomic_write(file, hint="set TL_CACHE_DIR to another folder") as scratch:
        scratch.write_text(json.dumps(dict(list(entries.items())[-MAX_ENTRIES:]), indent=1), encoding="utf-8")


def pays(photos: int, seconds: float) -> bool:
    """Whether measuring pays after so many photos and seconds with more photos waiting."""
    return photos > MIN_PHOTOS and seconds > MIN_SECONDS


def measure(xml: Path, precision: str) -> AutotuneResult:
    """Measure the options of an OpenVINO network in a child process. Raises EngineError."""
    try:
        child = subprocess.run(
            [sys.executable, "-m", "tl.engines.openvino"],
            input=json.dumps({"xml": str(xml.resolve()), "precision": precision, "seconds": BUDGET}),
            capture_output=True,
            text=True,
            env=child_environment(),
            timeout=12 * BUDGET,
            check=False,
        )
        reply = json.loads(child.stdout)
        options = _parse(reply)
        if options is None:
            raise ValueError(child.stdout)
        return AutotuneResult(options, float(reply["rate"]), float(reply["default_rate"]))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            "the fastest batch size, streams and threads could not be measured: continuing with the defaults"
        ) from error


def serve_request(open_engine: Callable[[Path, str, InferenceOptions], Any]) -> None:
    """The child process of `measure`: read the request from standard input, print the result, both as JSON."""
    request = json.load(sys.stdin)
    xml, precision = Path(request["xml"]), request["precision"]
    result = fastest(lambda options: open_engine(xml, precision, options), request["seconds"])
    print(json.dumps(asdict(result.options) | {"rate": result.rate, "default_rate": result.default_rate}))


def fastest(open_engine: Callable[[InferenceOptions], Any], seconds: float) -> AutotuneResult:
    """The options that are clearly faster than the default, else the default, measured in about `seconds`.

    `open_engine` opens the network with the options; the type of the engine, OpenVINOEngine, imports this module.
    """
    trials = _Trials(seconds)
    default = open_engine(DEFAULT)
    rates = {DEFAULT: trials.rate(default)}
    for options in arrangements(default):
        if trials.time_left:
            rates[options] = trials.rate(open_engine(options))
    best = max(rates, key=rates.__getitem__)
    engine = default if best == DEFAULT else open_engine(best)
    for batch in BATCHES:
        if trials.time_left:
            engine.use(replace(best, batch=batch))
            rates[engine.options] = trials.rate(engine)
    winner = max(rates, key=rates.__getitem__)
    if winner == DEFAULT:
        return AutotuneResult(DEFAULT, rates[DEFAULT], rates[DEFAULT])
    return _duel(trials, default, engine, winner)


def _duel(trials: "_Trials", default: Any, other: Any, options: InferenceOptions) -> AutotuneResult:
    """Measure the default and other options in turn, because the load of the machine varies."""
    rates: dict[InferenceOptions, list[float]] = {DEFAULT: [], options: []}
    for _ in range(DUELS):
        for engine, tried in ((default, DEFAULT), (other, options)):
            engine.use(tried)  # one engine if only the batch size differs
            rates[tried].append(trials.rate(engine))
        if not trials.time_left:
            break
    default_rate, rate_of_other = (float(np.median(values)) for values in rates.values())
    if len(rates[options]) == DUELS and rate_of_other > CLEARLY_FASTER * default_rate:
        return AutotuneResult(options, rate_of_other, default_rate)
    return AutotuneResult(DEFAULT, default_rate, default_rate)


class _Trials:
    def __init__(self, seconds: float) -> None:
        self._end, self._longest = time.monotonic() + seconds, 0.0

    @property
    def time_left(self) -> bool:
        """Whether there is time for another trial as long as the longest so far."""
        return time.monotonic() + self._longest <= self._end

    def rate(self, engine: Any) -> float:
        started = time.monotonic()
        measured = rate(engine, engine.side, engine.batch, TRIAL_SECONDS)
        self._longest = max(self._longest, time.monotonic() - started)
        return measured


def arrangements(default: Any) -> Iterator[InferenceOptions]:
    """Streams and threads to try: one, two, half as many streams as threads, and as many; without the default's."""
    names = ("NUM_STREAMS", "INFERENCE_NUM_THREADS")
    usual = tuple(int(default.network.get_property(name)) for name in names)
    for threads in sorted({cores(), cpus()}):
        for streams in sorted({1, 2, threads // 2, threads} - {0}):
            if streams <= threads and (streams, threads) != usual:
                yield InferenceOptions(streams=streams, threads=threads)


def rate(engine: Engine, side: int, batch: int, seconds: float) -> float:
    """Photos per second that an engine computes from arrays in memory, after a round that is not counted.

    Times whole rounds of as many batches as run at once: partial ones would leave streams idle.
    """
    photos = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    at_once = getattr(engine, "at_once", 1)
    first = _run_seconds(engine, photos, at_once)
    rounds = max(1, round(seconds / first))
    return rounds * at_once * batch / _run_seconds(engine, photos, rounds * at_once)


def _run_seconds(engine: Engine, photos: Photos, batches: int) -> float:
    started = time.monotonic()
    for _ in engine.run((at, photos) for at in range(batches)):
        pass
    return max(time.monotonic() - started, 1e-6)


def cpus() -> int:
    """The number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """The number of physical cores among them, from Linux; elsewhere the number of CPUs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return cpus()
    ids = set(re.findall(r"^physical id\s*:\s*(\d+)$.*?^core id\s*:\s*(\d+)$", text, re.MULTILINE | re.DOTALL))
    return min(len(ids) or cpus(), cpus())


def _file() -> Path:
    return settings().cache_dir / "trunks" / "choices.json"


def _name(key: str, machine: str) -> str:
    return hashlib.sha256(json.dumps([key, machine]).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _parse(entry: object) -> InferenceOptions | None:
    """The options of an entry from the file, which may hold anything."""
    if not isinstance(entry, Mapping):
        return None
    values: dict[str, Any] = {name: entry.get(name) for name in ("batch", "streams", "threads")}
    for name, value in values.items():
        optional = value is None and name != "batch"
        if not optional and (type(value) is not int or not 1 <= value <= _MAXIMUM):
            return None
    return InferenceOptions(**values)
