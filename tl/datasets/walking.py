"""A folder becomes the images below it, in order, in memory that does not grow with their number."""

import glob
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from itertools import islice
from typing import IO

from tl.data.images import IMAGE_SUFFIXES
from tl.errors import StorageError

_CHUNK = 50_000  # names sorted in memory: about 8 MB
_READ = 1 << 16

Refused = Callable[[str, OSError], None]


def below(folder: str, refused: Refused | None = None) -> Iterator[str]:
    """The images of a folder, sorted, then those of its folders; hidden ones and links to folders are passed over.

    What cannot be listed is told to `refused`, or passed over too.
    """
    # Folders that wait are kept as names on the way down: as many as a tree is deep times wide, never one a file.
    waiting = [iter([folder])]
    while waiting:
        at = next(waiting[-1], None)
        if at is None:
            waiting.pop()
            continue
        folders: list[str] = []
        names = in_order(_images(at, folders, refused))
        yield from (os.path.join(at, name) for name in names)
        waiting.append(iter([os.path.join(at, name) for name in sorted(folders)]))


def matching(pattern: str) -> Iterator[str]:
    """What a pattern matches, in no order; `**` is folders of any depth, but none behind links, which may loop."""
    parts = pattern.replace("/", os.sep).split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    before, after = os.sep.join(parts[:at]), os.sep.join(parts[at + 1 :])
    # A pattern that begins with `/` has nothing before the first of its parts.
    starts = matching(before) if before else iter([os.sep if at else ""])
    for start in starts:
        if not after:
            yield from [start] if start else glob.iglob("*")
            continue
        for folder in _folders(start):
            yield from matching(os.path.join(glob.escape(folder), after))


def _folders(start: str) -> Iterator[str]:
    """A folder and all below it, but for hidden ones and links."""
    for folder, below_it, _ in os.walk(start or os.curdir):
        below_it[:] = [name for name in below_it if not name.startswith(".")]
        yield folder if start else folder.removeprefix(os.curdir).removeprefix(os.sep)


def in_order(names: Iterable[str]) -> Iterator[str]:
    """Names sorted; what is too much for memory is sorted in unnamed files."""
    source = iter(names)
    first = sorted(islice(source, _CHUNK))
    if len(first) < _CHUNK:
        yield from first
        return
    with ExitStack() as stack:
        files = [stack.enter_context(_stored(first))]
        del first
        while chunk := sorted(islice(source, _CHUNK)):
            files.append(stack.enter_context(_stored(chunk)))
        yield from merge(*(map(os.fsdecode, separated(file.read, b"\0")) for file in files))


def separated(read: Callable[[int], bytes], separator: bytes) -> Iterator[bytes]:
    """The pieces between separators of what `read` gives, each when it is asked for; the last one need not end.

    Raises ValueError for a piece longer than any name may be.
    """
    rest = b""
    while chunk := read(_READ):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
        if len(rest) > _READ:
            raise ValueError("longer than any name")
    if rest:
        yield rest


def _images(folder: str, folders: list[str], refused: Refused | None) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__MACOSX":
                        folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and not entry.is_dir():
                    yield entry.name
    except OSError as error:
        if refused is not None:
            refused(folder, error)


def _stored(names: list[str]) -> IO[bytes]:
    try:
        file = tempfile.TemporaryFile(prefix="tl-names-")  # noqa: SIM115 - closed by its reader
        for name in names:
            file.write(os.fsencode(name) + b"\0")
        file.seek(0)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{tempfile.gettempdir()} cannot hold a list of files ({why}): set TMPDIR") from error
    return file
