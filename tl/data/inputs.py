"""What the user asks for, in whatever way, becomes named pictures, one after the other in constant memory."""

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BufferedIOBase
from itertools import chain
from pathlib import Path, PurePath
from typing import cast

from tl.data.images import IMAGE_SUFFIXES, MAX_BYTES, VIDEO_SUFFIXES, Picture
from tl.datasets.addresses import Fetched, is_address
from tl.datasets.given import Failed, Given
from tl.datasets.limits import Limits
from tl.datasets.paths import check_name
from tl.datasets.walking import below, in_order, matching, separated
from tl.errors import DataError, UsageError

Named = tuple[str, Picture]

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
