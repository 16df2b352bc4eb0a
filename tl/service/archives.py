"""A zip or tar archive of photos becomes a folder of them; the archive is hostile until proven otherwise.

Only images are taken, under names that no file system minds. What tries to leave the folder, links, devices, two files
of one name, or sizes beyond the limits refuse the whole archive, and nothing of it is left.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tl.data.images import IMAGE_SUFFIXES
from tl.datasets.naming import safe
from tl.errors import DataError, StorageError
from tl.service.membernames import folded, parts_of
from tl.service.members import GRACE, Limits, Member, damages, kind_of, read_tar, read_zip

_CHUNK = 1 << 20
_DEEPEST = 12
_PASSED_OVER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"})
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar"})


@dataclass(frozen=True)
class Unpacked:
    """What came out: how many images of how many bytes, and how many other members were left out, by reason."""

    images: int
    bytes: int
    left_out: dict[str, int]


def unpack(archive: Path, folder: Path, limits: Limits, stopped: Callable[[], bool] = lambda: False) -> Unpacked:
    """The images of an archive as `folder`, all of them or no folder at all; `stopped` is asked now and then.

    Raises DataError for an archive that is none, is damaged, or is refused; StorageError when the disk is full.
    """
    scratch = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        with archive.open("rb") as file:
            kind = kind_of(file)
            members = read_zip(file, limits) if kind == "zip" else read_tar(file, kind, limits)
            unpacking = _Unpacking(scratch, limits, archive.stat().st_size, stopped)
            unpacking.take(members)
        if not unpacking.images:
            raise DataError(f"the archive holds no images ({unpacking.why_none()}): put them into one folder a class")
        os.rename(scratch, folder)
    except OSError as error:
        raise StorageError(f"the archive cannot be unpacked ({(error.strerror or str(error)).lower()})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Unpacked(unpacking.images, unpacking.written, dict(unpacking.left_out.most_common()))


@dataclass
class _Unpacking:
    """An archive on its way into a folder."""

    scratch: Path
    limits: Limits
    packed: int
    stopped: Callable[[], bool]
    images: int = 0
    written: int = 0
    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    names: set[tuple[str, ...]] = field(default_factory=set)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.limits.seconds
        self._checked = 0

    def take(self, members: Iterable[Member]) -> None:
        for member in members:
            self.seen += 1
            if self.seen > self.limits.files:
                raise DataError(f"the archive holds more than {self.limits.files:,} files")
            self._in_time()
            parts = parts_of(member.name)
            if member.folder or not parts:
                continue
            reason = _why_left_out(parts)
            if reason:
                self.left_out[reason] += 1
                continue
            self._write(member, self._place(parts))

    def why_none(self) -> str:
        reasons = "; ".join(f"{count:,} × {reason}" for reason, count in self.left_out.most_common(3))
        return reasons or "it is empty"

    def _place(self, parts: tuple[str, ...]) -> Path:
        if parts in self.names:
            raise DataError(f"the archive holds {'/'.join(parts)!r} twice: leave one out")
        self.names.add(parts)
        if len(parts) > _DEEPEST:
            raise DataError(
                f"the archive has {len(parts)} folders in one another, more than {_DEEPEST}: lay it flatter"
            )
        plain = tuple(safe(part) for part in parts)
        for depth in range(1, len(plain)):
            self._same_folder(plain[:depth], parts[:depth])
        path, number = plain, 2
        while folded(path) in self.places:
            stem, suffix = os.path.splitext(plain[-1])
            path, number = (*plain[:-1], f"{stem}-{number}{suffix}"), number + 1
        self.places[folded(path)] = path
        return self.scratch.joinpath(*path)

    def _same_folder(self, plain: tuple[str, ...], given: tuple[str, ...]) -> None:
        """Classes are told apart by their folders, so that no two may become one, on this disk or another."""
        before = self.places.setdefault(folded(plain), given)
        if before != given:
            one, other = "/".join(before), "/".join(given)
            raise DataError(f"the archive holds {one!r} and {other!r}, which are one name on many disks: rename one")

    def _write(self, member: Member, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with path.open("xb") as target, damages(), member.open() as source:
            for chunk in _chunks(source):
                size += len(chunk)
                self._count(member, size, len(chunk))
                target.write(chunk)
        self.images += 1

    def _count(self, member: Member, size: int, more: int) -> None:
        self.written += more
        if size > self.limits.member:
            raise DataError(f"{member.name!r} in the archive is larger than {self.limits.member:,} bytes")
        if self.written > self.limits.unpacked:
            raise DataError(f"the archive unpacks to more than {self.limits.unpacked:,} bytes")
        if self.written > max(GRACE, self.limits.ratio * self.packed):
            raise DataError(f"the archive unpacks to more than {self.limits.ratio} times its size, as no photos do")
        if self.written - self._checked > 16 * _CHUNK or not self._checked:
            self._checked = self.written
            self._in_time()
            if shutil.disk_usage(self.scratch).free < self.limits.spare:
                raise StorageError("the disk is full: remove data sets or runs, or free space")

    def _in_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise DataError(f"the archive took longer to unpack than {self.limits.seconds:g} s")
        if self.stopped():
            raise DataError("the archive is no longer wanted")


def _why_left_out(parts: tuple[str, ...]) -> str:
    if any(part.startswith(".") or part.casefold() in _PASSED_OVER for part in parts):
        return "hidden"
    suffix = os.path.splitext(parts[-1])[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return ""
    return "an archive in the archive" if suffix in _ARCHIVES else "not an image"


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk
