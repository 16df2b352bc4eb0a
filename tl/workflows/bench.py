"""A run becomes a timing: latency and throughput of batches and precisions, cold start, memory, on this machine."""

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tl.engines.autotune import Choice, Measured, cpus
from tl.engines.open import check_names
from tl.engines.openvino import OpenVINOEngine
from tl.errors import UsageError
from tl.prediction.predictor import Predictor
from tl.progress import Progress
from tl.runs.run import Run, load_run
from tl.workflows.bench_cells import Cell, Process, benchmark_app, cell, processes, sample

BATCHES = (1, 4, 16)
SECONDS = 3.0
APP_SECONDS = 2
MOST_BATCH, MOST_CELLS = 1024, 12


@dataclass(frozen=True)
class Timing:
    """What was measured of a run: the `cells` of the table, whole `processes`, and what each precision computed with.

    `own` is the rate by OpenVINO's benchmark program, of the fastest cell, None where it is not there.
    """

    run: str
    machine: str
    engine: str
    photos: str
    cells: tuple[Cell, ...]
    processes: tuple[Process, ...]
    choices: dict[str, Choice | None]
    measured: dict[str, Measured]
    own: float | None

    @property
    def fastest(self) -> Cell:
        """The cell of most photos a second."""
        return max(self.cells, key=lambda cell: cell.rate)

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output: milliseconds, photos a second, megabytes."""
        told = asdict(self) | {"cells": [asdict(cell) | {"ratio": cell.ratio} for cell in self.cells]}
        return told | {"benchmark_app": told.pop("own")}


@dataclass(frozen=True)
class Asked:
    """What is measured; each is the command's option of the same name. No `precision`: all that the machine has."""

    run: str | Path | None = None
    batch: tuple[int, ...] = BATCHES
    precision: tuple[str, ...] = ()
    seconds: float = SECONDS
    engine: str = "auto"
    threads: int | None = None
    data: str | None = None
    remember: bool = False


def bench(asked: Asked, *, progress: Progress | None = None) -> Timing:
    """Measure a run on this machine; with `remember`, first what batch, streams and threads are fastest, and keep it.

    Raises UsageError for what cannot be measured, RunError, EngineError, and DataError where nothing is at `data`.
    """
    progress = progress or Progress()
    _check(asked)
    run = load_run(asked.run)
    with sample(run, asked.data, progress) as photos:
        progress.log("photos", photos.about)
        with progress.task("starting `tl predict` anew", None, "s"):
            whole = processes(run, photos.files, _options(asked))  # before its files are held open here
        first = _predictor(run, asked, asked.precision[0] if asked.precision else "auto")
        rest = asked.precision[1:] if asked.precision else _others(first)
        cells: list[Cell] = []
        choices: dict[str, Choice | None] = {}
        measured: dict[str, Measured] = {}
        with progress.task("measuring", (1 + len(rest)) * len(asked.batch), "cells") as task:
            for predictor in (first, *(_predictor(run, asked, precision) for precision in rest)):
                engine = predictor.engine
                if asked.remember and isinstance(engine, OpenVINOEngine):
                    measured[engine.precision] = engine.decide()
                choices[engine.precision] = engine.choice if isinstance(engine, OpenVINOEngine) else None
                for batch in asked.batch:
                    cells.append(cell(predictor, photos.files, batch, asked.seconds))
                    task.advance()
        own = _own(first, max(cells, key=lambda found: found.rate), choices)
        about = photos.about
    return Timing(
        run.name, _machine(first), first.engine.name, about, tuple(cells), tuple(whole), choices, measured, own
    )


def _check(asked: Asked) -> None:
    for batch in asked.batch:
        if not 1 <= batch <= MOST_BATCH:
            raise UsageError(f"--batch {batch}: give photos from 1 to {MOST_BATCH}, such as 1,4,16")
    if not asked.batch or len(asked.batch) > MOST_CELLS:
        raise UsageError(f"--batch has {len(asked.batch)} sizes: give 1 to {MOST_CELLS}, such as 1,4,16")
    for precision in asked.precision or ("auto",):
        check_names(asked.engine, precision)
    if not 0.1 <= asked.seconds <= 3600:
        raise UsageError(f"--seconds {asked.seconds:g}: give seconds a cell from 0.1 to 3600")
    if asked.threads is not None and asked.remember:
        raise UsageError("--remember finds out how many threads are fastest: leave --threads out")
    if asked.engine == "tensorflow" and asked.remember:
        raise UsageError("--remember is about OpenVINO's threads and streams: leave it out, or --engine tensorflow")


def _predictor(run: Run, asked: Asked, precision: str) -> Predictor:
    return Predictor(run, engine=asked.engine, precision=precision, threads=asked.threads)


def _others(first: Predictor) -> list[str]:
    """f32, where the machine's own precision is another one."""
    return [] if first.engine.precision == "f32" else ["f32"]


def _options(asked: Asked) -> list[str]:
    """Those of `tl predict` that mean the same."""
    threads = [] if asked.threads is None else ["--threads", str(asked.threads)]
    precision = asked.precision[:1] and ["--precision", asked.precision[0]]
    return ["--engine", asked.engine, *precision, *threads]


def _machine(predictor: Predictor) -> str:
    """The processor, how many CPUs of it are ours, and what computes there."""
    engine = predictor.engine
    if isinstance(engine, OpenVINOEngine):
        return engine.machine
    return f"{platform.machine()}, {cpus()} CPUs, {engine.name}"


def _own(predictor: Predictor, best: Cell, choices: dict[str, Choice | None]) -> float | None:
    choice = choices[best.precision]
    if choice is None:
        return None
    run = predictor.run
    side = run.backbone.recipe.image_size
    return benchmark_app(run.trunk, best.precision, side, replace(choice, batch=best.batch), APP_SECONDS)
