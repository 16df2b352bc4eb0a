"""Hostile archives, and damaged files."""

import bz2
import gzip
import io
import lzma
import random
import stat
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
    path.write_bytes(path.read_bytes().replace(b"cat/8.png", b"cat/9.png"))
    return path


def _zip_of(name: str) -> Callable[[Path], Path]:
    return lambda path: zipped(path, GOOD | {name: PNG})


def _tar_of(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with tarfile.open(tarred(path, GOOD), "a") as archive:
            archive.addfile(entry(name, b"", kind, link))
        return path

    return make


def _zip_bomb(path: Path) -> Path:
    return zipped(path, GOOD | {f"cat/b{at}.png": bytes(10_000_000) for at in range(10)})


def _zip_lies(path: Path) -> Path:
    """A directory that calls a large member small."""
    content = zipped(path, GOOD | {"cat/big.png": bytes(40_000_000)}).read_bytes()
    path.write_bytes(content.replace((40_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    return path


def _zip_overlap(path: Path) -> Path:
    """A thousand entries over the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = bytes(1_000_000)
    packed = packer.compress(kernel) + packer.flush()
    local = b"PK\3\4" + _header(kernel, packed) + b"1.png" + packed
    entries = b"".join(
        b"PK\1\2\x14\0" + _header(kernel, packed) + bytes(10) + (0).to_bytes(4, "little") + b"1.png"
        for _ in range(1000)
    )
    end = b"PK\5\6" + bytes(4) + 2 * (1000).to_bytes(2, "little")
    end += len(entries).to_bytes(4, "little") + len(local).to_bytes(4, "little") + bytes(2)
    path.write_bytes(local + entries + end)
    return path


def _header(content: bytes, packed: bytes) -> bytes:
    sizes = b"".join(n.to_bytes(4, "little") for n in (zlib.crc32(content), len(packed), len(content)))
    return b"\x14\0\0\0\x08\0\0\0\0\0" + sizes + (5).to_bytes(2, "little") + bytes(2)


def _zip_many(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for at in range(3000):
            archive.writestr(f"cat/{at}.png", b"")
    return path


def _encrypted(path: Path) -> Path:
    content = bytearray(zipped(path, GOOD).read_bytes())
    at = content.index(b"PK\1\2")
    while at >= 0:
        content[at + 8] |= 1
        at = content.find(b"PK\1\2", at + 4)
    path.write_bytes(content)
    return path


def _tar_long_name(path: Path) -> Path:
    """A name of 50 MB, in a header that is all of the archive."""
    info = entry("././@LongLink", b"", tarfile.GNUTYPE_LONGNAME)
    info.size = 50_000_000
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 50_000_000, 1))
    return path


def _tar_chain(path: Path) -> Path:
    """Headers that announce headers."""
    info = entry("././@LongLink", b"x" * 10, tarfile.GNUTYPE_LONGNAME)
    path.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"x" * 10 + bytes(502)) * 3000)
    return path


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
    at = 12 + 2
    while content[at : at + 2] != b"\x21\x01":
        at += 1
    content[at + 2] = 39  # 3 GiB
    size = (content[12] + 1) * 4
    content[12 + size - 4 : 12 + size] = zlib.crc32(bytes(content[12 : 12 + size - 4])).to_bytes(4, "little")
    path.write_bytes(content)
    return path


def _cut(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def cut(path: Path) -> Path:
        content = make(path).read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
        return path

    return cut


def _written(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


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
    "zip bomb": _zip_bomb,
    "zip that lies about a size": _zip_lies,
    "zip of entries over one another": _zip_overlap,
    "zip of too many": _zip_many,
    "zip encrypted": _encrypted,
    "zip lzma": lambda path: zipped(path, GOOD, zipfile.ZIP_LZMA),
    "zip of a large member": lambda path: zipped(path, GOOD | {"cat/3.png": bytes(60_000_000)}),
    "zip of nothing": lambda path: zipped(path, {}),
    "zip of archives": lambda path: zipped(path, {"a.zip": zipped(path, GOOD).read_bytes(), "b.tar.gz": b"x"}),
    "zip cut": _cut(lambda path: zipped(path, GOOD)),
    "tar up": _tar_of("../outside.png"),
    "tar absolute": _tar_of("/tmp/outside.png"),  # noqa: S108
    "tar link": _tar_of("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"),
    "tar link to a folder": _tar_of("cat/deep", tarfile.SYMTYPE, "/tmp"),  # noqa: S108
    "tar hard link": _tar_of("cat/hard.png", tarfile.LNKTYPE, "/etc/passwd"),
    "tar device": _tar_of("cat/device.png", tarfile.CHRTYPE),
    "tar block device": _tar_of("cat/device.png", tarfile.BLKTYPE),
    "tar pipe": _tar_of("cat/pipe.png", tarfile.FIFOTYPE),
    "tar of a long name": _tar_long_name,
    "tar of headers of headers": _tar_chain,
    "tar sparse": _tar_sparse,
    "tar sparse a little": lambda path: _tar_sparse(path, 1000),
    "tar sparse map": _tar_sparse_map,
    "tar cut": _cut(lambda path: tarred(path, {"cat/1.png": bytes(range(256)) * 100})),
    "tar.gz bomb": lambda path: tarred(path, {"cat/1.png": bytes(45_000_000), "cat/2.png": bytes(45_000_000)}, "w:gz"),
    "tar.bz2 bomb": _written(bz2.compress(bytes(45_000_000), 9)),
    "tar.xz dictionary": _xz_dictionary,
    "gz of no tar": _written(gzip.compress(b"hello" * 1000)),
    "gz cut": _cut(lambda path: tarred(path, {"cat/1.png": bytes(range(256)) * 100}, "w:gz")),
    "text": _written(b"hello"),
    "nothing": _written(b""),
    "zip's end alone": _written(b"PK\5\6" + bytes(18)),
    "zip's beginning alone": _written(b"PK\3\4" + bytes(300)),
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
