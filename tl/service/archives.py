"""A zip or tar archive of photos becomes a folder of them; the archive is hostile until proven otherwise.

Only images are taken, under names that no file system minds. What tries to leave the folder, links, devices, two files
of one name, or sizes beyond the limits refuse the whole archive, and nothing of it is left.
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import tarfile
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tl.data.dataset import clean
from tl.data.images import IMAGE_SUFFIXES
from tl.data.write import safe
from tl.errors import DataError, StorageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 1000  # characters


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a member's name, in one Unicode form; backslashes separate as well, as some of Windows write them.

    Raises DataError for a name that leads out of the folder, is absolute, too long, or cannot be a name.
    """
    shown = name[:80].encode("utf-8", "backslashreplace").decode()
    if len(name) > _LONGEST or _CONTROL.search(name):
        raise DataError(f"the archive holds a name that cannot be one, {shown!r}: nothing of it was taken")
    path = name.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in (part.strip() for part in parts):
        raise DataError(f"the archive holds {shown!r}, which leads out of its folder: nothing of it was taken")
    return tuple(clean(part) for part in parts if part not in ("", "."))


def folded(parts: tuple[str, ...]) -> str:
    """What two names have in common that are one on a disk that ignores case or Unicode form."""
    return unicodedata.normalize("NFKC", "/".join(parts)).casefold()


def decoded(names: list[bytes]) -> str:
    """The encoding of names that do not say it: UTF-8, CP949 as Korean Windows has it, or CP437 as zip has."""
    for encoding in ("utf-8", "cp949"):
        try:
            for name in names:
                name.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "cp437"


_HEADERS = 1 << 17  # bytes of headers before a member of a tar: names and times fill a few thousand
_ENTRY = b"PK\x01\x02"
_UTF8, _ENCRYPTED = 0x800, 0x1
_XZ_MEMORY = 256 << 20
GRACE = 32 << 20
"""Bytes that no archive is called a bomb for."""

