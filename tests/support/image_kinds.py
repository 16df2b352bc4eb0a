"""Image files of unusual kinds: TIFFs, PNGs of 16 bits, colour profiles, drawings and animations."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(width: int = 40, height: int = 30) -> np.ndarray:
    """A soft picture whose mirror images and other orders of its colours are different ones."""
    y, x = np.mgrid[:height, :width]
    planes = (x / (width - 1), y / (height - 1), (x * y) / ((width - 1) * (height - 1)) * 0.8)
    return np.stack([(255 * plane).round().astype(np.uint8) for plane in planes], axis=2)


def grey_picture() -> np.ndarray:
    return picture()[..., 0]


def tiff(
    samples: np.ndarray,
    *,
    photometric: int | None = None,
    planar: bool = False,
    compression: int = 1,
    predictor: int = 1,
    rows: int = 7,
    tile: int = 0,
    order: str = "<",
    tags: Sequence[tuple[int, str, tuple[int, ...]]] = (),
    bits: int = 0,
    lost: int = 0,
) -> bytes:
    """A TIFF of samples `[height, width, bands]` or `[height, width]`, of any type, in strips or square tiles.

    Compression 1 is none, 8 is deflate; `bits` of 12 packs the samples, of which the last `lost` bytes are missing.
    """
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, bands = samples.shape
    samples = samples.astype(samples.dtype.newbyteorder(order))
    planes = [samples[..., at : at + 1] for at in range(bands)] if planar else [samples]
    cells = [cell for plane in planes for cell in _cells(plane, rows, tile)]
    data = [_packed(_predicted(cell, predictor, order), bits) for cell in cells]
    data = [zlib.compress(cell) if compression == 8 else cell for cell in data]
    offsets, counts = [8], [len(cell) for cell in data]
    for count in counts[:-1]:
        offsets.append(offsets[-1] + count)
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    places = [(324, "I", offsets), (325, "I", counts), (322, "H", [tile]), (323, "H", [tile])]
    if not tile:
        places = [(273, "I", offsets), (279, "I", counts), (278, "H", [rows])]
    entries = [
        *((256, "H", [width]), (257, "H", [height]), (258, "H", [bits or 8 * samples.dtype.itemsize] * bands)),
        *((259, "H", [compression]), (262, "H", [(2 if bands == 3 else 1) if photometric is None else photometric])),
        *((277, "H", [bands]), (284, "H", [2 if planar else 1]), (317, "H", [predictor]), (339, "H", [kind] * bands)),
        *places,
        *tags,
    ]
    body = b"".join(data)
    body = body[: len(body) - lost]
    body += b"\0" * (len(body) % 2)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return start + body + _directory(entries, 8 + len(body), order)


def _cells(plane: np.ndarray, rows: int, tile: int) -> list[np.ndarray]:
    if not tile:
        return [plane[at : at + rows] for at in range(0, len(plane), rows)]
    across, down = -(-plane.shape[1] // tile), -(-plane.shape[0] // tile)
    padding = (0, down * tile - plane.shape[0]), (0, across * tile - plane.shape[1]), (0, 0)
    padded = np.pad(plane, padding).astype(plane.dtype)
    return [padded[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] for y in range(down) for x in range(across)]


def _predicted(cell: np.ndarray, predictor: int, order: str) -> np.ndarray:
    if predictor == 2:
        return np.diff(cell, axis=1, prepend=np.zeros_like(cell[:, :1])).astype(cell.dtype)
    if predictor == 3:
        size, bands = cell.dtype.itemsize, cell.shape[2]
        big = np.ascontiguousarray(cell.astype(cell.dtype.newbyteorder(">"))).view(np.uint8)
        split = big.reshape(len(cell), -1, size).swapaxes(1, 2).reshape(len(cell), -1, bands)
        return np.diff(split, axis=1, prepend=np.zeros_like(split[:, :1]))
    return cell


def _packed(cell: np.ndarray, bits: int) -> bytes:
    if not bits:
        return cell.tobytes()
    flat = cell.reshape(len(cell), -1).astype(np.uint16)
    each = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(cell), -1).astype(np.uint8), axis=1).tobytes()


def _directory(entries: Sequence[tuple[int, str, Sequence[int]]], start: int, order: str) -> bytes:
    entries = sorted(entries)
    place, head, more = start + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, values in entries:
        packed = struct.pack(order + kind * len(values), *values)
        if len(packed) > 4:
            packed, more = struct.pack(order + "I", place + len(more)), more + packed + b"\0" * (len(packed) % 2)
        head += struct.pack(order + "HHI", tag, {"H": 3, "I": 4, "B": 7}[kind], len(values)) + packed.ljust(4, b"\0")
    return struct.pack(order + "H", len(entries)) + head + bytes(4) + more


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def deep_png(samples: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG of uint16 samples `[height, width]`, or `[height, width, bands]` of 2 (with alpha), 3 or 4 (with alpha)."""
    height, width = samples.shape[:2]
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[1 if samples.ndim == 2 else samples.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(png: bytes, after_header: bytes = b"", before_end: bytes = b"") -> bytes:
    return png[:33] + after_header + png[33:-12] + before_end + png[-12:]


def bad_text(name: bytes = b"tEXt") -> bytes:
    """A chunk with a wrong checksum."""
    return struct.pack(">I", 5) + name + b"a\0bcd" + b"\0" * 4


def _profile(space: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags:
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:10], head[36:40] = b"\2\x10", b"acsp"
    head[12:24] = (b"prtr" if space == b"CMYK" else b"mntr") + space + (b"Lab " if space == b"CMYK" else b"XYZ ")
    head[24:36] = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    head[68:80] = b"".join(map(_fixed, (0.9642, 1, 0.8249)))
    return bytes(head) + table + body


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _described(name: bytes) -> list[tuple[bytes, bytes]]:
    described = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + b"\0" * 78
    return [(b"desc", described), (b"cprt", b"text\0\0\0\0none\0"), (b"wtpt", _xyz((0.9642, 1, 0.8249)))]


RED, GREEN, BLUE = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)


