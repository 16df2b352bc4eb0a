"""Read what stands for images: files, folders, patterns, tables, lists of paths, addresses, videos, images in memory.

Every command and function that takes images reads them here, so that the same list means the same images everywhere.

Patterns are matched by our own code: `glob` follows links that lead in circles, and `Path.glob` finds hidden files.
"""

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from io import BufferedIOBase, IOBase
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from numpy.typing import NDArray

from tl.data.images import (
    MAX_BYTES,
    VIDEO_SUFFIXES,
    EncodedImage,
    ImageLike,
    Source,
    UnreadableImage,
    as_images,
    is_pillow,
    is_pixels,
)
from tl.data.listing import NO_FILE, LeftOut, OnSkip, walk, walk_images, why_folder_left_out
from tl.errors import DataError, ImageError, UsageError
from tl.settings import settings

if TYPE_CHECKING:
    from PIL.Image import Image

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[Any] | Image | Source | IOBase"
"""One source of images: text as it is typed, a path, an encoded image or an open file of one, a Pillow image, pixels
[height, width, 3] or a batch of them [n, height, width, 3] as an array or a tensor (`tl.data.images.from_array`)."""

ImageInputs: TypeAlias = "ImageInput | Iterable[ImageInput]"

TIMEOUT = 10.0  # seconds to wait for a server's answer
_MAX_PATH = 1 << 16  # bytes of one path in a list
_CHUNK = 1 << 16
_TABLES = (".csv", ".tsv")


class Input(NamedTuple):
    """One image of the input: the name it has in results, and the image to read."""

    name: str
    image: ImageLike


@dataclass(frozen=True)
class Address:
    """An image at an http or https address, downloaded when it is read."""

    url: str
    timeout: float = TIMEOUT
    offline: bool = False

    def read(self) -> bytes:
        """Download it. Raises ImageError with the reason."""
        if self.offline:
            raise ImageError("not downloaded: offline mode")
        from tl.download import download_image

        return download_image(self.url, self.timeout)


def read_inputs(
    sources: ImageInputs,
    *,
    lists: Iterable[str] = (),
    every: int = 30,
    min_side: int = 256,
    timeout: float = TIMEOUT,
    stdin: BufferedIOBase | None = None,
    skip: OnSkip = lambda *_: None,
) -> Iterator[Input]:
    """Read the images that `sources` (one `ImageInput` or several) and `lists` (files of paths) stand for, in order.

    A text is a file, a folder (all images below it, sorted), a pattern, a table (.csv, .tsv), a video (every `every`-th
    frame, shrunk while no side falls below `min_side` pixels), an http or https address, or `-` for an image on
    standard input; in `lists`, `-` is a list on standard input. A file that exists is taken as it is, whatever its name
    looks like. `skip` receives what is passed over in folders. An image in memory is named by its position. An image
    that cannot be had raises ImageError when it is read. Raises UsageError and DataError for what can be no image (an
    empty name, a folder without images, a table without paths) before the first image is returned.
    """
    items, files = as_list(sources), list(lists)
    piped = [item for item in [*items, *files] if isinstance(item, str) and item == "-"]
    if len(piped) > 1:
        raise UsageError("standard input can be given once: as an image (-) or as a list of paths (--paths-from -)")
    if piped and stdin is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("nothing is piped in: `-` reads standard input, such as `cat photo.jpg | tl predict -`")
    reader = _Reader(every, min_side, timeout, settings().offline, stdin, skip)
    parts = [*map(reader.source, items), *map(reader.path_list, files)]
    return (Input(name or str(at), image) for at, (name, image) in enumerate(chain.from_iterable(parts)))


def as_list(sources: Any) -> list[Any]:
    """The sources as a list, where one alone may be given."""
    alone = (str, bytes, bytearray, memoryview, os.PathLike, IOBase)
    if isinstance(sources, alone) or hasattr(sources, "read") or is_pillow(sources) or is_pixels(sources):
        return [sources]
    return list(sources) if isinstance(sources, Iterable) else [sources]


def typed_names(sources: Any) -> list[str]:
    """The sources that are text or paths: files, folders, patterns, addresses."""
    return [os.fspath(item) for item in as_list(sources) if _is_text(item)]


