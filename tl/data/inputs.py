"""What the user asks for, in whatever way, becomes named pictures, one after the other in constant memory."""

import glob
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from heapq import merge
from io import BufferedIOBase
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import IO, cast

import numpy as np

from tl.data.dataset import Failed, Given
from tl.data.images import IMAGE_SUFFIXES, MAX_BYTES, VIDEO_SUFFIXES, ImageLike
from tl.data.url import Limits
from tl.errors import DataError, StorageError, UsageError

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


def image_files(given: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The files that are meant, in the order given; of a folder all images below it, of a pattern its matches, sorted.

    What exists means itself, whatever letters its name has. What neither exists nor matches is handed on as it is, for
    the reader to report as missing. Raises UsageError for an empty name and DataError for a folder without images or
    one that cannot be read, all before the first file is handed out.
    """
    names = [os.fspath(name) for name in given]
    for name in names:
        check_name(name)
    return (file for name in names for file in _paths_meant(name))


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


def _paths_meant(name: str) -> Iterator[Path]:
    # os.path says False where Path raises: a name longer than any may be, or one with a zero byte.
    if os.path.isdir(name):
        yield from map(Path, below(name))
    elif os.path.exists(name) or "\0" in name or not glob.has_magic(name):
        yield Path(name)
    else:
        yield from _paths_matching(name) or [Path(name)]


def _paths_matching(pattern: str) -> list[Path]:
    files: dict[Path, None] = {}  # each once: ** matches a folder and also all that is in it
    for match in sorted(matching(pattern)):
        files.update(dict.fromkeys(map(Path, below(match)) if os.path.isdir(match) else [Path(match)]))
    return list(files)


@dataclass(frozen=True)
class Fetched:
    """An image at an address, fetched when it is read."""

    url: str
    limits: Limits = field(default_factory=Limits)

    def read(self) -> bytes:
        """Its bytes. Raises ImageError with the reason for which they cannot be had."""
        from tl.data.url import fetch  # brings HTTP and TLS, which files do without

        return fetch(self.url, self.limits)


def is_address(text: str) -> bool:
    """Whether a text is meant as an address: it has a scheme, if not always one that is allowed."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isascii() and scheme.replace("+", "").isalnum() and len(scheme) > 1


Named = tuple[str, ImageLike]

_TABLES = (".csv", ".tsv")

# What reads tables and videos is imported where one is given: one photo is answered sooner without.


@dataclass(frozen=True)
class Request:
    """Images as they are typed (files, folders, patterns, tables, videos, addresses, `-`), and lists of paths.

    Of a video every `every`-th frame is meant. `null`: paths in lists end with zero bytes instead of lines.
    """

    images: Sequence[str] = ()
    lists: Sequence[str] = ()
    null: bool = False
    every: int = 30
    limits: Limits = field(default_factory=Limits)

    @property
    def single(self) -> bool:
        """Whether one image file is named, and nothing else."""
        names = [PurePath(name) for name in self.images]
        return (
            not self.lists
            and len(names) == 1
            and names[0].suffix.lower() in IMAGE_SUFFIXES
            and os.path.isfile(names[0])
        )


def requested(request: Request, *, at_least: int = 256, stdin: BufferedIOBase | None = None) -> Iterator[Named]:
    """Name and picture of everything that is meant, in the order given; of a folder and a pattern sorted.

    What exists means itself, whatever letters its name has; what cannot be had is a picture that says so when it is
    read. Frames of videos are shrunk as long as no side falls below `at_least` pixels. Raises UsageError and DataError
    for what cannot be meant (an empty name, a folder without images, a table without paths), all before the first.
    """
    _check_input(request, stdin)
    parts = [_meant(name, request, at_least, stdin) for name in request.images]
    parts += [_of_list(name, request, at_least, stdin) for name in request.lists]
    return chain.from_iterable(parts)


def _check_input(request: Request, stdin: BufferedIOBase | None) -> None:
    if [*request.images, *request.lists].count("-") > 1:
        raise UsageError("standard input can be given once: as an image (-) or as a list of paths (--paths-from -)")
    if "-" in (*request.images, *request.lists) and stdin is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("nothing is piped in: `-` reads standard input, such as `cat photo.jpg | tl predict -`")


def _meant(name: str, request: Request, at_least: int, stdin: BufferedIOBase | None) -> Iterator[Named]:
    if name == "-":
        return _piped(stdin)
    if is_address(name) and not os.path.exists(name):
        return iter([(name, Fetched(name, request.limits))])
    check_name(name)
    if os.path.isdir(name):
        return _below(name)
    if os.path.isfile(name) and _ending(name) in _TABLES:
        return _of_table(Path(name), request, at_least)
    if os.path.exists(name) or "\0" in name or not glob.has_magic(name):
        return _single(name, request, at_least)
    return _matching(name, request, at_least)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _piped(stdin: BufferedIOBase | None) -> Iterator[Named]:
    try:
        content = (stdin or _standard_input()).read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable("standard input", error) from None
    yield "-", Given(content)


def _unreadable(where: str, error: OSError) -> DataError:
    return DataError(f"{where} cannot be read: {(error.strerror or type(error).__name__).lower()}")


def _standard_input() -> BufferedIOBase:
    return cast(BufferedIOBase, sys.stdin.buffer)


def _single(name: str, request: Request, at_least: int) -> Iterator[Named]:
    if is_address(name) and not os.path.exists(name):
        yield name, Fetched(name, request.limits)
    elif _ending(name) in VIDEO_SUFFIXES and "\0" not in name:
        from tl.data.video import read_video

        yield from read_video(Path(name), request.every, at_least)
    else:
        path = Path(name)
        yield str(path), path


def _below(folder: str) -> Iterator[Named]:
    refused: list[tuple[str, OSError]] = []
    for name in below(folder, lambda at, error: refused.append((at, error))):
        yield from _refused(refused)
        path = Path(name)
        yield str(path), path
    yield from _refused(refused)


def _refused(refused: list[tuple[str, OSError]]) -> Iterator[Named]:
    while refused:
        at, error = refused.pop(0)
        why = (error.strerror or type(error).__name__).lower()
        yield str(PurePath(at)), Failed(f"folder cannot be read: {why}")


def _matching(pattern: str, request: Request, at_least: int) -> Iterator[Named]:
    expanded: set[str] = set()  # ** matches a folder and then all that is in it
    none = True
    last = None
    for match in in_order(matching(pattern)):
        none = False
        if match == last or any(str(parent) in expanded for parent in PurePath(match).parents):
            continue
        last = match
        if os.path.isdir(match):
            expanded.add(str(PurePath(match)))
            yield from _below(match)
        elif _ending(match) in _TABLES:
            yield from _of_matched_table(match, request, at_least)
        else:
            yield from _single(match, request, at_least)
    if none:
        yield pattern, Path(pattern)


def _of_matched_table(match: str, request: Request, at_least: int) -> Iterator[Named]:
    """A table that nobody named: where it cannot be read, the other matches are looked at all the same."""
    try:
        yield from _of_table(Path(match), request, at_least)
    except DataError as error:
        yield match, Failed(str(error))


def _of_table(table: Path, request: Request, at_least: int) -> Iterator[Named]:
    from tl.data.tables import listed

    paths = listed(table)
    first = next(paths, None)
    if first is None:
        raise DataError(f"table {str(table)!r} has no rows")

    def pictures() -> Iterator[Named]:
        for path in chain([first], paths):
            if not path:
                yield str(table), Failed("a row without a path")
            else:
                yield from _single(path if is_address(path) else str(table.parent / path), request, at_least)

    return pictures()


def _of_list(name: str, request: Request, at_least: int, stdin: BufferedIOBase | None) -> Iterator[Named]:
    if name == "-":
        return _paths(name, (stdin or _standard_input()).read1, request, at_least)
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed by the iterator that reads it
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or "not a file name").lower()
        raise DataError(f"list of paths {name!r} cannot be read: {why}; give a file with a path a line, or -") from None

    def pictures() -> Iterator[Named]:
        with closing(file):
            yield from _paths(name, file.read1, request, at_least)

    return pictures()