def matrix_profile(red=RED, green=GREEN, blue=BLUE, gamma: float = 2.2, srgb_curve: bool = False) -> bytes:
    """An RGB profile, of sRGB's colours unless others are given."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    if srgb_curve:
        curve = b"para\0\0\0\0\0\3\0\0" + b"".join(map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    colours = [(b"rXYZ", _xyz(red)), (b"gXYZ", _xyz(green)), (b"bXYZ", _xyz(blue))]
    return _profile(
        b"RGB ", [*_described(b"matrix"), *colours, *((name + b"TRC", curve) for name in (b"r", b"g", b"b"))]
    )


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"GRAY", [*_described(b"grey"), (b"kTRC", curve)])


SWAPPED = matrix_profile(GREEN, RED, BLUE)
"""A profile in which red and green are exchanged, which no viewer that reads profiles overlooks."""


def cmyk_profile() -> bytes:
    """A profile of a table: cyan is a strong red, all other inks are grey, and no ink is white."""
    inks = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 4)
    light = np.clip(100 - 45 * inks[:, 0] - 30 * inks[:, 1:].sum(axis=1), 0, 100)
    lab = np.stack([light * 2.55, 128 + 70 * inks[:, 0], 128 + 50 * inks[:, 0]], axis=1).round().astype(np.uint8)
    curves = bytes(range(256))
    unit = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + curves * 4 + lab.tobytes() + curves * 3
    return _profile(b"CMYK", [*_described(b"inks"), (b"A2B0", table)])


def white_drawing(side: int = 60, colour: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """A ring on a transparent ground."""
    y, x = np.mgrid[:side, :side] - side / 2
    alpha = (np.abs(np.hypot(y, x) - side / 3) < side / 12).astype(np.uint8) * 255
    return Image.fromarray(np.dstack([np.full((side, side, 3), colour, np.uint8), alpha]))
