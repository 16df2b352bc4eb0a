"""What `tl bench` measured of a run: latency and throughput by batch size, whole processes, OpenVINO's own figure."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tl.engines.autotune import AutotuneResult, InferenceOptions
from tl.text import html_table, number, percent


@dataclass(frozen=True)
class BatchTiming:
    """One precision and batch size, over `calls` calls made one after the other.

    `p50`, `p95` and `p99` are milliseconds from `batch` files to their predictions. `rate` is images per second of a
    stream of files, `bare` of the network alone on arrays in memory.
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
        """The rate as a fraction of the bare one."""
        return self.rate / self.bare


@dataclass(frozen=True)
class ProcessTiming:
    """`tl predict` in a new process: seconds from start to end, and peak memory in MB (None: unknown)."""

    about: str
    photos: int
    seconds: float
    megabytes: float | None

    @property
    def cost(self) -> str:
        """Seconds and memory as text."""
        memory = "" if self.megabytes is None else f", {self.megabytes:.0f} MB"
        return f"{self.seconds:.2f} s{memory}"


@dataclass(frozen=True)
class Timing:
    """What `tl bench` measured; `choices` has what the engine computed with by precision, `measured` what was tuned.

    `benchmark_app` is OpenVINO's own figure in images per second for the fastest row; None where it is not installed.
    """

    run: str
    machine: str
    engine: str
    photos: str
    cells: tuple[BatchTiming, ...]
    processes: tuple[ProcessTiming, ...]
    choices: dict[str, InferenceOptions | None]
    measured: dict[str, AutotuneResult]
    benchmark_app: float | None

    @property
    def fastest(self) -> BatchTiming:
        """The row with the most images per second."""
        return max(self.cells, key=lambda row: row.rate)

    def as_dict(self) -> dict[str, Any]:
        """The JSON output: milliseconds, images per second, megabytes."""
        return asdict(self) | {"cells": [asdict(row) | {"ratio": row.ratio} for row in self.cells]}

    def table(self) -> list[tuple[str, ...]]:
        """The headings, then a row of text for each precision and batch size."""
        rows = []
        for row in self.cells:
            figures = [number(value) for value in (row.p50, row.p95, row.p99, row.rate, row.bare)]
            rows.append((row.precision, str(row.batch), *figures, percent(row.ratio, 0)))
        return [("precision", "batch", "p50 ms", "p95 ms", "p99 ms", "images/s", "engine", "ratio"), *rows]

    def _repr_html_(self) -> str:
        headings, *rows = self.table()
        return html_table(rows, headings, caption=f"{self.run} on {self.machine}; {self.photos}")


def benchmark_app(xml: Path, precision: str, side: int, choice: InferenceOptions, *, seconds: int) -> float | None:
    """Images per second by OpenVINO's own benchmark program; None where it is not installed or fails."""
    program = shutil.which("benchmark_app", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if program is None:
        return None
    options = ["-hint", "throughput", "-infer_precision", precision, "-shape", f"[{choice.batch},{side},{side},3]"]
    for name, value in (("-nstreams", choice.streams), ("-nthreads", choice.threads)):
        options += [] if value is None else [name, str(value)]
    if choice.properties:
        options[1] = "none"  # with a hint, it takes neither streams nor threads
    command = [program, "-m", str(xml.resolve()), "-d", "CPU", *options, "-t", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rates = re.findall(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    return float(rates[-1]) if rates and done.returncode == 0 else None
