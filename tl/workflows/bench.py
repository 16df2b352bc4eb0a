"""Measure how fast a run is on this machine: latency, throughput, start-up time and memory."""

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np

from tl.data.images import ImageLike, read_encoded
from tl.engines import PRECISIONS
from tl.engines.autotune import AutotuneResult, InferenceOptions, cpus, rate
from tl.engines.openvino import OpenVINOEngine
from tl.engines.timing import BatchTiming, ProcessTiming, Timing, benchmark_app
from tl.errors import DataError, EngineError, ImageError, RunError, UsageError
from tl.files import child_environment
from tl.options import engine_option, keywords, option, threads_option
from tl.prediction.predictor import Predictor
from tl.progress import Progress
from tl.runs.photos import RunImages
from tl.runs.run import Run, load_run
from tl.text import count
from tl.views.pictures.charts import save_figure, timing_chart
from tl.views.pictures.show import check_png_name

IMAGES = 64  # at most
DRAWN_SIZE = (375, 500)  # height and width in pixels, as of common photos
_FEWEST_CALLS = 3
_ROUNDS = 2  # our rate and the bare one in turn: other load on the machine comes and goes
_STARTS = 3  # of `tl predict`
_APP_SECONDS = 2


@dataclass(frozen=True)
class BenchOptions:
    """The options of `tl bench`."""

    batch: tuple[int, ...] = option((1, 4, 16), "Batch sizes.", low=1, high=1024, unit="images")
    precision: tuple[str, ...] | None = option(
        None, "Precisions, such as f32,bf16.", choices=PRECISIONS, default_text="the machine's own, and f32"
    )
    seconds: float = option(3.0, "Seconds per precision and batch size.", low=0.1, high=3600, unit="seconds")
    engine: str = engine_option()
    threads: int | None = threads_option()
    data: str | None = option(None, "Where the run's images are now.", default_text="where it read them")
    remember: bool = option(False, "Find the fastest batch, streams and threads, and keep them.")
    out: Path | None = option(None, "Draw a chart into this PNG.")


@keywords(BenchOptions)
def bench(run: str | Path | None = None, *, options: BenchOptions, progress: Progress | None = None) -> Timing:
    """Measure a run, the newest by default; with `remember`, first find and keep the fastest engine settings.

    Raises UsageError for options that contradict each other, RunError, EngineError, and DataError for a `data` without
    the run's images.
    """
    progress = progress or Progress()
    _check(options)
    loaded = load_run(run)
    with sample_images(loaded, options.data, progress) as (files, about):
        progress.log("images", about)
        with progress.task("starting `tl predict`", None, "s"):
            processes = _time_processes(loaded, files, options)  # before its files are held open here
        timing = _time_batches(loaded, files, options, progress)
    timing = replace(timing, photos=about, processes=tuple(processes))
    if options.out is not None:
        save_figure(timing_chart(timing), options.out)
    return timing


def _check(options: BenchOptions) -> None:
    if not options.batch:
        raise UsageError("--batch has no sizes: give some, such as 1,4,16")
    if options.threads is not None and options.remember:
        raise UsageError("--remember finds the fastest number of threads: leave --threads out")
    if options.engine == "tensorflow" and options.remember:
        raise UsageError("--remember tunes OpenVINO: leave it out, or --engine tensorflow")
    if options.out is not None:
        check_png_name(options.out)


def _time_batches(run: Run, files: Sequence[Path], options: BenchOptions, progress: Progress) -> Timing:
    precisions = list(dict.fromkeys(options.precision or ("auto",)))
    first = _predictor(run, options, precisions[0])
    others = precisions[1:] if options.precision else ["f32"] * (first.engine.precision != "f32")
    batches = dict.fromkeys(options.batch)
    rows: list[BatchTiming] = []
    choices: dict[str, InferenceOptions | None] = {}
    measured: dict[str, AutotuneResult] = {}
    with progress.task("measuring", (1 + len(others)) * len(batches), "rows") as task:
        for predictor in (first, *(_predictor(run, options, precision) for precision in others)):
            engine = predictor.engine
            choices[engine.precision] = None
            if isinstance(engine, OpenVINOEngine):
                if options.remember:
                    measured[engine.precision] = engine.tune()
                choices[engine.precision] = engine.options
            for batch in batches:
                rows.append(_time_batch(predictor, files, batch, options.seconds))
                task.advance()
    if isinstance(first.engine, OpenVINOEngine):
        machine = first.engine.machine
    else:
        machine = f"{platform.machine()}, {count(cpus(), 'CPU')}, {first.engine.name}"
    timing = Timing(
        run=run.name,
        machine=machine,
        engine=first.engine.name,
        photos="",
        cells=tuple(rows),
        processes=(),
        choices=choices,
        measured=measured,
        benchmark_app=None,
    )
    best = timing.fastest
    choice = choices[best.precision]
    if choice is None:
        return timing
    choice, side = replace(choice, batch=best.batch), run.backbone.recipe.image_size
    return replace(timing, benchmark_app=benchmark_app(run.trunk, best.precision, side, choice, seconds=_APP_SECONDS))


def _predictor(run: Run, options: BenchOptions, precision: str) -> Predictor:
    return Predictor(run, engine=options.engine, precision=precision, threads=options.threads)


