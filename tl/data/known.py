"""Data sets that are known by name: find them on this machine, download them, and read CIFAR-100.

CIFAR-100 is read in its official Python layout: pickles `train`, `test` and `meta` in a folder, or in
cifar-100-python.tar.gz (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html). What was downloaded is checked
against its published sha256; a folder of pickles may come from anywhere, so that only arrays and plain values are read.
"""

import io
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Sample, assemble
from tl.download import download
from tl.errors import DataError
from tl.files import atomic_write, locked
from tl.progress import Progress
from tl.settings import settings

_PHOTO = re.compile(r"PetImages/(Cat|Dog)/\d+\.jpg")
_FILES = ("meta", "train", "test")
_SIDE = 32


@dataclass(frozen=True)
class Known:
    """A published data set: where to look for it, where to download it, its size, and what to do by hand."""

    name: str
    url: str
    checksum: str
    size: str
    by_hand: str
    find: Callable[[Path], list[Path]]
    unpack: Callable[[Path, Progress], Path]


def resolve(name: str, *, download_it: bool, offline: bool, progress: Progress | None = None) -> Path:
    """Find the known data set `name` on this machine, or download it where `download_it`.

    Raises DataError when it is not here and may not be downloaded, DownloadError when it cannot be.
    """
    known = KNOWN[name]
    folder = settings().cache_dir / "datasets"
    candidates = known.find(folder)
    present = next((path for path in candidates if os.path.exists(path)), None)
    if present is not None:
        return present
    if not download_it or offline:
        places = ", ".join(str(path) for path in candidates) or str(folder)
        way = "it cannot be fetched offline" if offline else f"add --download to fetch it ({known.size})"
        raise DataError(f"data set {name!r} is not on this machine (looked for {places}): {way}, or {known.by_hand}")
    progress = progress or Progress()
    archive = folder / known.url.rpartition("/")[2]
    download(known.url, archive, checksum=known.checksum, offline=offline, progress=progress, what=name)
    return known.unpack(archive, progress)


def _find_cifar(folder: Path) -> list[Path]:
    archive = "cifar-100-python.tar.gz"
    keras = settings().keras_dir / "datasets"
    cached = sorted(keras.glob("cifar-100-python*"))
    found = [path for entry in cached for path in (entry / "cifar-100-python", entry) if is_cifar(path)]
    return [folder / "cifar-100-python", folder / archive, *(found or [keras / "cifar-100-python"])]


def _unpack_photos(archive: Path, progress: Progress) -> Path:
    target = archive.with_name("dogs-vs-cats")
    with locked(archive.with_name("dogs-vs-cats.lock")):
        if not target.is_dir():
            extract_photos(archive, target, progress)
        archive.unlink(missing_ok=True)
    return target


def extract_photos(archive: Path, target: Path, progress: Progress) -> None:
    """Extract the photos of the cats-and-dogs archive to target/Cat and target/Dog, all of them or none."""
    from zipfile import ZipFile

    with atomic_write(target, hint="free some space, or set TL_CACHE_DIR") as scratch, ZipFile(archive) as file:
        names = [name for name in file.namelist() if _PHOTO.fullmatch(name)]
        with progress.task("unpack dogs-vs-cats", len(names), "images") as task:
            for name in names:
                path = scratch / name.removeprefix("PetImages/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read(name))
                task.advance()


def is_cifar(path: Path) -> bool:
    """Whether a path looks like CIFAR-100: a folder with the three files, or a .tar.gz or .tgz archive."""
    # os.path says no where a Path raises, as in a folder that may not be entered: the reader of folders says so better.
    if os.path.isdir(path):
        return all(os.path.isfile(path / name) for name in _FILES)
    return os.path.isfile(path) and path.name.lower().endswith((".tar.gz", ".tgz"))


def load_cifar(path: Path) -> Dataset:
    """Load a CIFAR-100 folder or archive as arrays [32, 32, 3] with the fine labels and its train and test parts.

    Raises DataError for anything that is not CIFAR-100.
    """
    contents = _read_files(path)
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
    return assemble(samples, source=f"CIFAR-100 in {str(path)!r}", name="cifar100", root=None)


def _read_files(path: Path) -> dict[str, bytes]:
    """The contents of the files that there are of CIFAR-100, in a folder or an archive."""
    import tarfile
    import zlib

    contents: dict[str, bytes] = {}
    try:
        if path.is_dir():
            return {name: (path / name).read_bytes() for name in _FILES}
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                file = tar.extractfile(member) if member.isreg() and name in _FILES else None
                if file is not None and folder in ("", "cifar-100-python"):
                    contents[name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{str(path)!r} is not the CIFAR-100 archive, or damaged: {error}") from None
    except OSError as error:
        where, reason = error.filename or str(path), error.strerror or str(error)
        raise DataError(f"{str(where)!r} cannot be read: {reason.lower()}") from None
    return contents


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
            raise _not_cifar(self.file, f"it asks for {f'{module}.{name}'[:80]!r}")
        return _ALLOWED[module, name]


def _unpickle(content: bytes, file: Path) -> dict[str, Any]:
    try:
        values = _Unpickler(content, file).load()
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever its bytes happen to mean
        raise DataError(f"{str(file)!r} is not a CIFAR-100 file, or damaged ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise _not_cifar(file, "it holds no dictionary")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in values.items()}


def _class_names(meta: dict[str, Any], file: Path) -> list[str]:
    names = meta.get("fine_label_names")
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise _not_cifar(file, "it has no list 'fine_label_names'")
    return [name.decode("latin1") if isinstance(name, bytes) else name for name in names]


def _batch(values: dict[str, Any], file: Path, classes: int) -> tuple[NDArray[np.uint8], list[int]]:
    data, labels = values.get("data"), values.get("fine_labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
        raise _not_cifar(file, "'data' is no array of bytes [images, 3072]")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise _not_cifar(file, f"'fine_labels' does not fit its {len(data)} images")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise _not_cifar(file, f"'fine_labels' are not all from 0 to {classes - 1}")
    planes = data.reshape(len(data), 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _not_cifar(file: Path, reason: str) -> DataError:
    return DataError(f"{str(file)!r} is not a CIFAR-100 file: {reason}")


KNOWN = {
    known.name: known
    for known in (
        Known(
            name="cifar100",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            checksum="sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            size="169 MB",
            by_hand="give the path of the folder cifar-100-python or of cifar-100-python.tar.gz",
            find=_find_cifar,
            unpack=lambda archive, _: archive,
        ),
        Known(
            name="dogs-vs-cats",
            url="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
            checksum="sha256:b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
            size="825 MB",
            by_hand="give the path of a folder with the photos in Cat/ and Dog/",
            find=lambda folder: [folder / "dogs-vs-cats"],
            unpack=_unpack_photos,
        ),
    )
}
"""The data sets known by name. Checksums: Keras (keras.datasets.cifar100) and TensorFlow Datasets (cats_vs_dogs)."""
