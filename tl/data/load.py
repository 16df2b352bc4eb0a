"""What the user typed becomes a data set: a folder, a table, CIFAR-100, TFRecord, or a name that `tl` knows."""

import dataclasses
import difflib
from pathlib import Path

from tl.data.cifar import is_cifar, load_cifar
from tl.data.dataset import Dataset, Skipped
from tl.data.folders import load_folder
from tl.data.known import KNOWN, resolve
from tl.data.tables import DELIMITERS, load_table
from tl.data.tfrecord import is_tfrecord, load_tfrecord
from tl.errors import DataError
from tl.progress import Progress

__all__ = ["Dataset", "Skipped", "load"]

_SILENT = Progress()


def load(
    source: str | Path,
    *,
    labelled: bool = True,
    download: bool = False,
    offline: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = _SILENT,
) -> Dataset:
    """The data set at a path, or known by the name `source`; a path that exists goes before a name.

    Without `labelled`, images without classes are welcome. `download` lets a known data set be fetched into `cache_dir`
    (the cache folder of `tl` by default). Raises DataError with one line that says what to do, DownloadError when a
    data set cannot be fetched.
    """
    text = str(source)
    path = _existing(source)
    if path is not None:
        return _load_path(path, text, labelled, cache_dir, progress)
    if text not in KNOWN:
        raise DataError(f"no such folder or table: {text!r}; {_suggestion(text)}")
    found = resolve(text, download_it=download, offline=offline, cache_dir=cache_dir, progress=progress)
    return dataclasses.replace(_load_path(found, text, labelled, cache_dir, progress), name=text)


def _existing(source: str | Path) -> Path | None:
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # longer than any name may be, a zero byte, no such user's home
        return None


def _load_path(path: Path, text: str, labelled: bool, cache_dir: Path | None, progress: Progress) -> Dataset:
    if is_cifar(path):
        return load_cifar(path)
    if is_tfrecord(path):
        return load_tfrecord(path, labelled=labelled, cache_dir=cache_dir, progress=progress)
    if path.is_dir():
        inner = path / "cifar-100-python"
        return load_cifar(inner) if is_cifar(inner) else load_folder(path, labelled=labelled)
    if path.suffix.lower() in DELIMITERS:
        return load_table(path, labelled=labelled)
    raise DataError(
        f"{text!r} is a file, but not a table (.csv, .tsv), a .tfrecord nor the CIFAR-100 archive (.tar.gz):"
        " give a folder with one folder of images a class"
    )


def _suggestion(text: str) -> str:
    near = difflib.get_close_matches(text.lower(), KNOWN, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"give a folder with one folder of images a class, a .csv, or one of {', '.join(sorted(KNOWN))}"
