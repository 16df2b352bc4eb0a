"""Unpack an uploaded zip or tar archive of images, treating it as hostile.

Only images are written, under names that every file system accepts. An archive is refused as a whole, and nothing of
it is kept, if a name leads out of the folder, if it contains links or devices or two files of one name, or if a size
exceeds the limits.
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tl.data.dataset import clean
from tl.data.decoding import HEAD
from tl.data.listing import HELPER, HIDDEN, OWN, is_ignored, is_own_folder, why_no_image
from tl.data.write import safe_name
from tl.errors import DataError, StorageError
from tl.service.options import ArchiveLimits
from tl.text import size as size_text

_MAX_NAME = 1000  # characters
_MAX_DEPTH = 12  # folders
_CHUNK = 1 << 20
_TAR_HEADERS = 1 << 17  # bytes of headers before a member of a tar; names and times fill a few thousand
_XZ_MEMORY = 256 << 20
MIN_BOMB = 32 << 20
"""Bytes below which no archive counts as a bomb, whatever its ratio."""

_MAGIC = ((b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
_ZIP_ENTRY = b"PK\x01\x02"
_ZIP_UTF8, _ZIP_ENCRYPTED = 0x800, 0x1
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
# What the standard library raises for damaged archives.
_DAMAGE = (
    *(BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, OverflowError, RuntimeError, IndexError, KeyError, AttributeError, TypeError, MemoryError),
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `open` must be called before the next entry is requested."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Unpacked:
    """The number of images and their bytes, and the number of other members that were left out, by reason.

    `notes` say what was decided for the user.
    """

    images: int
    bytes: int
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()


def unpack(archive: Path, folder: Path, limits: ArchiveLimits, stopped: Callable[[], bool] = lambda: False) -> Unpacked:
    """Write the images of an archive to the new folder `folder`, all of them or none; `stopped` may end it early.

    Raises DataError for a file that is no archive, is damaged, or is refused; StorageError when the disk is full.
    """
    scratch = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        with archive.open("rb") as file:
            kind = kind_of(file)
            packed = archive.stat().st_size
            unpacker, notes = _Unpacker(scratch, limits, packed, stopped), list[str]()
            zipped = kind == "zip"
            unpacker.write(read_zip(file, limits, packed, notes) if zipped else read_tar(file, kind, limits, packed))
        if not unpacker.images:
            reasons = "; ".join(f"{count:,} × {reason}" for reason, count in unpacker.left_out.most_common(3))
            raise DataError(
                f"the archive has no images ({reasons or 'it is empty'}): put them into one folder per class"
            )
        os.rename(scratch, folder)
    except OSError as error:
        raise StorageError(f"the archive cannot be unpacked ({(error.strerror or str(error)).lower()})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Unpacked(unpacker.images, unpacker.written, dict(unpacker.left_out.most_common()), tuple(notes))


class _Unpacker:
    """Writes the images of an archive of `packed` bytes into `folder`, and counts."""

    def __init__(self, folder: Path, limits: ArchiveLimits, packed: int, stopped: Callable[[], bool]) -> None:
        self._folder, self._limits, self._packed, self._stopped = folder, limits, packed, stopped
        self._deadline = time.monotonic() + limits.seconds
        self._images: dict[tuple[str, ...], Path] = {}
        self._members: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)  # other files, by folder
        self._folders: dict[str, tuple[str, ...]] = {}  # as in the archive, by their folded name
        self._files: set[str] = set()
        self._checked = 0
        self.images = self.written = 0
        self.left_out: Counter[str] = Counter()

    def write(self, members: Iterable[Member]) -> None:
        for number, member in enumerate(members, 1):
            if number > self._limits.files:
                raise _too_many_files(self._limits)
            self._check_time()
            parts = member_parts(member.name)
            if member.is_folder or not parts:
                continue
            if reason := _why_left_out(parts) or self._write_file(member, parts):
                self.left_out[reason] += 1
                self._members[parts[:-1]].add(parts[-1])
        self._remove_own()

    def _remove_own(self) -> None:
        """Remove the pictures in the folders of runs and the like, which other members have shown to be such."""
        own = [folder for folder, names in self._members.items() if is_own_folder(names.__contains__)]
        for parts, path in self._images.items() if own else ():
            if any(parts[: len(folder)] == folder for folder in own):
                self.images, self.written = self.images - 1, self.written - path.stat().st_size
                self.left_out[OWN] += 1
                path.unlink()

    def _path(self, parts: tuple[str, ...]) -> Path:
        """Where to write a member: under a safe name that nothing else has."""
        if parts in self._images:
            raise DataError(f"the archive contains {'/'.join(parts)!r} twice: remove one")
        if len(parts) > _MAX_DEPTH:
            raise DataError(f"the archive has {len(parts)} nested folders, more than {_MAX_DEPTH}: use fewer levels")
        safe_parts = tuple(safe_name(part) for part in parts)
        for depth in range(1, len(parts)):  # folders are classes, so no two of them may become one on any disk
            folder = fold_name(safe_parts[:depth])
            other = self._folders.setdefault(folder, parts[:depth])
            if other != parts[:depth] or folder in self._files:
                one, two = "/".join(other), "/".join(parts[:depth])
                raise DataError(f"the archive contains {one!r} and {two!r}, one name on many disks: rename one")
        path, number = safe_parts, 2
        while (key := fold_name(path)) in self._files or key in self._folders:
            stem, suffix = os.path.splitext(safe_parts[-1])
            path, number = (*safe_parts[:-1], f"{stem}-{number}{suffix}"), number + 1
        self._files.add(key)
        return self._folder.joinpath(*path)

    def _write_file(self, member: Member, parts: tuple[str, ...]) -> str:
        """Write a member, unless it is no image. Returns why it is none."""
        with damage_as_data_error(), member.open() as source:
            head = source.read(HEAD)
            reason = why_no_image(parts[-1], head) if head else "empty file"
            if reason:
                return reason.partition(" (")[0]
            path = self._images[parts] = self._path(parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                for chunk in chain([head], iter(partial(source.read, _CHUNK), b"")):
                    self.written += len(chunk)
                    _check_member(member.name, target.tell() + len(chunk), self._limits)
                    _check_total(self.written, self._packed, self._limits)
                    self._check_disk()
                    target.write(chunk)
        self.images += 1
        return ""

    def _check_disk(self) -> None:
        if self.written - self._checked > 16 * _CHUNK or not self._checked:
            self._checked = self.written
            self._check_time()
            if shutil.disk_usage(self._folder).free < self._limits.spare:
                raise StorageError("the disk is full: remove data sets or runs, or free some space")

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise DataError(f"the archive took longer than {self._limits.seconds:g} s to unpack")
        if self._stopped():
            raise DataError("the upload was cancelled")


def _why_left_out(parts: tuple[str, ...]) -> str:
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    if any(map(is_ignored, parts)):
        return HELPER
    suffix = os.path.splitext(parts[-1])[1].lower()
    return "an archive in the archive" if suffix in _ARCHIVES else ""


def _check_member(name: str, size: int, limits: ArchiveLimits) -> None:
    if size > limits.member:
        raise DataError(f"{name!r} in the archive is larger than {size_text(limits.member)}")


def _check_total(size: int, packed: int, limits: ArchiveLimits) -> None:
    if size > limits.unpacked:
        raise DataError(f"the archive unpacks to more than {size_text(limits.unpacked)}")
    if size > max(MIN_BOMB, limits.ratio * packed):
        raise DataError(f"the archive unpacks to more than {limits.ratio} times its size, as no images do")


def _too_many_files(limits: ArchiveLimits) -> DataError:
    return DataError(f"the archive has more than {limits.files:,} files")


def member_parts(name: str) -> tuple[str, ...]:
    """The parts of a member's name, in one Unicode form; backslashes, which some Windows tools write, separate as well.

    Raises DataError for a name that leads out of the folder, is absolute, too long, or impossible.
    """
    shown = name[:80].encode("utf-8", "backslashreplace").decode()
    if len(name) > _MAX_NAME or _CONTROL.search(name):
        raise DataError(f"the archive contains an impossible name, {shown!r}; nothing was unpacked")
    path = name.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in (part.strip() for part in parts):
        raise DataError(f"the archive contains {shown!r}, which leads out of its folder; nothing was unpacked")
    return tuple(clean(part) for part in parts if part not in ("", "."))


def fold_name(parts: tuple[str, ...]) -> str:
    """A key that is equal for names that are one name on a disk that ignores case or Unicode form."""
    return unicodedata.normalize("NFKC", "/".join(parts)).casefold()


# Encodings of file names by system, and the characters that names in them consist of.
_ENCODINGS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "cp949": ("Korean", lambda letter: "\uac00" <= letter <= "\ud7a3" and _is_in(letter, "euc_kr")),
    "cp932": ("Japanese", lambda letter: "\u3041" <= letter <= "\u30fc" or _is_in(letter, "cp932", b"\x88", b"\x98")),
    "cp936": ("Chinese", lambda letter: _is_in(letter, "gb2312", b"\xb0", b"\xd8")),
    "cp850": ("Western European", str.isalpha),
    "cp437": ("Western European", str.isalpha),
    "cp1252": ("Western European", str.isalpha),
    "cp866": ("Cyrillic", str.isalpha),
    "cp1251": ("Cyrillic", str.isalpha),
}
_MOST_NAMES = 500  # that are read to tell the encoding of all
_USUAL = frozenset("äöüßéèêàâáíóúñçåøæÄÖÜÉÅØ")  # of the accented letters that Western European encodings put elsewhere


def guess_encoding(names: list[bytes]) -> str:
    """The encoding of names that do not state it: UTF-8, or that in which all of them look most like words.

    With nothing to go by it is CP437, the standard of zip.
    """
    parts = list(dict.fromkeys(part for name in names for part in name.split(b"/") if not part.isascii()))
    text = b"/".join(parts)
    if not parts or _decoded(text, "utf-8"):
        return "utf-8" if parts else "cp437"
    sample = b"/".join(parts[:_MOST_NAMES])
    scores = {name: _plausibility(_decoded(sample, name), name) for name in _ENCODINGS if _decoded(text, name)}
    best = max(scores, key=lambda name: scores[name], default="cp437")  # the first of equals
    return best if scores.get(best) else "cp437"


def _decoded(content: bytes, encoding: str) -> str:
    """A text in an encoding, "" where it is none."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _plausibility(text: str, encoding: str) -> float:
    """How many of the characters beyond ASCII are likely in a name, from 0 to 1."""
    is_usual = _ENCODINGS[encoding][1]
    scores = [
        _fit(before, letter, after) * (0.9 + 0.1 * (letter in _USUAL)) if is_usual(letter) else 0.1 * letter.isalpha()
        for before, letter, after in zip("/" + text, text, text[1:] + "/", strict=False)
        if not letter.isascii()
    ]
    return sum(scores) / max(1, len(scores))


