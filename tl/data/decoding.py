"""Untrusted bytes become RGB pixels, through libjpeg-turbo or through those parsers of Pillow that are named here.

JPEGs go to libjpeg-turbo, which shrinks while it decodes. Everything else, and every JPEG it objects to, goes to
Pillow; what telephones write as HEIC, to libheif by way of Pillow.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.datasets.formats import format_of, unread
from tl.datasets.scans import lacks_only_its_end
from tl.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970
"""Half a gigabyte of RGB: where Pillow, too, stops believing that an image is meant well."""

MAX_SCANS = 500
"""A progressive JPEG can ask for thousands of passes over few bytes; real ones have about ten."""

_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # what Pillow reads by itself, tried one after the other
_SPOKEN = {"WEBP": "WebP", "HEIF": "HEIC"}


def decode_jpeg(content: bytes, at_least: int) -> NDArray[np.uint8] | None:
    """A JPEG as RGB, or None when libjpeg-turbo objects to it: Pillow can tell harmless from truncated.

    With `at_least` above 0 it may come out smaller, but no side below so many pixels. A picture that is all there but
    for its end marker is taken. Raises ImageError for its size.
    """
    if content.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError("JPEG with too many scans")
    image = _sound(content, at_least)
    if image is None and lacks_only_its_end(content):
        image = _sound(content + b"\xff\xd9", at_least)  # with its end given, it objects only where data is missing
    if image is not None and b"Exif" in content[: 1 << 17]:
        image = _turn(image, _orientation(content))
    return image


def decode_any(content: bytes, at_least: int) -> NDArray[np.uint8]:
    """An image of any readable format as RGB: turned by its EXIF data, over white, 16 bits scaled to 8.

    Raises ImageError, and whatever else Pillow's parsers raise on damaged bytes.
    """
    from PIL import ImageOps

    with _quiet(), opened(content) as image:
        _check_size(*image.size)
        if at_least:
            image.draft(None, (at_least, at_least))  # the JPEG parser can shrink; the others ignore it
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _flatten(image)


def opened(content: bytes) -> "Image.Image":
    """An image as Pillow opens it, by the parser of its format and by no other; its pixels are not read yet.

    Raises whatever Pillow's parsers raise on damaged bytes.
    """
    from PIL import Image

    kind = format_of(content)
    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return Image.open(BytesIO(content), formats=(kind,) if kind in ("HEIF", "AVIF") else _COMMON)


def reason(error: Exception, content: bytes) -> str:
    """Why bytes could not be decoded, in a few words for people."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "decompression bomb" in text:
        return "too large to decode"
    if other := unread(content):
        return f"{other} images are not read: save it as JPEG"
    kind = format_of(content)
    if not kind:
        return f"not an image ({_start(content)})"
    return f"{'truncated' if 'truncated' in text else 'damaged'} {_SPOKEN.get(kind, kind)}"


def _sound(content: bytes, at_least: int) -> NDArray[np.uint8] | None:
    import simplejpeg

    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(width, height)
        # libjpeg-turbo decodes a whole image faster than it scales one by 5/8 or 7/8, hence nothing between 1 and 1/2.
        sides = {"min_height": at_least, "min_width": at_least, "min_factor": 2} if at_least else {}
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, strict=True, **sides)
    except ValueError:
        return None
    return image


def _orientation(content: bytes) -> int:
    from PIL import Image

    try:
        with _quiet(), Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return int(image.getexif().get(0x0112, 1))
    # The pixels are sound by now, and Pillow raises what it likes on odd EXIF data: the photo is shown as it lies.
    except Exception:  # noqa: BLE001
        return 1


def _turn(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _flatten(image: "Image.Image") -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode == "F":
        raise ImageError("floating-point pixels are not supported")
    if image.mode.startswith("I"):
        return _grey16(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        seen_through = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(seen_through, mask=seen_through)  # not alpha_composite, which takes twice the memory
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


class _Hush:
    # warnings.catch_warnings swaps a list that all threads share, so that two threads inside it at once can leave the
    # wrong one behind: the first to come swaps, the last to go swaps back.
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.caught = warnings.catch_warnings()

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__(None, None, None)


_HUSH = _Hush()


@contextmanager
def _quiet() -> Iterator[None]:
    # Pillow warns of large images and odd metadata; what matters of it is an ImageError here, under -W error too.
    _HUSH.enter()
    try:
        yield
    finally:
        _HUSH.leave()
