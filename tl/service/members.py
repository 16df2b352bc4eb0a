"""An open zip or tar archive becomes its members, one after the other, in memory that no claim of it can fill."""

import bz2
import errno
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tl.errors import DataError
from tl.service.membernames import decoded, parts_of

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