def is_single_file(sources: Any) -> bool:
    """Whether the sources are one image file and nothing else."""
    items = as_list(sources)
    others = (*_TABLES, *VIDEO_SUFFIXES)
    return len(items) == 1 and _is_text(items[0]) and _suffix(items[0]) not in others and os.path.isfile(items[0])


def names_video(sources: Any) -> bool:
    """Whether one of the sources is a video, or a pattern of videos."""
    return any(_suffix(name) in VIDEO_SUFFIXES for name in typed_names(sources))


def is_address(text: str) -> bool:
    """Whether a text is written as an address: with a scheme, though perhaps not one that is supported."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isascii() and scheme.replace("+", "").isalnum() and len(scheme) > 1


@dataclass(frozen=True)
class _Reader:
    every: int
    min_side: int
    timeout: float
    offline: bool
    stdin: BufferedIOBase | None
    skip: OnSkip

    def source(self, item: Any) -> Iterator[Input]:
        return self._text(os.fspath(item)) if _is_text(item) else iter([Input("", image) for image in as_images(item)])

    def _text(self, text: str) -> Iterator[Input]:
        if text == "-":
            return self._piped()
        if is_address(text) and not os.path.exists(text):
            return iter([Input(text, Address(text, self.timeout, self.offline))])
        _check_name(text)
        if os.path.isdir(text):
            return self._folder(text)
        if os.path.isfile(text) and _suffix(text) in _TABLES:
            return self._table(Path(text))
        if os.path.exists(text) or "\0" in text or not glob.has_magic(text):
            return self._file(text)
        return self._pattern(text)

    def _piped(self) -> Iterator[Input]:
        try:
            content = self._standard_input().read(MAX_BYTES + 1)
        except OSError as error:
            raise _unreadable("standard input", error) from None
        yield Input("-", EncodedImage(content))

    def _standard_input(self) -> BufferedIOBase:
        return self.stdin or cast(BufferedIOBase, sys.stdin.buffer)

    def _file(self, name: str) -> Iterator[Input]:
        """A file or an address that stands for itself, or the frames of a video."""
        if is_address(name) and not os.path.exists(name):
            yield Input(name, Address(name, self.timeout, self.offline))
        elif _suffix(name) in VIDEO_SUFFIXES and "\0" not in name:
            from tl.data.video import read_video

            yield from map(Input._make, read_video(Path(name), self.every, self.min_side))
        else:
            yield Input(str(Path(name)), Path(name))

    def _table(self, table: Path) -> Iterator[Input]:
        from tl.data.tables import read_paths

        paths = read_paths(table)
        first = next(paths, None)
        if first is None:
            raise DataError(f"table {str(table)!r} has no rows")
        return chain.from_iterable(self._row(table, path) for path in chain([first], paths))

    def _row(self, table: Path, path: str) -> Iterator[Input]:
        if not path:
            return iter([Input(str(table), UnreadableImage("a row without a path"))])
        return self._file(path if is_address(path) else str(table.parent / path))

    def _pattern(self, pattern: str) -> Iterator[Input]:
        folders: set[str] = set()  # ** matches a folder and also all that is in it
        matches = sorted(set(match_pattern(pattern)))
        if not matches:
            yield Input(pattern, Path(pattern))
        for match in matches:
            if folders and any(str(parent) in folders for parent in PurePath(match).parents):
                continue
            if os.path.isdir(match) and (reason := why_folder_left_out(match)):
                self.skip(match, reason)
            elif os.path.isdir(match):
                folders.add(str(PurePath(match)))
                yield from self._folder(match)
            elif _suffix(match) in _TABLES:
                try:
                    yield from self._table(Path(match))
                except DataError as error:  # the other matches are read all the same
                    yield Input(match, UnreadableImage(str(error)))
            else:
                yield from self._file(match)

    def _folder(self, folder: str) -> Iterator[Input]:
        errors: list[OSError] = []
        no_files: list[str] = []

        def skip(path: str, reason: str) -> None:
            if reason in NO_FILE:
                no_files.append(path)
            else:
                self.skip(path, reason)

        for name in chain(walk_images(folder, errors.append, skip), [None]):
            while no_files:
                path = Path(no_files.pop(0))
                yield Input(str(path), path)  # reading it says why
            while errors:
                error = errors.pop(0)
                reason = (error.strerror or type(error).__name__).lower()
                yield Input(str(PurePath(error.filename)), UnreadableImage(f"folder cannot be read: {reason}"))
            if name is not None:
                path = Path(name)
                yield Input(str(path), path)

    def path_list(self, name: str) -> Iterator[Input]:
        """The images of a file of paths, one a line or separated by zero bytes; each path stands for itself."""
        where = "standard input" if name == "-" else repr(name)
        try:
            file = self._standard_input() if name == "-" else open(name, "rb")  # noqa: SIM115 - closed below
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or "not a file name").lower()
            raise DataError(
                f"list of paths {name!r} cannot be read: {reason}; give a file with a path a line, or -"
            ) from None
        return self._paths(where, file)

    def _paths(self, where: str, file: Any) -> Iterator[Input]:
        try:
            with nullcontext() if where == "standard input" else file:
                for path in split_paths(file.read1):
                    yield from self._file(os.fsdecode(path))
        except ValueError:
            raise DataError(f"{where} is no list of paths: a line of it is longer than any path") from None
        except OSError as error:
            raise _unreadable(where, error) from None


def split_paths(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Split a list of paths while it is read: at zero bytes if it has some, as `find -print0` writes them, or at lines.

    Raises ValueError for a path that is longer than any path can be.
    """
    rest, separator, start = b"", b"", True
    while chunk := read(_CHUNK):
        rest += chunk
        if not separator:
            separator = next((one for one in (b"\0", b"\n") if one in rest), b"")
        if separator:
            if start:
                rest, start = rest.removeprefix(b"\xef\xbb\xbf"), False
            *paths, rest = rest.split(separator)
            yield from filter(None, (_trimmed(path, separator) for path in paths))
        if len(rest) > _MAX_PATH:
            raise ValueError("longer than any path")
    if rest:
        yield _trimmed(rest, separator)