def _paths(name: str, read: Callable[[int], bytes], request: Request, at_least: int) -> Iterator[Named]:
    where = "standard input" if name == "-" else repr(name)
    try:
        for at, piece in enumerate(separated(read, b"\0" if request.null else b"\n")):
            piece = piece.removeprefix(b"\xef\xbb\xbf") if at == 0 else piece
            piece = piece if request.null else piece.removesuffix(b"\r")
            if b"\0" in piece:
                raise DataError(f"{where} holds zero bytes: give --null (-0) for paths that end with them")
            if piece:
                yield from _single(os.fsdecode(piece), request, at_least)
    except ValueError:
        raise DataError(f"{where} is no list of paths: a line of it is longer than any path") from None
    except OSError as error:
        raise _unreadable(where, error) from None


def pictures_of(images: str | Path | ImageLike | Sequence[str | Path | ImageLike]) -> list[ImageLike]:
    """The pictures meant, in their order. Raises UsageError for what can be none."""
    given: Sequence[object] = images if isinstance(images, (list, tuple)) else [images]
    return [picture for item in given for picture in _pictures(item)]


def named(pictures: Sequence[ImageLike]) -> list[tuple[str, ImageLike]]:
    """Each with its path as its name, or with its place."""
    return [(str(item) if isinstance(item, Path) else str(at), item) for at, item in enumerate(pictures)]


def _pictures(item: object) -> Iterable[ImageLike]:
    if isinstance(item, (str, os.PathLike)):
        return image_files([item])
    if isinstance(item, np.ndarray) and item.ndim == 3 and item.dtype == np.uint8:
        return [item]
    given = f"{item.dtype} array {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise UsageError(f"an image cannot be given as {given}: give a path, or a uint8 array [height, width, 3] of RGB")
