"""The state of a training becomes a file, and a file the state again: a killed training goes on where it was."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tl.errors import RunError, StorageError

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A training after `about["step"]` steps: `state` is all that the next step depends on, `best` the best weights."""

    state: Arrays
    best: Arrays
    about: dict[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all. Raises StorageError when the disk is full."""
    scratch = path.with_suffix(".partial")
    arrays: dict[str, Any] = {f"state{at}": array for at, array in enumerate(checkpoint.state)}
    arrays |= {f"best{at}": array for at, array in enumerate(checkpoint.best)}
    try:
        with scratch.open("wb") as file:
            np.savez(file, about=np.frombuffer(json.dumps(checkpoint.about).encode(), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written ({error.strerror}); free space or give another --out") from error


def load(path: Path) -> Checkpoint | None:
    """The checkpoint in a file, or None where there is none.

    Raises RunError for a damaged one.
    """
    if not path.exists():
        return None
    try:
        _refuse_packed(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(_array(arrays, "about").tobytes())
            if not isinstance(about, dict):
                raise ValueError("it does not say which step it is of")
            count = {part: sum(name.startswith(part) for name in arrays.files) for part in ("state", "best")}
            state, best = ([_array(arrays, f"{part}{at}") for at in range(count[part])] for part in ("state", "best"))
    except _DAMAGES as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the training begins anew") from error
    return Checkpoint(state, best, about)


# RuntimeError: what zipfile and json refuse, such as encryption or too deep a nesting.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError, BadZipFile)


def _refuse_packed(path: Path) -> None:
    """`save` packs nothing: what is packed is another's, and may become any size."""
    with ZipFile(path) as archive:
        if any(member.compress_type != ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is packed")


def _array(arrays: Mapping[str, Any], name: str) -> NDArray[Any]:
    found = arrays[name]
    if not isinstance(found, np.ndarray):  # NumPy hands out as bytes what is none
        raise ValueError(f"{name} is no array")
    return found
