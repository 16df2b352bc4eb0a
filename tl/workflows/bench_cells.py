"""A run's predictor, a batch size and photo files become latencies and rates, with the engine's bare rate beside."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np

from tl.engines.autotune_trials import rate
from tl.engines.openvino import OpenVINOEngine
from tl.prediction.predictor import Predictor

LEAST_CALLS = 3
ROUNDS = 2  # ours and the bare rate in turn: what else runs on the machine comes and goes


@dataclass(frozen=True)
class Cell:
    """One precision and batch: milliseconds from `batch` files to their predictions, one call after the other, `calls`
    of them; photos a second from files to predictions, `rate`, and from arrays in memory to features, `bare`.
    """

    precision: str
    batch: int
    calls: int
    p50: float
    p95: float
    p99: float
    rate: float
    bare: float

    @property
    def ratio(self) -> float:
        """Our rate as a share of the engine's."""
        return self.rate / self.bare


def cell(predictor: Predictor, files: Sequence[Path], batch: int, seconds: float) -> Cell:
    """Measure one precision and batch, about so many seconds in all: a third each for latency, rate and bare rate."""
    _use(predictor, batch)
    engine, side = predictor.engine, predictor.run.backbone.recipe.image_size
    calls = _latencies(predictor, files, batch, seconds / 3)
    ours, bare = 0.0, 0.0
    for _ in range(ROUNDS):
        bare += rate(engine, side, batch, seconds / 3 / ROUNDS) / ROUNDS
        ours += _throughput(predictor, files, seconds / 3 / ROUNDS) / ROUNDS
    p50, p95, p99 = (float(value) for value in np.percentile(calls, (50, 95, 99)))
    return Cell(engine.precision, batch, len(calls), p50, p95, p99, ours, bare)


def _use(predictor: Predictor, batch: int) -> None:
    """That batch, and nothing else measured or chosen meanwhile."""
    from tl.engines.tensorflow import TensorFlowEngine

    engine = predictor.engine
    if isinstance(engine, OpenVINOEngine):
        engine.use(replace(engine.choice, batch=batch))
    elif isinstance(engine, TensorFlowEngine):
        engine.batch = batch


def _latencies(predictor: Predictor, files: Sequence[Path], batch: int, seconds: float) -> list[float]:
    source = cycle(files)
    predictor.predict([next(source) for _ in range(batch)])  # the first of a size takes far longer
    calls: list[float] = []
    until = time.monotonic() + seconds
    while len(calls) < LEAST_CALLS or time.monotonic() < until:
        asked = [next(source) for _ in range(batch)]
        started = time.perf_counter()
        predictor.predict(asked)
        calls.append(1000 * (time.perf_counter() - started))
    return calls


def _throughput(predictor: Predictor, files: Sequence[Path], seconds: float) -> float:
    """Photos a second of one stream, for the time given and at least two batches."""
    least = 2 * predictor.engine.batch
    started = time.monotonic()

    def items() -> Iterator[tuple[str, Path]]:
        for at, file in enumerate(cycle(files)):
            if at >= least and at % predictor.engine.batch == 0 and time.monotonic() - started > seconds:
                return
            yield str(at), file

    count = sum(1 for _ in predictor.stream(items()))
    return count / (time.monotonic() - started)