def _fit(before: str, letter: str, after: str) -> float:
    """How well a letter fits between its neighbours: alphabets do not mix in a word, nor do capitals follow others."""
    around = [other for other in (before, after) if other.isalpha()]
    if letter >= "\u3000":
        return 0.6 if any(other.isascii() for other in around) else 1.0
    if "\u0400" <= letter <= "\u04ff":
        return 0.1 if any(not "\u0400" <= other <= "\u04ff" for other in around) else 0.95 if around else 0.7
    if (letter.isupper() and before.islower()) or (letter.islower() and after.isupper()) or letter >= "\u0250":
        return 0.1
    return 0.95 if any(other.isascii() for other in around) else 0.7


def _is_in(letter: str, encoding: str, first: bytes = b"\xa1", end: bytes = b"\xff") -> bool:
    encoded = letter.encode(encoding, "replace")
    return len(encoded) == 2 and first <= encoded[:1] < end


def kind_of(file: IO[bytes]) -> str:
    """The kind of an archive by its first bytes: zip, tar, gz, bz2 or xz. Raises DataError for anything else."""
    head = file.read(512)
    file.seek(0)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    raise DataError("this is not an archive: pack the folder as .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz")


@contextmanager
def damage_as_data_error() -> Iterator[None]:
    """Raise what reading a damaged archive raises as a DataError."""
    try:
        yield
    except (OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek before the start
            raise  # the disk's fault, not the archive's
        reason = str(error)[:100] or type(error).__name__
        raise DataError(f"the archive is damaged ({reason}): pack it again") from error


def read_zip(file: IO[bytes], limits: ArchiveLimits, packed: int, notes: list[str]) -> Iterator[Member]:
    """The members of a zip of `packed` bytes; everything that its directory claims is checked before the first one.

    What was decided about their names is added to `notes`.
    Raises DataError for what is damaged, encrypted, a link, or beyond the limits.
    """
    with damage_as_data_error(), ZipFile(_BoundedDirectory(file, limits)) as archive:
        infos = archive.infolist()
        # Python reads names without the UTF-8 flag as CP437, whatever they are.
        raw = {
            at: info.orig_filename.encode("cp437") for at, info in enumerate(infos) if not info.flag_bits & _ZIP_UTF8
        }
        encoding = guess_encoding(list(raw.values()))
        if encoding != "utf-8" and not all(name.isascii() for name in raw.values()):
            kind = _ENCODINGS[encoding][0]
            notes.append(f"file names are read as {kind} ({encoding}): if they look wrong, pack them as UTF-8")
        names = [raw[at].decode(encoding) if at in raw else info.orig_filename for at, info in enumerate(infos)]
        _check_directory(infos, names, limits, packed=packed)
        for info, name in zip(infos, names, strict=True):
            yield Member(name, info.is_dir() or name.endswith("\\"), partial(archive.open, info))


class _BoundedDirectory:
    """A zip file whose directory is refused while it is read, before objects are made of too many entries."""

    def __init__(self, file: IO[bytes], limits: ArchiveLimits) -> None:
        self._file, self._limits = file, limits
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > 400 * self._limits.files + (1 << 20):
            raise _too_many_files(self._limits)
        content = self._file.read(size)
        if content.startswith(_ZIP_ENTRY) and content.count(_ZIP_ENTRY) > self._limits.files:
            raise _too_many_files(self._limits)
        return content


def _check_directory(infos: list[ZipInfo], names: list[str], limits: ArchiveLimits, *, packed: int) -> None:
    if len(infos) > limits.files:
        raise _too_many_files(limits)
    for info, name in zip(infos, names, strict=True):
        member_parts(name)
        file_type = info.external_attr >> 28  # of the Unix mode
        if info.create_system == 3 and file_type not in (0, 0o4, 0o10):
            raise DataError(f"the archive contains {name!r}, a link or a device: only files are allowed")
        if info.flag_bits & _ZIP_ENCRYPTED:
            raise DataError("the archive is encrypted: pack it without a password")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2):
            raise DataError(f"{name!r} is compressed in an unsupported way: use deflate, or .tar.gz")
        _check_member(name, info.file_size, limits)
    _check_total(sum(info.file_size for info in infos), packed, limits)