def _time_batch(predictor: Predictor, files: Sequence[Path], batch: int, seconds: float) -> BatchTiming:
    from tl.engines.tensorflow import TensorFlowEngine

    engine, side = predictor.engine, predictor.run.backbone.recipe.image_size
    if isinstance(engine, OpenVINOEngine):
        engine.use(replace(engine.options, batch=batch))  # which also keeps it from tuning itself meanwhile
    elif isinstance(engine, TensorFlowEngine):
        engine.batch = batch
    calls = _latencies(predictor, files, batch, seconds / 3)
    stream, bare = 0.0, 0.0
    for _ in range(_ROUNDS):
        bare += rate(engine, side, batch, seconds / 3 / _ROUNDS) / _ROUNDS
        stream += _stream_rate(predictor, files, seconds / 3 / _ROUNDS) / _ROUNDS
    p50, p95, p99 = (float(value) for value in np.percentile(calls, (50, 95, 99)))
    return BatchTiming(engine.precision, batch, len(calls), p50=p50, p95=p95, p99=p99, rate=stream, bare=bare)


def _latencies(predictor: Predictor, files: Sequence[Path], batch: int, seconds: float) -> list[float]:
    source = cycle(files)
    predictor.predict([next(source) for _ in range(batch)])  # the first of a size takes far longer
    calls: list[float] = []
    until = time.monotonic() + seconds
    while len(calls) < _FEWEST_CALLS or time.monotonic() < until:
        images = [next(source) for _ in range(batch)]
        started = time.perf_counter()
        predictor.predict(images)
        calls.append(1000 * (time.perf_counter() - started))
    return calls


def _stream_rate(predictor: Predictor, files: Sequence[Path], seconds: float) -> float:
    least = 2 * predictor.engine.batch
    started = time.monotonic()

    def items() -> Iterator[tuple[str, Path]]:
        for at, file in enumerate(cycle(files)):
            if at >= least and at % predictor.engine.batch == 0 and time.monotonic() - started > seconds:
                return
            yield str(at), file

    count = sum(1 for _ in predictor.stream(items()))
    return count / (time.monotonic() - started)


# Peak memory is not read from the process' rusage: that would count what its parent held when it was started.
_CHILD = """
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


def _time_processes(run: Run, files: Sequence[Path], options: BenchOptions) -> list[ProcessTiming]:
    """One photo, once more with the run read from disk where the system can drop its files, then all photos.

    A run holds all that it needs, so that it makes no difference what else is in the cache. Raises EngineError.
    """
    arguments = ["--engine", options.engine]
    arguments += [] if not options.precision else ["--precision", options.precision[0]]
    arguments += [] if options.threads is None else ["--threads", str(options.threads)]
    starts = [_time_process("one image", run, files[:1], arguments) for _ in range(_STARTS)]
    memory = [start.megabytes for start in starts if start.megabytes is not None]
    seconds = statistics.median(start.seconds for start in starts)
    timings = [ProcessTiming("one image", 1, seconds, max(memory) if memory else None)]
    if _drop_from_memory(run):
        timings.append(_time_process("one image, run read from disk", run, files[:1], arguments))
    return [*timings, _time_process(count(len(files), "image"), run, files, arguments)]


def _time_process(about: str, run: Run, files: Sequence[Path], arguments: Sequence[str]) -> ProcessTiming:
    command = [sys.executable, "-c", _CHILD, "predict", "--run", str(run.folder.resolve()), "--quiet", *arguments, "--"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, *(str(file.resolve()) for file in files)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise EngineError(errors[-1].removeprefix("error: ") if errors else "`tl predict` failed in a new process")
    peak = re.findall(r"^VmHWM:\s*(\d+) kB", done.stderr, re.MULTILINE)
    return ProcessTiming(about, len(files), seconds, int(peak[-1]) / 1024 if peak else None)


def _drop_from_memory(run: Run) -> bool:
    """Ask the system to drop the run's files from its page cache; whether it can be asked (Linux alone)."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in run.folder.iterdir():
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


@contextmanager
def sample_images(run: Run, data: str | None, progress: Progress) -> Iterator[tuple[tuple[Path, ...], str]]:
    """Up to `IMAGES` image files of the run, and what they are in words; they are there until the block ends.

    Images are drawn where the run's are gone, unless `data` says where they are now.
    """
    with tempfile.TemporaryDirectory(prefix="tl-bench-") as scratch:
        try:
            part = RunImages(run, data, progress).held_out(IMAGES, or_trained=True)
            files = tuple(_as_file(entry.image, Path(scratch, f"{at:03}.png")) for at, entry in enumerate(part.images))
            about = count(len(files), f"{part.part} image")
        except (DataError, RunError, ImageError) as error:
            if data is not None:
                raise
            reason = str(error).partition("; ")[0]
            progress.warn(f"{reason}: measured with drawn images, which decode faster or slower")
            files = tuple(_draw(Path(scratch)))
            about = f"{count(len(files), 'drawn JPEG')} of {DRAWN_SIZE[1]} × {DRAWN_SIZE[0]} pixels"
        yield files, about


def _as_file(image: ImageLike, path: Path) -> Path:
    if isinstance(image, Path):
        return image
    path.write_bytes(read_encoded(image))
    return path


def _draw(folder: Path) -> Iterator[Path]:
    """Soft shapes with some grain: they compress about as photos do."""
    from PIL import Image

    random = np.random.default_rng(0)
    height, width = DRAWN_SIZE
    for at in range(IMAGES):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height), 3)
        grain = np.asarray(coarse, np.int16) + random.integers(-12, 13, (height, width, 1), np.int16)
        path = folder / f"{at:03}.jpg"
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(path, quality=90)
        yield path
