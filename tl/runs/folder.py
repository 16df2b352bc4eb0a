"""A name becomes a run's folder: claimed while it is written, found again, the newest one, one that can go on.

A run is written under a hidden name and renamed at the end, so that a half-written one is never seen; `latest` in a
folder called `runs` points at the newest complete run.
"""

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tl.errors import RunError, StorageError

RUNS = Path("runs")
CHECKPOINT = "checkpoint.npz"


@contextmanager
def claim_folder(folder: Path, *, resume: bool = False, latest: bool = True) -> Iterator[Path]:
    """A scratch folder that becomes `folder` when the block ends well, and vanishes when it does not.

    A training's checkpoint in it keeps it, to be claimed again with `resume`. `latest` makes it the newest run.
    Raises RunError when `folder` exists or another process makes it, StorageError when nothing can be written there.
    """
    from filelock import FileLock, Timeout

    lock = folder.parent / f".{folder.name}.lock"
    scratch = partial_folder(folder)
    with _storage(folder):
        if os.path.lexists(folder):
            raise RunError(f"{folder} exists already: give another name with --out, or remove it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                try:
                    _clear(scratch, folder, resume)
                    yield scratch
                    os.rename(scratch, folder)
                finally:
                    if not (scratch / CHECKPOINT).exists():
                        shutil.rmtree(scratch, ignore_errors=True)
                    lock.unlink(missing_ok=True)
        except Timeout as error:
            raise RunError(
                f"{folder} is being written by another process: wait for it, or give another --out"
            ) from error
    if latest:
        _point_latest(folder)


def is_taken(folder: Path) -> bool:
    """Whether a run stands there or is being written there, or waits there to go on."""
    return folder.exists() or (folder.parent / f".{folder.name}.lock").exists() or partial_folder(folder).exists()


def partial_folder(folder: Path) -> Path:
    """Where a run is written until it is complete."""
    return folder.parent / f".{folder.name}.partial"


def find_interrupted(run: str | Path | None = None) -> Path:
    """The folder of a run that was interrupted and can go on: the one named, else the newest in `runs/`.

    Raises RunError when there is none.
    """
    if run is not None:
        for folder in (Path(run), RUNS / run):
            if (partial_folder(folder) / "run.toml").is_file():
                return folder
        raise RunError(f"no interrupted run {str(run)!r} here or in {RUNS}/: start it without --resume")
    waiting = sorted(RUNS.glob(".*.partial/run.toml"), key=lambda path: path.stat().st_mtime)
    if not waiting:
        raise RunError(f"no interrupted run in {RUNS.resolve()}: give its --out, or start one without --resume")
    return RUNS / waiting[-1].parent.name[1 : -len(".partial")]


def _clear(scratch: Path, folder: Path, resume: bool) -> None:
    if resume:
        scratch.mkdir(exist_ok=True)
        return
    if (scratch / CHECKPOINT).exists():
        raise RunError(
            f"{folder} was interrupted while it trained: go on with "
            f"`tl finetune --resume --out {shlex.quote(str(folder))}`, or remove {scratch}"
        )
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()


def find_run(run: str | Path | None) -> Path:
    if run is None:
        return _newest()
    given = Path(run)
    for folder in (given, RUNS / given):
        if _is_file(folder / "manifest.json"):
            return folder.resolve() if folder.is_symlink() else folder  # `latest` has a name of its own
    if _is_folder(given) or _is_folder(RUNS / given):
        raise RunError(f"{given} is not a run: it has no manifest.json; make one with `tl finetune DATA`")
    raise RunError(
        f"no run {str(run)!r} here or in {RUNS}/: `tl runs list` shows what there is, `tl finetune DATA` makes one"
    )


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name longer than any may be, or with a zero byte
        return path.is_file()
    return False


def _is_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _newest() -> Path:
    latest = RUNS / "latest"
    if (latest / "manifest.json").is_file():
        return latest.resolve()
    complete = sorted(RUNS.glob("[!.]*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not complete:
        raise RunError(f"no run in {RUNS.resolve()}: make one with `tl finetune DATA`, or give one with --run")
    return complete[-1].parent


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # not the disk: whoever read our output has gone
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}; free space or give another --out"
        ) from error


def _point_latest(folder: Path) -> None:
    if folder.parent.name != RUNS.name:
        return
    pointer = folder.parent / f".latest-{os.getpid()}"
    try:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(folder.name)
        os.replace(pointer, folder.parent / "latest")
    except OSError:
        pointer.unlink(missing_ok=True)  # no symbolic links on this disk: the newest manifest tells as well