_MAGIC = ((b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
# What the readers of Python's library raise for archives that are not what they seem.
_DAMAGES = (
    *(BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, OverflowError, RuntimeError, IndexError, KeyError, AttributeError, TypeError, MemoryError),
)


@dataclass(frozen=True)
class Limits:
    """What an archive may come to: `files` in it, bytes `unpacked` and of one `member`, how many times its own size
    (`ratio`), `seconds` to unpack it, and bytes of the disk to `spare`.
    """

    files: int = 200_000
    unpacked: int = 50 * 10**9
    member: int = 200 * 10**6
    ratio: int = 200
    seconds: float = 3600.0
    spare: int = 10**9


@dataclass(frozen=True)
class Member:
    """One entry: its name, whether it is a folder, and how to read it before the next one is asked for."""

    name: str
    folder: bool
    open: Callable[[], IO[bytes]]


def kind_of(file: IO[bytes]) -> str:
    """What an archive is by its first bytes: zip, tar, gz, bz2 or xz. Raises DataError for anything else."""
    head = file.read(512)
    file.seek(0)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    raise DataError(
        "this is neither a zip nor a tar archive (.tar, .tar.gz, .tar.bz2, .tar.xz): pack the folder as one"
    )


def read_zip(file: IO[bytes], limits: Limits) -> Iterator[Member]:
    """The members of a zip; all that its directory claims is checked before the first.

    Raises DataError for what is damaged, encrypted, a link, or claims more than the limits.
    """
    with damages(), ZipFile(_Directory(file, limits)) as archive:
        infos = archive.infolist()
        names = _names(infos)
        _check(infos, names, limits, _size(file))
        for info, name in zip(infos, names, strict=True):
            yield Member(name, info.is_dir() or name.endswith("\\"), partial(archive.open, info))


def read_tar(file: IO[bytes], kind: str, limits: Limits) -> Iterator[Member]:
    """The members of a tar, unpacked as they come; `kind` as `kind_of` tells it.

    Raises DataError for what is damaged, a link, a device, or more than the limits.
    """
    with damages():
        bounded = _Bounded(_unpacked(file, kind), limits, _size(file))
        with tarfile.open(fileobj=bounded, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
            bounded.allow(0)
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # it would keep them all
                name = _tar_name(member.name)
                parts_of(name)
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise DataError(
                        f"the archive holds {name!r}, which is a {_sort(member)}: only files and folders are taken"
                    )
                if member.size > limits.member:
                    raise DataError(f"{name!r} in the archive is larger than {limits.member:,} bytes")
                if len(archive.pax_headers) > 100:
                    raise DataError("the archive says more about itself than any does")
                bounded.allow(member.size)
                yield Member(name, member.isdir(), partial(_content, archive, member))


@contextmanager
def damages() -> Iterator[None]:
    """What reading a broken archive raises, as a DataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: of a place before the beginning
            raise  # the disk's, not the archive's
        raise DataError(f"the archive is damaged ({str(error)[:100]}): pack it anew") from error
    except _DAMAGES as error:
        raise DataError(f"the archive is damaged ({str(error)[:100] or type(error).__name__}): pack it anew") from error


class _Directory:
    """A zip whose directory is refused before its entries are made into objects, where there are too many."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > 400 * self._limits.files + (1 << 20):
            raise DataError(f"the archive holds more than {self._limits.files:,} files, or says too much of them")
        content = self._file.read(size)
        if content.startswith(_ENTRY) and content.count(_ENTRY) > self._limits.files:
            raise DataError(f"the archive holds more than {self._limits.files:,} files")
        return content


class _Bounded(io.RawIOBase):
    """The bytes of a tar, no more of them than were allowed, or than so large an archive may unpack to."""

    def __init__(self, source: IO[bytes], limits: Limits, packed: int) -> None:
        self._source, self._read = source, 0
        self._most = min(limits.unpacked + 1024 * limits.files, max(GRACE, limits.ratio * packed))
        self._limits = limits
        self._allowed = 2 * _HEADERS

    def allow(self, size: int) -> None:
        """Up to the end of a member of `size` bytes, and the headers of the next."""
        self._allowed = self._read + size + _HEADERS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self._read += len(content)
        if self._read > self._most:
            most = f"{self._limits.unpacked:,} bytes or {self._limits.ratio} times its size"
            raise DataError(f"the archive unpacks to more than {most}")
        if self._read > self._allowed:
            raise DataError("the archive has a header larger than any needs")
        return content


class _Xz(io.RawIOBase):
    """What was packed by xz, in bounded memory whatever size of dictionary it asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._reader = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._reader.eof:
                rest = self._reader.unused_data.lstrip(b"\0") or self._file.read(1 << 16).lstrip(b"\0")
                if not rest:
                    return 0
                self._begin()
            else:
                rest = self._file.read(1 << 16) if self._reader.needs_input else b""
                if not rest and self._reader.needs_input:
                    raise EOFError("it ends too early")
            content = self._reader.decompress(rest, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


def _unpacked(file: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gz":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if kind == "bz2":
        return bz2.BZ2File(file)
    return io.BufferedReader(_Xz(file)) if kind == "xz" else file


def _check(infos: list[ZipInfo], names: list[str], limits: Limits, packed: int) -> None:
    if len(infos) > limits.files:
        raise DataError(f"the archive holds more than {limits.files:,} files")
    for info, name in zip(infos, names, strict=True):
        parts_of(name)
        sort = info.external_attr >> 28  # of what Unix calls a mode
        if info.create_system == 3 and sort not in (0, 0o4, 0o10):
            raise DataError(f"the archive holds {name!r}, which is a link or a device: only files are taken")
        if info.flag_bits & _ENCRYPTED:
            raise DataError("the archive is encrypted: pack it without a password")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2):
            raise DataError(f"{name!r} is packed in a way that is not taken: use deflate, or .tar.gz")
        if info.file_size > limits.member:
            raise DataError(f"{name!r} in the archive is larger than {limits.member:,} bytes")
    whole = sum(info.file_size for info in infos)
    if whole > limits.unpacked:
        raise DataError(f"the archive unpacks to more than {limits.unpacked:,} bytes")
    if whole > max(GRACE, limits.ratio * packed):
        raise DataError(f"the archive unpacks to more than {limits.ratio} times its size, as no photos do")


def _names(infos: list[ZipInfo]) -> list[str]:
    """Names as they were meant: those without the flag for UTF-8 were read as CP437, whatever they are."""
    bare = {at: info.orig_filename.encode("cp437") for at, info in enumerate(infos) if not info.flag_bits & _UTF8}
    encoding = decoded(list(bare.values()))
    return [bare[at].decode(encoding) if at in bare else info.orig_filename for at, info in enumerate(infos)]


def _tar_name(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    return raw.decode(decoded([raw]))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    return content if content is not None else io.BytesIO()


def _sort(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "link"
    return "device" if member.isdev() else "special file"


def _size(file: IO[bytes]) -> int:
    at = file.seek(0, io.SEEK_END)
    file.seek(0)
    return at


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
