"""A run's predictor, a batch size and photo files become latencies and rates, with the engine's bare rate beside."""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np

from tl.data.images import ImageLike, read
from tl.engines.autotune import Choice
from tl.engines.autotune_trials import rate
from tl.engines.openvino import OpenVINOEngine
from tl.errors import DataError, EngineError, ImageError, RunError
from tl.prediction.predictor import Predictor
from tl.progress import Progress
from tl.runs.photos import Photos
from tl.runs.run import Run

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


REPEAT = 3
# Not by the process' rusage: that would count what its parent held as it was started.
_START = """
import sys
from tl.commands.main import leave, run
code = run()
try:
    with open("/proc/self/status") as status:
        sys.stderr.write("\\n" + status.read())
except OSError:
    import resource
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stderr.write(f"\\nVmHWM: {most // 1024 if sys.platform == 'darwin' else most} kB\\n")
leave(code)
"""


@dataclass(frozen=True)
class Process:
    """`tl predict` of so many photos in a fresh process: seconds from start to end, and its peak memory in MB."""

    about: str
    photos: int
    seconds: float
    megabytes: float | None


def processes(run: Run, files: Sequence[Path], options: Sequence[str]) -> list[Process]:
    """One photo, once more with the run read from disk where the system lets go of its files, and all photos.

    A run holds all that it needs, so that it makes no difference what else is in the cache. Raises EngineError.
    """
    warm = [_process("one photo", run, files[:1], options) for _ in range(REPEAT)]
    memory = [process.megabytes for process in warm if process.megabytes is not None]
    seconds = statistics.median(process.seconds for process in warm)
    made = [Process("one photo", 1, seconds, max(memory) if memory else None)]
    if _forgotten(run):
        made.append(_process("one photo, run read from disk", run, files[:1], options))
    return [*made, _process(f"{len(files)} photos", run, files, options)]


def _process(about: str, run: Run, files: Sequence[Path], options: Sequence[str]) -> Process:
    command = [sys.executable, "-c", _START, "predict", "--run", str(run.folder.resolve()), "--quiet", *options, "--"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = time.monotonic()
    done = subprocess.run(
        [*command, *(str(file.resolve()) for file in files)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise EngineError(said[-1].removeprefix("error: ") if said else "`tl predict` failed in a process of its own")
    peak = re.findall(r"^VmHWM:\s*(\d+) kB", done.stderr, re.MULTILINE)
    return Process(about, len(files), seconds, int(peak[-1]) / 1024 if peak else None)


def _forgotten(run: Run) -> bool:
    """Whether the system was asked to drop the run's files from memory: only Linux can be."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in run.folder.iterdir():
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def benchmark_app(xml: Path, precision: str, side: int, choice: Choice, seconds: int) -> float | None:
    """Photos a second by OpenVINO's own benchmark program; None where it is not installed or fails."""
    program = shutil.which("benchmark_app", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if program is None:
        return None
    options = ["-hint", "throughput", "-infer_precision", precision, "-shape", f"[{choice.batch},{side},{side},3]"]
    for name, value in (("-nstreams", choice.streams), ("-nthreads", choice.threads)):
        options += [] if value is None else [name, str(value)]
    if choice.options:
        options[1] = "none"  # with a hint, it takes neither streams nor threads
    command = [program, "-m", str(xml.resolve()), "-d", "CPU", *options, "-t", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.findall(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    return float(found[-1]) if found and done.returncode == 0 else None


MOST = 64
DRAWN = (375, 500)  # height and width in pixels, as of common photos


@dataclass(frozen=True)
class Sample:
    """Files of photos, and what they are in words."""

    files: tuple[Path, ...]
    about: str


@contextmanager
def sample(run: Run, data: str | None, progress: Progress) -> Iterator[Sample]:
    """Up to `MOST` photos as files, there until the block ends; `data` says where the run's photos are now."""
    with tempfile.TemporaryDirectory(prefix="tl-bench-") as scratch:
        try:
            album = Photos(run, data, progress).held_out(MOST)
            files = tuple(_files([photo.picture for photo in album.photos], Path(scratch)))
            about = f"{len(files)} {album.part} photos"
        except (DataError, RunError, ImageError) as error:
            if data is not None:
                raise
            progress.warn(f"{str(error).partition('; ')[0]}: measured with drawn photos, which decode faster or slower")
            files = tuple(_drawn(Path(scratch)))
            about = f"{len(files)} drawn JPEGs of {DRAWN[1]} × {DRAWN[0]} pixels"
        yield Sample(files, about)


def _files(pictures: Sequence[ImageLike], folder: Path) -> Iterator[Path]:
    from PIL import Image

    for at, picture in enumerate(pictures):
        if isinstance(picture, Path):
            yield picture
            continue
        content = read(picture)
        path = folder / f"{at:03}.png"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
        yield path


def _drawn(folder: Path) -> Iterator[Path]:
    """Soft shapes with some grain: they compress about as photos do."""
    from PIL import Image

    draw = np.random.default_rng(0)
    height, width = DRAWN
    for at in range(MOST):
        coarse = Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height), 3)
        grain = np.asarray(coarse, np.int16) + draw.integers(-12, 13, (height, width, 1), np.int16)
        path = folder / f"{at:03}.jpg"
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(path, quality=90)
        yield path
