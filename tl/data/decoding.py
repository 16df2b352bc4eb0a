"""Decode image files of each format to RGB, with libjpeg-turbo and the parsers of Pillow that are named here.

JPEGs go to libjpeg-turbo, which shrinks while it decodes. Everything else, and every JPEG it rejects, goes to Pillow;
HEIC, which telephones write, goes to libheif (pi-heif).
"""

import re
import threading
import warnings
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image


SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIF": (".heic", ".heif"),
    "AVIF": (".avif",),
}
"""The file endings of each supported format, the usual one first."""

HEAD = 64  # how many of the first bytes identify the format
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_UNSUPPORTED = (
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (8, b"crx ", "Canon raw"),
    (8, b"CR\x02", "Canon raw"),
    (0, b"FUJIFILM", "Fujifilm raw"),
)
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def format_of(content: bytes) -> str:
    """The format of an image, one of `SUFFIXES`; "" for anything else."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        # "mif1" alone says nothing of the codec: then the other brands do.
        brands = content[8:HEAD]
        if brands[:4] in (b"avif", b"avis") or (brands[:4] in (b"mif1", b"msf1") and b"avif" in brands):
            return "AVIF"
        return "HEIF" if brands[:4] in _HEIF else ""
    return next((name for magic, name in _MAGIC if content.startswith(magic)), "")


def unsupported_format(content: bytes) -> str:
    """The name of an image format that is not supported; "" for anything else."""
    return next((name for at, magic, name in _UNSUPPORTED if content.startswith(magic, at)), "")


# A marker is FF and a code; FF 00, FF FF and the restart markers are part of the image data.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; Huffman-coded, so that a cut shows
_ENDING = (
    *(0xD9, 0xD8, 0x01),  # the end marker itself, and what has no place inside an image
    *(0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF),  # frames of other codes
)
_MAX_SEGMENTS = 10_000
_COEFFICIENTS = range(64)


def lacks_only_its_end(content: bytes) -> bool:
    """Whether a JPEG has all the scans that it needs and only its end marker is missing.

    libjpeg cannot tell: a progressive image that was cut between two scans decodes without a warning, only coarser, and
    one with a scan for each colour decodes as grey. The last scan may itself be cut: that its decoder notices. Source:
    ITU-T T.81, annexes B and G.
    """
    components = b""
    missing: dict[tuple[int, int], int] = {}  # how many bits are still to come, by component and coefficient
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(content, at)
        if marker is None:
            needed = [(component, k) for component in components for k in _COEFFICIENTS]
            return bool(needed) and all(missing.get(one) == 0 for one in needed)
        code, start = content[marker.end() - 1], marker.end()
        length = int.from_bytes(content[start : start + 2], "big")
        body = content[start + 2 : start + length]
        at = start + length
        if code in _ENDING or length < 2 or (code in _FRAMES and components):
            return False
        if code in _FRAMES:
            components = body[6::3]
        elif code == _SCAN:
            missing.update(_missing_bits(body))
    return False


def _missing_bits(scan: bytes) -> dict[tuple[int, int], int]:
    count = scan[0] if scan else 0
    if not 1 <= count <= 4 or len(scan) != 4 + 2 * count:
        return {}
    first, last, bits = scan[-3:]
    return {(component, k): bits & 15 for component in scan[1:-3:2] for k in _COEFFICIENTS if first <= k <= last}


MAX_PIXELS = 178_956_970  # half a gigabyte of RGB: the limit of Pillow as well
MAX_SCANS = 500  # a malicious progressive JPEG has thousands of scans of few bytes; real ones have about ten
_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # what Pillow reads by itself, tried one after the other
_DISPLAY_NAMES = {"WEBP": "WebP", "HEIF": "HEIC"}


def decode_jpeg(content: bytes, min_side: int) -> NDArray[np.uint8] | None:
    """Decode a JPEG to RGB; None when libjpeg-turbo rejects it: Pillow can tell harmless from truncated.

    With `min_side` above 0 it may be shrunk, but no side below so many pixels. An image that lacks only its end marker
    is accepted. Raises ImageError for its size.
    """
    if content.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError("JPEG with too many scans")
    image = _decode_whole_jpeg(content, min_side)
    if image is None and lacks_only_its_end(content):
        # With an end marker it is rejected only where data is missing.
        image = _decode_whole_jpeg(content + b"\xff\xd9", min_side)
    return None if image is None else _rotate(image, orientation(content))


def decode_any(content: bytes, min_side: int) -> NDArray[np.uint8]:
    """Decode an image of any supported format to RGB: rotated by its EXIF data, over white, 16 bits scaled to 8.

    Raises ImageError, and whatever else Pillow's parsers raise on damaged bytes.
    """
    from PIL import ImageOps

    with _QUIET, open_image(content) as image:
        _check_size(*image.size)
        if min_side:
            image.draft(None, (min_side, min_side))  # the JPEG parser can shrink; the others ignore it
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _flatten(image)


def from_pillow(image: "Image.Image") -> NDArray[np.uint8]:
    """The pixels of a Pillow image as `decode_any` makes them."""
    from PIL import ImageOps

    return _flatten(ImageOps.exif_transpose(image))


def open_image(content: bytes) -> "Image.Image":
    """Open an image with Pillow's parser of its format alone, which may raise anything; its pixels are not read yet."""
    from PIL import Image

    kind = format_of(content)
    if kind == "HEIF":
        from pi_heif import register_heif_opener

        register_heif_opener()
    return Image.open(BytesIO(content), formats=(kind,) if kind in ("HEIF", "AVIF") else _COMMON)


