"""A network on this machine becomes the fastest batch, streams and threads for it: `tl.engines.autotune` starts it.

First streams and threads with the default batch, then other batches with the best of them; at last the winner against
the default, in turn, and it stays only where it is clearly faster. Where the time runs out before that, the default
stays: a network so slow is busy with any choice.
"""

import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tl.engines.autotune import CLEARLY, DEFAULT, Choice, Measured, cpus
from tl.engines.engine import Engine, Photos
from tl.engines.openvino import OpenVINOEngine

BATCHES = (8, 32)
SLICE = 0.25  # seconds of one trial
DUELS = 3


def rate(engine: Engine, side: int, batch: int, seconds: float) -> float:
    """Photos a second that an engine computes from arrays in memory, after a round that is not counted.

    Whole rounds are timed, of as many batches as run side by side: the last ones would else leave streams idle.
    """
    photos = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    together = getattr(engine, "at_once", 1)
    once = _seconds(engine, photos, together)
    rounds = max(1, round(seconds / once))
    return rounds * together * batch / _seconds(engine, photos, rounds * together)


def _seconds(engine: Engine, photos: Photos, batches: int) -> float:
    started = time.monotonic()
    for _ in engine.run((at, photos) for at in range(batches)):
        pass
    return max(time.monotonic() - started, 1e-6)


def fastest(xml: Path, precision: str, seconds: float) -> Measured:
    """What is clearly faster than the default on this machine, or else the default, found in so many seconds."""
    trials = _Trials(xml, precision, seconds)
    default = trials.opened(DEFAULT)
    first = trials.rate(default)
    rates = {DEFAULT: first}
    for choice in arrangements(default):
        if trials.left:
            rates[choice] = trials.rate(trials.opened(choice))
    best = max(rates, key=lambda choice: rates[choice])
    engine = default if best == DEFAULT else trials.opened(best)
    for batch in BATCHES:
        if trials.left:
            engine.use(replace(best, batch=batch))
            rates[engine.choice] = trials.rate(engine)
    winner = max(rates, key=lambda choice: rates[choice])
    return _duel(trials, default, engine, winner) if winner != DEFAULT else Measured(DEFAULT, first, first)


def _duel(trials: "_Trials", default: OpenVINOEngine, other: OpenVINOEngine, choice: Choice) -> Measured:
    """The default and another choice in turn: what else runs on the machine comes and goes."""
    rates: dict[Choice, list[float]] = {DEFAULT: [], choice: []}
    for _ in range(DUELS):
        for engine, tried in ((default, DEFAULT), (other, choice)):
            engine.use(tried)  # where only the batch differs, both are one engine
            rates[tried].append(trials.rate(engine))
        if not trials.left:
            break
    usual, ours = (statistics.median(found) for found in rates.values())
    clearly = len(rates[choice]) == DUELS and ours > CLEARLY * usual
    return Measured(choice, ours, usual) if clearly else Measured(DEFAULT, usual, usual)


def arrangements(default: OpenVINOEngine) -> Iterator[Choice]:
    """Streams and threads to try: one and two streams, half as many as threads, one for each; but for the default's."""
    usual = tuple(int(default.network.get_property(name)) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS"))
    logical = cpus()
    for threads in sorted({cores(), logical}):
        for streams in sorted({1, 2, threads // 2, threads} - {0}):
            if streams <= threads and (streams, threads) != usual:
                yield Choice(streams=streams, threads=threads)


def cores() -> int:
    """How many cores they are, as Linux tells; elsewhere as many."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return cpus()
    found = set(re.findall(r"^physical id\s*:\s*(\d+)$.*?^core id\s*:\s*(\d+)$", text, re.MULTILINE | re.DOTALL))
    return min(len(found) or cpus(), cpus())


class _Trials:
    """Opens networks and measures them, as long as there is time."""

    def __init__(self, xml: Path, precision: str, seconds: float) -> None:
        self._xml, self._precision, self._until = xml, precision, time.monotonic() + seconds
        self._longest = 0.0

    @property
    def left(self) -> bool:
        """Whether there is time for another trial as long as the longest one so far."""
        return time.monotonic() + self._longest <= self._until

    def opened(self, choice: Choice) -> OpenVINOEngine:
        engine = OpenVINOEngine(self._xml, "", self._precision, choice=choice)
        engine.compile()
        return engine

    def rate(self, engine: OpenVINOEngine) -> float:
        started = time.monotonic()
        found = rate(engine, engine.shape[0], engine.batch, SLICE)
        self._longest = max(self._longest, time.monotonic() - started)
        return found


def main() -> None:
    """Read the order from standard input, answer on standard output, both as JSON."""
    order = json.load(sys.stdin)
    found = fastest(Path(order["xml"]), order["precision"], order["seconds"])
    print(json.dumps(asdict(found.choice) | {"rate": found.rate, "default_rate": found.default_rate}))


if __name__ == "__main__":
    main()
