"""A run and photo files become whole processes, as a user starts them: seconds and peak memory of each."""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tl.engines.autotune import Choice
from tl.errors import EngineError
from tl.runs.run import Run

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
