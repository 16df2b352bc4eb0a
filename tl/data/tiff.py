"""Read the pages of TIFF files, also of the kinds that Pillow does not read, or reads wrongly.

Those are samples of more than 8 bits, signed ones, floats, planes and several bands. Their strips or tiles are given to
Pillow as pictures of single bytes, which leaves it to libtiff to decompress them. Source: TIFF 6.0 and its supplements.
"""

import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl.data.colour import Remarks, check_size, to_bytes
from tl.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS, _WHITE, _PLANES, _PREDICTOR = 273, 274, 277, 278, 279, 281, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _FORMAT, _PROFILE = 322, 323, 324, 325, 338, 339, 34675
_UNCOMPRESSED, _JPEG = 1, (6, 7)
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # sample format: NumPy's kind
_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}  # photometric interpretation (grey from white, grey, RGB, CMYK): its samples
_FURTHER = 330  # pages beside the chain of pages
_CHUNK = 64 << 20  # bytes of strips or tiles that are decompressed at a time
_MAX_PAGES = 1000


def pages(content: bytes, remarks: Remarks, max_pixels: int) -> Iterator["Image.Image"]:
    """The pages in their order, each with 8 bits a sample and upright; reduced copies and masks are left out.

    Raises ImageError, and whatever Pillow raises on damaged bytes.
    """
    from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

    for offset in _places(content):
        tags = ImageFileDirectory_v2(content[: 16 if _is_big(content) else 8])
        file = BytesIO(content)
        file.seek(offset)
        tags.load(file)
        if (compression := tags.get(_COMPRESSION, _UNCOMPRESSED)) not in COMPRESSION_INFO:
            raise ImageError(f"TIFF of compression {compression}, which is not read: save it as PNG or JPEG")
        deep = _deep_page(content, tags, remarks, max_pixels)
        yield _pillow_page(content, offset, max_pixels) if deep is None else deep


def count_pages(content: bytes) -> int:
    """How many pages there are besides reduced copies and masks."""
    return len(_places(content))


def _is_big(content: bytes) -> bool:
    return b"+" in content[2:4]


def _places(content: bytes) -> list[int]:
    """The offsets of the pages. Only numbers are read: what pages refer to may be all of the file, for each of them."""
    forms = ("Q", "HHQ4s4x", "Q") if _is_big(content) else ("H", "HHI4s", "I")
    order = ">" if content[:1] == b"M" else "<"
    number, entry, pointer = (struct.Struct(order + form) for form in forms)
    (at,) = pointer.unpack_from(content, pointer.size)
    found: dict[int, int] = {}  # what kind of copy each page is
    while at and at not in found and len(found) < _MAX_PAGES and at + number.size <= len(content):
        start = at + number.size
        entries = min(*number.unpack_from(content, at), (len(content) - start) // entry.size)
        end = start + entries * entry.size
        values = {tag: (kind, value) for tag, kind, _, value in entry.iter_unpack(content[start:end])}
        kind, value = values.get(_SUBFILE, (4, bytes(4)))
        (subfile,) = struct.unpack(order + ("H2x" if kind == 3 else "I"), value)
        if not found and subfile & 1 and _FURTHER in values:  # what Pillow shows of it is a thumbnail
            raise ImageError("camera raw images are not supported: save it as JPEG")
        found[at] = subfile
        (at,) = pointer.unpack(content[end : end + pointer.size].ljust(pointer.size, b"\0"))
    return [place for place, subfile in found.items() if not subfile & 0b101] or list(found)


def _pillow_page(content: bytes, offset: int, max_pixels: int) -> "Image.Image":
    from PIL import TiffImagePlugin

    start = struct.pack((">" if content[:1] == b"M" else "<") + ("Q" if _is_big(content) else "I"), offset)
    at = 8 if _is_big(content) else 4
    first = content if content[at : at + len(start)] == start else content[:at] + start + content[at + len(start) :]
    image = TiffImagePlugin.TiffImageFile(BytesIO(first))
    check_size(*image.size, max_pixels)
    image.load()
    return image


def _deep_page(content: bytes, tags: "Tags", remarks: Remarks, max_pixels: int) -> "Image.Image | None":
    """A page that Pillow does not read, or reads wrongly; None for others."""
    from PIL import Image

    layout = _layout(tags)
    if layout is None:
        return None
    check_size(layout.width, layout.height, max_pixels)
    if layout.bytes > 8 * max_pixels:
        raise ImageError(
            f"too large: {layout.width} × {layout.height} pixels of {layout.row_bytes // layout.width} bytes"
        )
    colours, alpha = _bands(tags, layout)
    values = _values(content, tags, layout)
    white = int(np.max(tags.get(_WHITE, 0)))
    declared = 0 if layout.bits in (16, 32, 64) else layout.bits
    pixels = to_bytes(values[..., :colours], remarks, bits=declared, white=white)
    if tags.get(_PHOTOMETRIC) == 0:
        pixels = 255 - pixels
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours]
    if alpha and mode != "CMYK":
        pixels = np.concatenate([pixels, to_bytes(values[..., colours : colours + 1], [], bits=declared)], axis=2)
        mode += "a" if alpha == 1 and colours == 3 else "A"  # Pillow has no grey with premultiplied alpha
    size = layout.width, layout.height
    image = Image.frombytes(mode.upper(), size, np.ascontiguousarray(pixels).tobytes(), "raw", mode)
    image.info["icc_profile"] = tags.get(_PROFILE, b"")
    image.getexif()[_ORIENTATION] = tags.get(_ORIENTATION, 1)
    return image


