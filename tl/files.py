"""Writing files whole or not at all, locks, the environment of child processes, and what libraries write."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tl.errors import StorageError, TLError

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL", "HOME", "TMPDIR")


@contextmanager
def write_errors(target: Path, hint: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `target` and ends with `hint`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{str(target)!r} cannot be written: {reason}; {hint}") from error


@contextmanager
def atomic_write(
    target: Path, *, hint: str = "free some space, or give another --out", overwrite: bool = True
) -> Iterator[Path]:
    """A scratch path beside `target` that takes its name when the block succeeds and is removed when it fails.

    The block may make a file or a folder there; a file replaces an older `target`, a folder needs a free name.
    Raises StorageError, which ends with `hint`, for an OSError inside of the block or while renaming, and without
    `overwrite` for a `target` that has appeared meanwhile.
    """
    target = target.absolute()
    scratch = target.with_name(f".{target.name[:100]}.{os.getpid()}.partial")
    try:
        with write_errors(target, hint):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove(scratch)
            yield scratch
            if not overwrite and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.replace(scratch, target)
    finally:
        remove(scratch)


def write_text(target: Path, text: str, *, hint: str = "free some space, or give another --out") -> None:
    """Write a text file in UTF-8, whole or not at all. Raises StorageError."""
    with atomic_write(target, hint=hint) as scratch:
        scratch.write_bytes(text.encode("utf-8", "replace"))


def remove(path: Path) -> None:
    """Remove a file or a folder that may be there, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def locked(path: Path, *, busy: TLError | None = None, timeout: float = -1) -> Iterator[None]:
    """Hold a lock file that other processes respect; wait for `timeout` seconds (-1: for ever), then raise `busy`.

    Its folder is made where it is missing.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise busy or TLError(f"{path} is held by another process") from error
    try:
        yield
    finally:
        lock.release()


def child_environment(*, inherit: bool = True) -> dict[str, str]:
    """The environment of a Python child process that finds the same modules, from any working folder.

    Without `inherit` it has only what Python needs: no secret of this process.
    """
    environment = dict(os.environ) if inherit else {name: os.environ[name] for name in _INHERITED if name in os.environ}
    for name in ("TL_CACHE_DIR", "KERAS_HOME"):
        if environment.get(name):
            environment[name] = os.path.abspath(environment[name])
    root = str(Path(__file__).resolve().parents[1])
    path = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {"PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def muted(*numbers: int) -> Iterator[None]:
    """Discard what is written to these file descriptors, by C++ libraries as well, whatever their log level."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in numbers]
    try:
        with open(os.devnull, "wb") as nowhere:
            for number in numbers:
                os.dup2(nowhere.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