def reason(error: Exception, content: bytes) -> str:
    """Why bytes could not be decoded, in a few words."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "decompression bomb" in text:
        return "too large to decode"
    if other := unsupported_format(content):
        return f"{other} images are not supported: save it as JPEG"
    kind = format_of(content)
    if not kind:
        return f"not an image ({_start(content)})"
    return f"{'truncated' if 'truncated' in text else 'damaged'} {_DISPLAY_NAMES.get(kind, kind)}"


def _decode_whole_jpeg(content: bytes, min_side: int) -> NDArray[np.uint8] | None:
    import simplejpeg

    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(width, height)
        # libjpeg-turbo decodes a whole image faster than it scales one by 5/8 or 7/8, hence nothing between 1 and 1/2.
        sides = {"min_height": min_side, "min_width": min_side, "min_factor": 2} if min_side else {}
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, strict=True, **sides)
    except ValueError:
        return None
    return image


def orientation(content: bytes) -> int:
    """How a JPEG is to be rotated by its EXIF data, from 1 (not at all) to 8."""
    from PIL import Image

    if b"Exif" not in content[: 1 << 17]:
        return 1
    try:
        with _QUIET, Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return int(image.getexif().get(0x0112, 1))
    # The pixels are decoded by now, and Pillow raises all kinds of errors on odd EXIF data: the photo is not rotated.
    except Exception:  # noqa: BLE001
        return 1


def _rotate(image: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    if how in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if how in (3, 4, 7, 8):
        image = image[::-1]
    if how in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _flatten(image: "Image.Image") -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode == "F":
        raise ImageError("floating-point pixels are not supported")
    if image.mode.startswith("I"):
        return _grey16(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        transparent = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(transparent, mask=transparent)  # not alpha_composite, which takes twice the memory
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _grey16(image: "Image.Image") -> NDArray[np.uint8]:
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("32-bit pixels are not supported")
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("no pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width} × {height} pixels, {MAX_PIXELS // 10**6} million are allowed")


def _start(content: bytes) -> str:
    head = content[:1024].lstrip()[:16]
    if not content[:1024].strip(b"\0"):
        return "zero bytes"
    line = head.splitlines()[0] if head else b""
    text = line.decode("ascii", "replace")
    if line and text.isprintable() and "\ufffd" not in text:
        return f"starts with '{text}'"
    return f"starts with bytes {content[:4].hex(' ')}"


class _Quiet:
    """Silences Pillow's warnings of large images and odd metadata: what matters of them is an ImageError here.

    warnings.catch_warnings swaps a list that all threads share, so that two threads inside it at once can leave the
    wrong one behind: here the first to enter swaps it, and the last to leave swaps it back.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__(None, None, None)


_QUIET = _Quiet()