class _Layout(NamedTuple):
    """How the samples of a page are stored: `dtype` is None for a number of bits that is no whole number of bytes."""

    width: int
    height: int
    samples: int
    bits: int
    kind: str
    planes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of all samples."""
        return self.width * self.samples * -(-self.bits // 8)

    @property
    def bytes(self) -> int:
        """Bytes of all samples."""
        return self.height * self.row_bytes


def _layout(tags: "Tags") -> _Layout | None:
    """The layout of a page that is to be read here; None where Pillow reads it rightly."""
    samples = int(tags.get(_SAMPLES, 1))
    bits, formats = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (1,)))
    photometric, compression = tags.get(_PHOTOMETRIC, 1), tags.get(_COMPRESSION, _UNCOMPRESSED)
    if len(bits) != 1 or len(formats) != 1 or photometric not in _COLOURS or compression in _JPEG:
        return None
    each, kind = bits.pop(), _KINDS.get(formats.pop(), "")
    is_plain = each == 8 and kind == "u" and samples <= (4 if photometric > 1 else 2)
    if is_plain or each < 8 or not kind or (each not in (8, 16, 32, 64) and (kind != "u" or each > 16)):
        return None
    planes = samples if tags.get(_PLANES, 1) == 2 else 1
    return _Layout(int(tags[_WIDTH]), int(tags[_HEIGHT]), samples, int(each), kind, planes)


def _bands(tags: "Tags", layout: _Layout) -> tuple[int, int]:
    """How many of the samples are colours, and what the one after them is: 0 no alpha, 1 premultiplied alpha, 2 alpha.

    Raises ImageError where the file does not say which samples are the colours.
    """
    colours, extra = _COLOURS[tags.get(_PHOTOMETRIC, 1)], tuple(tags.get(_EXTRA, ()))
    if colours == 1 and layout.samples > 2:  # some programs call all that is not a photo grey
        colours = layout.samples - (extra[-1:] in ((1,), (2,)))
        if colours != 3:
            raise ImageError(
                f"{layout.samples} bands, of which none is called red, green or blue: save those three as PNG"
            )
        extra = extra[-1:]
    if layout.samples < colours:
        raise ImageError("damaged TIFF")
    unnamed = colours == 3 and layout.samples == 4 and not extra
    alpha = 2 if unnamed else next(iter(extra), 0)
    return colours, alpha if layout.samples > colours and alpha in (1, 2) else 0


def _values(content: bytes, tags: "Tags", layout: _Layout) -> NDArray[Any]:
    """The samples `[height, width, samples]`."""
    planes = [_plane(content, tags, layout, plane) for plane in range(layout.planes)]
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _plane(content: bytes, tags: "Tags", layout: _Layout, plane: int) -> NDArray[Any]:
    """The samples of one plane; strips are tiles as wide as the page."""
    samples = layout.samples // layout.planes
    is_tiled = _TILE_OFFSETS in tags
    across, rows = layout.width, min(int(tags.get(_ROWS, layout.height)), layout.height)
    if is_tiled:
        across, rows = int(tags[_TILE_WIDTH]), int(tags[_TILE_HEIGHT])
    if across < 1 or rows < 1:
        raise ImageError("damaged TIFF")
    columns, lines = -(-layout.width // across), -(-layout.height // rows)
    offsets, counts = (
        np.array(tags.get(tag, ()), np.int64)[plane * columns * lines :][: columns * lines]
        for tag in ((_TILE_OFFSETS, _TILE_COUNTS) if is_tiled else (_OFFSETS, _COUNTS))
    )
    if not len(counts) and len(offsets) == 1:
        counts = len(content) - offsets
    if len(offsets) < columns * lines or len(counts) < columns * lines or (offsets + counts > len(content)).any():
        raise ImageError("truncated TIFF")
    width = -(-across * samples * layout.bits // 8)  # bytes of a row of one tile
    step = max(1, _CHUNK // (columns * width * rows))
    plane_values: NDArray[Any] | None = None
    for first in range(0, lines, step):
        these = slice(first * columns, (first + step) * columns)
        last = min(lines, first + step)
        height = (last - first) * rows if is_tiled else min(layout.height, last * rows) - first * rows
        tiles = [
            content[at : at + size] for at, size in zip(offsets[these].tolist(), counts[these].tolist(), strict=True)
        ]
        cells = _decompressed(tiles, tags, width=width, rows=rows, columns=columns, height=height)
        cells = _typed(cells.reshape(height, columns, width), tags, layout, samples)
        if plane_values is None:
            plane_values = np.empty((layout.height, layout.width, samples), cells.dtype.newbyteorder("="))
        part = plane_values[first * rows :][:height]
        part[:] = cells.reshape(height, -1, samples)[: len(part), : layout.width]
    if plane_values is None:
        raise ImageError("no pixels")
    return plane_values


def _decompressed(
    tiles: list[bytes], tags: "Tags", *, width: int, rows: int, columns: int, height: int
) -> NDArray[np.uint8]:
    """The bytes of lines of tiles, `[height, columns · width]`, through libtiff as a picture of bytes."""
    from PIL import TiffImagePlugin

    data = b"".join(tiles)
    if tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and columns == 1:
        if len(data) < height * width:
            raise ImageError("truncated TIFF")
        return np.frombuffer(data, np.uint8, height * width).reshape(height, width)
    counts = list(map(len, tiles))
    places = [8 + at for at in accumulate(counts, initial=0)][:-1]
    page = {_WIDTH: [columns * width], _HEIGHT: [height], _BITS: [8], _PHOTOMETRIC: [1], _SAMPLES: [1]}
    page |= {tag: [tags[tag]] for tag in (_COMPRESSION, _FILL_ORDER) if tag in tags}
    if _TILE_OFFSETS in tags:
        page |= {_TILE_WIDTH: [width], _TILE_HEIGHT: [rows], _TILE_OFFSETS: places, _TILE_COUNTS: counts}
    else:
        page |= {_ROWS: [rows], _OFFSETS: places, _COUNTS: counts}
    image = TiffImagePlugin.TiffImageFile(BytesIO(_file(_order(tags), data, page)))
    return np.asarray(image)


def _file(order: str, data: bytes, page: dict[int, list[int]]) -> bytes:
    """A TIFF of one page: whole numbers by tag."""
    data += bytes(len(data) % 2)
    start = 8 + len(data)
    entries, more, place = b"", b"", start + 2 + 12 * len(page) + 4
    for tag, values in sorted(page.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, more = struct.pack(order + "I", place + len(more)), more + packed
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = b"MM\0*" if order == ">" else b"II*\0"
    return b"".join(
        (head, struct.pack(order + "I", start), data, struct.pack(order + "H", len(page)), entries, bytes(4), more)
    )


def _typed(cells: NDArray[np.uint8], tags: "Tags", layout: _Layout, samples: int) -> NDArray[Any]:
    """Rows of tiles `[height, columns, bytes]` as numbers `[height, columns, width, samples]`; undoes the predictor."""
    size, predictor = layout.bits // 8, tags.get(_PREDICTOR, 1)
    if layout.bits not in (8, 16, 32, 64):
        count = cells.shape[2] * 8 // layout.bits
        places = 1 << np.arange(layout.bits, dtype=np.uint16)[::-1]
        lines = [np.unpackbits(line, axis=1)[:, : count * layout.bits] for line in cells]
        rows = [(line.reshape(len(line), count, layout.bits) * places).sum(axis=2, dtype=np.uint16) for line in lines]
        return np.stack(rows)[..., : count // samples * samples].reshape(*cells.shape[:2], -1, samples)
    if predictor == 3:
        # The highest bytes of a row come first, then the next, each less the one of the sample before.
        whole = np.cumsum(cells.reshape(*cells.shape[:2], -1, samples), axis=2, dtype=np.uint8)
        split = whole.reshape(*cells.shape[:2], size, -1).swapaxes(2, 3)
        return np.ascontiguousarray(split).view(f">f{size}").reshape(*cells.shape[:2], -1, samples)
    values = (
        np.ascontiguousarray(cells).view(f"{_order(tags)}{layout.kind}{size}").reshape(*cells.shape[:2], -1, samples)
    )
    if predictor == 2:
        return np.cumsum(values, axis=2, dtype=values.dtype.newbyteorder("="))
    return values


def _order(tags: "Tags") -> str:
    """The byte order, as NumPy and struct write it."""
    return ">" if tags.prefix == b"MM" else "<"