def _trimmed(path: bytes, separator: bytes) -> bytes:
    return path if separator == b"\0" else path.removesuffix(b"\r")


def match_pattern(pattern: str) -> Iterator[str]:
    """List what a pattern matches, in no order; `**` is folders of any depth, by the rule of all listings."""
    parts = pattern.replace("/", os.sep).split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    before, after = os.sep.join(parts[:at]), os.sep.join(parts[at + 1 :])
    # A pattern that begins with `/` has nothing before the first of its parts.
    starts = match_pattern(before) if before else iter([os.sep if at else ""])
    for start in starts:
        if not after:
            yield from [start] if start else glob.iglob("*")
            continue
        for folder, _ in walk(start or os.curdir):
            below = folder if start else folder.removeprefix(os.curdir).removeprefix(os.sep)
            yield from match_pattern(os.path.join(glob.escape(below), after))


def _check_name(name: str) -> None:
    """Raises UsageError for an empty name, DataError for a folder without images or one that cannot be read."""
    if not name:
        raise UsageError("the name of an image is empty: give a file, a folder or a pattern such as 'photos/*.jpg'")
    left_out = LeftOut()
    if not os.path.isdir(name) or next(walk_images(name, skip=left_out), None) is not None:
        return
    if left_out.counts.keys() & set(NO_FILE):
        return
    try:
        os.scandir(name).close()
    except OSError as error:
        raise DataError(f"{_unreadable(f'folder {name!r}', error)}; make it readable or give another") from None
    raise DataError(
        f"folder {name!r} holds no images ({str(left_out) or 'it is empty'}), nor do the folders below it:"
        " give another folder, or the files themselves"
    )


def _is_text(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike))


def _suffix(name: str | os.PathLike[str]) -> str:
    return os.path.splitext(name)[1].lower()


def _unreadable(where: str, error: OSError) -> DataError:
    return DataError(f"{where} cannot be read: {(error.strerror or type(error).__name__).lower()}")
