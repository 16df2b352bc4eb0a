"""Load a data set from a path, a known name, a list of (image, label), or a pandas DataFrame."""

import dataclasses
import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias, cast

from tl.data.dataset import Dataset
from tl.data.folders import load_folder
from tl.data.images import IMAGE_SUFFIXES, is_pillow
from tl.data.known import KNOWN, is_cifar, load_cifar, resolve
from tl.data.tables import DELIMITERS, load_rows, load_table
from tl.data.tfrecord import is_tfrecord, load_tfrecord
from tl.errors import DataError, UsageError
from tl.progress import Progress

Data: TypeAlias = "str | os.PathLike[str] | Iterable[Any] | Dataset | Any"
"""A path (folder, table, TFRecord, CIFAR-100), the name of a known data set, a list of (image, label) or (image, label,
split), a batch of pixels and its labels, a pandas DataFrame with columns path, label and perhaps split, or a data set
that was loaded before."""

_SILENT = Progress()


def load(
    source: Data, *, labelled: bool = True, download: bool = False, offline: bool = False, progress: Progress = _SILENT
) -> Dataset:
    """Load a data set; a path that exists takes precedence over a known name.

    Without `labelled`, images need no classes. `download` lets a known data set be fetched into the cache. Raises
    DataError or UsageError with one line that says what to do, DownloadError when a data set cannot be fetched.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, bytes) and not labelled:
        source = [source]
    if is_in_memory(source):
        return load_rows(source, labelled=labelled)
    text = os.fspath(cast("str | os.PathLike[str]", source))
    path = _existing(text)
    if path is not None:
        return _load_path(path, text, labelled, progress)
    if text not in KNOWN:
        near = difflib.get_close_matches(text.lower(), KNOWN, n=1)
        hint = f"give a folder with one folder of images per class, a .csv, or one of {', '.join(sorted(KNOWN))}"
        raise DataError(f"no such folder or table: {text!r}; {f'did you mean {near[0]!r}?' if near else hint}")
    place = resolve(text, download_it=download, offline=offline, progress=progress)
    return dataclasses.replace(_load_path(place, text, labelled, progress), name=text)


def is_in_memory(source: Data) -> bool:
    """Whether a data set is no path or name that could be written down. Raises UsageError for what is no data set."""
    if isinstance(source, (str, os.PathLike)):
        return False
    if (isinstance(source, (Dataset, Iterable)) and not isinstance(source, bytes)) or is_pillow(source):
        return True
    raise UsageError(
        f"data cannot be given as {type(source).__name__}: give a path, a list of (image, label), or a DataFrame"
    )


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # longer than any name may be, a zero byte, no such user's home
        return None


def _load_path(path: Path, text: str, labelled: bool, progress: Progress) -> Dataset:
    if is_cifar(path):
        return load_cifar(path)
    if is_tfrecord(path):
        return load_tfrecord(path, labelled=labelled, progress=progress)
    if path.is_dir():
        inner = path / "cifar-100-python"
        return load_cifar(inner) if is_cifar(inner) else load_folder(path, labelled=labelled)
    if path.suffix.lower() in DELIMITERS:
        return load_table(path, labelled=labelled)
    if path.suffix.lower() in IMAGE_SUFFIXES and not labelled:
        return load_rows([text], labelled=False)
    raise DataError(
        f"{text!r} is a file, but not a table (.csv, .tsv), a .tfrecord nor the CIFAR-100 archive (.tar.gz):"
        " give a folder with one folder of images per class"
    )