def read_tar(file: IO[bytes], kind: str, limits: ArchiveLimits, packed: int) -> Iterator[Member]:
    """The members of a tar of `packed` bytes, as they are read; `kind` as from `kind_of`.

    Raises DataError for what is damaged, a link, a device, or beyond the limits.
    """
    with damage_as_data_error():
        bounded = _BoundedTar(_decompressed(file, kind), limits, packed=packed)
        with tarfile.open(fileobj=bounded, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
            bounded.allow(0)
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # tarfile would keep them all
                raw = member.name.encode("utf-8", "surrogateescape")
                name = raw.decode(guess_encoding([raw]))
                member_parts(name)
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise DataError(f"the archive contains {name!r}, a link or a device: only files are allowed")
                _check_member(name, member.size, limits)
                if len(archive.pax_headers) > 100:
                    raise DataError("the archive has more than 100 global headers")
                bounded.allow(member.size)
                yield Member(name, member.isdir(), partial(archive.extractfile, member))  # type: ignore[arg-type]


class _BoundedTar(io.RawIOBase):
    """The bytes of a tar of `packed` bytes, no more than were allowed or than it may unpack to."""

    def __init__(self, source: IO[bytes], limits: ArchiveLimits, *, packed: int) -> None:
        self._source, self._limits, self._read = source, limits, 0
        self._most = min(limits.unpacked + 1024 * limits.files, max(MIN_BOMB, limits.ratio * packed))
        self._allowed = 2 * _TAR_HEADERS

    def allow(self, size: int) -> None:
        """Allow reading up to the end of a member of `size` bytes, and the headers of the next."""
        self._allowed = self._read + size + _TAR_HEADERS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self._read += len(content)
        if self._read > self._most:
            most = f"{size_text(self._limits.unpacked)} or {self._limits.ratio} times its size"
            raise DataError(f"the archive unpacks to more than {most}")
        if self._read > self._allowed:
            raise DataError(f"the archive has a header larger than {size_text(_TAR_HEADERS)}")
        return content


class _XzReader(io.RawIOBase):
    """Decompresses xz in bounded memory, whatever dictionary size the file asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decompressor = file, lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(1 << 16).lstrip(b"\0")
                if not rest:
                    return 0
                self._decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            else:
                rest = self._file.read(1 << 16) if self._decompressor.needs_input else b""
                if not rest and self._decompressor.needs_input:
                    raise EOFError("it ends too early")
            content = self._decompressor.decompress(rest, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


def _decompressed(file: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gz":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if kind == "bz2":
        return bz2.BZ2File(file)
    return io.BufferedReader(_XzReader(file)) if kind == "xz" else file
