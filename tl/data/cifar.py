"""CIFAR-100 in its official Python layout becomes a data set; its pickles may name nothing but what arrays are made of.

Layout: pickles `train`, `test` and `meta` in a folder, or in cifar-100-python.tar.gz (Krizhevsky 2009,
https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Sample, assemble
from tl.errors import DataError

_FILES = ("meta", "train", "test")
_MAX_BYTES = 1 << 29  # the official `train` has 155 MB
_SIDE = 32


def is_cifar(path: Path) -> bool:
    """Whether a path looks like CIFAR-100: a folder with the three files, or a .tar.gz or .tgz archive."""
    # os.path says no where a Path raises, as in a folder that may not be entered: the reader of folders says so better.
    if os.path.isdir(path):
        return all(os.path.isfile(path / name) for name in _FILES)
    return os.path.isfile(path) and path.name.lower().endswith((".tar.gz", ".tgz"))


def load_cifar(path: Path, *, name: str = "cifar100") -> Dataset:
    """The images of a CIFAR-100 folder or archive as arrays [32, 32, 3] with the fine labels.

    `train` becomes the part "train", `test` the part "test". Raises DataError for anything that is not CIFAR-100.
    """
    contents = dict(_from_folder(path) if path.is_dir() else _from_archive(path))
    missing = [file for file in _FILES if file not in contents]
    if missing:
        raise DataError(f"{str(path)!r} is not CIFAR-100: it has no file {missing[0]!r}")
    class_names = _class_names(_unpickle(contents.pop("meta"), path / "meta"), path / "meta")
    samples = []
    for part in ("train", "test"):
        pixels, labels = _batch(_unpickle(contents.pop(part), path / part), path / part, len(class_names))
        samples += [
            Sample(image, f"{part}/{index:05d}", class_names[label], part)
            for index, (image, label) in enumerate(zip(pixels, labels, strict=True))
        ]
    return assemble(samples, source=f"CIFAR-100 in {str(path)!r}", name=name, root=None)


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in _FILES:
        file = folder / name
        try:
            if file.stat().st_size > _MAX_BYTES:
                raise DataError(f"{str(file)!r} is not a CIFAR-100 file: it is larger than {_MAX_BYTES >> 20} MB")
            yield name, file.read_bytes()
        except OSError as error:
            raise DataError(f"{str(file)!r} cannot be read: {(error.strerror or '').lower()}") from None


def _from_archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    import tarfile
    import zlib

    wanted = set(_FILES)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for count, member in enumerate(tar):
                # Skipping a member means unpacking it, so that a bomb is met on the way to the next one.
                if count > 100 or member.size > _MAX_BYTES:
                    raise DataError(f"{str(archive)!r} is not the CIFAR-100 archive: it holds too much")
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                file = tar.extractfile(member) if member.isreg() and name in wanted else None
                if file is not None and folder in ("", "cifar-100-python"):
                    wanted.remove(name)
                    yield name, file.read()
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{str(archive)!r} is not the CIFAR-100 archive, or damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{str(archive)!r} cannot be read: {(error.strerror or str(error)).lower()}") from None


def _empty_array(*_: object) -> NDArray[np.uint8]:
    # What numpy puts first into the pickle of an array; the shape follows with the data, and is checked against them.
    return np.ndarray((0,), dtype=np.uint8)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unknown encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Reads numbers, strings, lists, dictionaries and arrays; a pickle can otherwise run any program."""

    def __init__(self, content: bytes, file: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # the official files come from Python 2
        self.file = file

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _ALLOWED:
            raise DataError(f"{str(self.file)!r} is not a CIFAR-100 file: it asks for {f'{module}.{name}'[:80]!r}")
        return _ALLOWED[module, name]


def _unpickle(content: bytes, file: Path) -> dict[str, Any]:
    try:
        found = _Unpickler(content, file).load()
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever its bytes happen to mean
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file, or damaged ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: it holds no dictionary")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


def _class_names(meta: dict[str, Any], file: Path) -> list[str]:
    names = meta.get("fine_label_names")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: it has no list 'fine_label_names'")
    texts = [name.decode("latin1") if isinstance(name, bytes) else name for name in names]
    if len(set(texts)) < len(texts):
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: it names a class twice")
    return texts


def _batch(found: dict[str, Any], file: Path, classes: int) -> tuple[NDArray[np.uint8], list[int]]:
    data, labels = found.get("data"), found.get("fine_labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: 'data' is no array of bytes [images, 3072]")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: 'fine_labels' does not fit its {len(data)} images")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file: 'fine_labels' are not all from 0 to {classes - 1}")
    planes = data.reshape(len(data), 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
