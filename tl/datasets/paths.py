"""What people name as images (files, folders, patterns) becomes the files that are meant."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tl.data.images import IMAGE_SUFFIXES
from tl.datasets.walking import below, matching
from tl.errors import DataError, UsageError


def image_files(given: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The files that are meant, in the order given; of a folder all images below it, of a pattern its matches, sorted.

    What exists means itself, whatever letters its name has. What neither exists nor matches is handed on as it is, for
    the reader to report as missing. Raises UsageError for an empty name and DataError for a folder without images or
    one that cannot be read, all before the first file is handed out.
    """
    names = [os.fspath(name) for name in given]
    for name in names:
        check_name(name)
    return (file for name in names for file in _meant(name))


def check_name(name: str) -> None:
    """Raises UsageError for an empty name, DataError for a folder without images or one that cannot be read."""
    if not name:
        raise UsageError("the name of an image is empty: give a file, a folder or a pattern such as 'photos/*.jpg'")
    if not os.path.isdir(name) or next(below(name), None) is not None:
        return
    try:
        os.scandir(name).close()
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise DataError(f"folder {name!r} cannot be read: {why}; make it readable or give another") from None
    raise DataError(
        f"folder {name!r} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}), nor do the folders below it:"
        " give another folder, or the files themselves"
    )


def _meant(name: str) -> Iterator[Path]:
    # os.path says False where Path raises: a name longer than any may be, or one with a zero byte.
    if os.path.isdir(name):
        yield from map(Path, below(name))
    elif os.path.exists(name) or "\0" in name or not glob.has_magic(name):
        yield Path(name)
    else:
        yield from _matching(name) or [Path(name)]


def _matching(pattern: str) -> list[Path]:
    files: dict[Path, None] = {}  # each once: ** matches a folder and also all that is in it
    for match in sorted(matching(pattern)):
        files.update(dict.fromkeys(map(Path, below(match)) if os.path.isdir(match) else [Path(match)]))
    return list(files)
