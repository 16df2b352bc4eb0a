"""Hostile archives, and damaged files."""

import bz2
import gzip
import io
import lzma
import random
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)
GOOD = {"cat/1.png": PNG, "cat/2.png": PNG, "dog/1.png": PNG, "dog/2.png": PNG}


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w", **options: object) -> Path:
    with tarfile.open(path, mode, **options) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.addfile(entry(name, content), io.BytesIO(content))
    return path


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info


def _zip_link(path: Path) -> Path:
    with zipfile.ZipFile(zipped(path, GOOD), "a") as archive:
        info = zipfile.ZipInfo("cat/link.png")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def _zip_twice(path: Path) -> Path:
    with zipfile.ZipFile(zipped(path, GOOD), "a") as archive:
        archive.writestr("cat/9.png", PNG)
        archive.writestr("cat/8.png", b"other")
    return _write(path, path.read_bytes().replace(b"cat/8.png", b"cat/9.png"))


def _zip_of(name: str) -> Callable[[Path], Path]:
    return lambda path: zipped(path, GOOD | {name: PNG})


def _tar_of(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with tarfile.open(tarred(path, GOOD), "a") as archive:
            archive.addfile(entry(name, b"", kind, link))
        return path

    return make


def _zip_lies(path: Path) -> Path:
    """A directory that calls a large member small."""
    content = zipped(path, GOOD | {"cat/big.png": bytes(40_000_000)}).read_bytes()
    return _write(path, content.replace((40_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))


def _zip_overlap(path: Path) -> Path:
    """A thousand entries over the same bytes."""
    content = zipped(path, {"1.png": bytes(1_000_000)}).read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entries = content[start:end] * 1000
    sizes = struct.pack("<4xHHII2x", 1000, 1000, len(entries), start)
    return _write(path, content[:start] + entries + b"PK\5\6" + sizes)


def _encrypted(path: Path) -> Path:
    content = zipped(path, GOOD).read_bytes()
    return _write(path, re.sub(b"(?<=PK\x01\x02.{4})\0", lambda _: b"\1", content, flags=re.DOTALL))


def _tar_long_name(path: Path) -> Path:
    """A name of 50 MB, in a header that is all of the archive."""
    info = entry("././@LongLink", b"", tarfile.GNUTYPE_LONGNAME)
    info.size = 50_000_000
    return _write(path, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 50_000_000, 1))


def _tar_chain(path: Path) -> Path:
    """Headers that announce headers."""
    info = entry("././@LongLink", b"x" * 10, tarfile.GNUTYPE_LONGNAME)
    return _write(path, (info.tobuf(tarfile.GNU_FORMAT) + b"x" * 10 + bytes(502)) * 3000)


def _tar_sparse(path: Path, size: int = 10**12) -> Path:
    """A file of a terabyte that is all holes."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = entry("cat/1.png")
        info.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.map": "0,0", "GNU.sparse.numblocks": "1"}
        archive.addfile(info)
    return path


def _tar_sparse_map(path: Path) -> Path:
    """A sparse map of millions of lines, in the content of the member."""
    lines = b"100000000\n" + b"1\n" * 10_000_000
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        info = entry("cat/1.png", lines)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "cat/1.png"}
        archive.addfile(info, io.BytesIO(lines))
    return path


def _xz_dictionary(path: Path) -> Path:
    """A dictionary of 1.5 GB for a few bytes."""
    tar = tarred(path, GOOD).read_bytes()
    content = bytearray(lzma.compress(tar, lzma.FORMAT_XZ, lzma.CHECK_NONE))
    at = content.index(b"\x21\x01", 12 + 2)
    content[at + 2] = 39  # 3 GiB
    size = (content[12] + 1) * 4
    content[12 + size - 4 : 12 + size] = zlib.crc32(bytes(content[12 : 12 + size - 4])).to_bytes(4, "little")
    return _write(path, content)


def _cut(archive: Path) -> Path:
    content = archive.read_bytes()
    return _write(archive, content[: len(content) * 2 // 3])


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


ATTACKS: dict[str, Callable[[Path], Path]] = {
    "zip up": _zip_of("../../outside.png"),
    "zip up by backslash": _zip_of("cat\\..\\..\\outside.png"),
    "zip absolute": _zip_of("/tmp/outside.png"),  # noqa: S108
    "zip drive": _zip_of("C:\\outside.png"),
    "zip control letters": _zip_of("cat/a\nb.png"),
    "zip long name": _zip_of("cat/" + "a" * 3000 + ".png"),
    "zip deep": _zip_of("a/" * 40 + "1.png"),
    "zip link": _zip_link,
    "zip same name": _zip_twice,
    "zip same folder but for case": _zip_of("CAT/7.png"),
    "zip bomb": lambda path: zipped(path, {f"cat/b{at}.png": bytes(10_000_000) for at in range(10)}),
    "zip that lies about a size": _zip_lies,
    "zip of entries over one another": _zip_overlap,
    "zip of too many": lambda path: zipped(path, {f"cat/{at}.png": b"" for at in range(3000)}),
    "zip encrypted": _encrypted,
    "zip lzma": lambda path: zipped(path, GOOD, zipfile.ZIP_LZMA),
    "zip of a large member": lambda path: zipped(path, GOOD | {"cat/3.png": bytes(60_000_000)}),
    "zip of nothing": lambda path: zipped(path, {}),
    "zip of archives": lambda path: zipped(path, {"a.zip": zipped(path, GOOD).read_bytes(), "b.tar.gz": b"x"}),
    "zip cut": lambda path: _cut(zipped(path, GOOD)),
    "tar up": _tar_of("../outside.png"),
    "tar absolute": _tar_of("/tmp/outside.png"),  # noqa: S108
    "tar link": _tar_of("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"),
    "tar link to a folder": _tar_of("cat/deep", tarfile.SYMTYPE, "/tmp"),  # noqa: S108
    "tar hard link": _tar_of("cat/hard.png", tarfile.LNKTYPE, "/etc/passwd"),
    "tar device": _tar_of("cat/device.png", tarfile.CHRTYPE),
    "tar pipe": _tar_of("cat/pipe.png", tarfile.FIFOTYPE),
    "tar of a long name": _tar_long_name,
    "tar of headers of headers": _tar_chain,
    "tar sparse": _tar_sparse,
    "tar sparse a little": lambda path: _tar_sparse(path, 1000),
    "tar sparse map": _tar_sparse_map,
    "tar cut": lambda path: _cut(tarred(path, {"cat/1.png": bytes(range(256)) * 100})),
    "tar.gz bomb": lambda path: tarred(path, {"cat/1.png": bytes(45_000_000), "cat/2.png": bytes(45_000_000)}, "w:gz"),
    "tar.bz2 bomb": lambda path: _write(path, bz2.compress(bytes(45_000_000), 9)),
    "tar.xz dictionary": _xz_dictionary,
    "gz of no tar": lambda path: _write(path, gzip.compress(b"hello" * 1000)),
    "gz cut": lambda path: _cut(tarred(path, {"cat/1.png": bytes(range(256)) * 100}, "w:gz")),
    "text": lambda path: _write(path, b"hello"),
    "nothing": lambda path: _write(path, b""),
    "zip's end alone": lambda path: _write(path, b"PK\5\6" + bytes(18)),
    "zip's beginning alone": lambda path: _write(path, b"PK\3\4" + bytes(300)),
}


def mutated(content: bytes, draw: random.Random, most: int | None = None) -> bytes:
    """The content with a few bytes flipped, removed, doubled, cut off or set to extremes, among the first `most`."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(min(len(changed), most or max(64, len(changed))) or 1)
        kind = draw.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif kind == 2:
            del changed[at : at + draw.randint(1, 40)]
        elif kind == 3:
            changed[at:at] = changed[at : at + draw.randint(1, 40)]
        elif draw.random() < 0.3:
            del changed[at:]
        changed = changed or bytearray(b"\0")
    return bytes(changed)
