"""Read, decode and resize images, the same way for training, prediction and the service."""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, IOBase
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tl.data import decoding
from tl.data.colour import Remarks
from tl.data.decoding import SUFFIXES
from tl.errors import ImageError, UsageError

Content = bytes | NDArray[np.uint8]  # the bytes of an image file, or an RGB array [height, width, 3]


class Source(Protocol):
    """An image that is no file: its content comes from elsewhere, such as an address, when it is read."""

    def read(self) -> Content:
        """Return its content. Raises ImageError, and nothing else."""


ImageLike = Path | NDArray[np.uint8] | Source
"""An image file, an RGB array [height, width, 3], or what can be read like one."""


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file that are in memory."""

    content: bytes

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content


@dataclass(frozen=True)
class UnreadableImage:
    """Stands in for an image that cannot be had; reading it raises ImageError with the reason."""

    reason: str

    def read(self) -> bytes:
        """Raise ImageError."""
        raise ImageError(self.reason)


IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""The endings of image files, in lower case."""

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})
"""The endings of video files, in lower case."""

MAX_BYTES = 1 << 29  # larger files are not read at all: 512 MB
VERSION = 4  # raised when the same bytes come to give other pixels, so that nothing computed from the old ones is used
_CROP = 7 / 8  # of the short side, 224 of 256: what ImageNet networks are usually evaluated on


def read(image: ImageLike) -> Content:
    """Read the bytes of a file or other source; an array is returned as it is. Raises ImageError, also for no bytes."""
    if isinstance(image, np.ndarray):
        return image
    content = _read_file(image) if isinstance(image, Path) else image.read()
    if isinstance(content, bytes) and len(content) > MAX_BYTES:
        raise ImageError(f"larger than {MAX_BYTES >> 20} MB")
    if isinstance(content, bytes) and not content:
        raise ImageError("empty file")
    return content


def _read_file(path: Path) -> bytes:
    with open_regular(path) as file:
        # No more is requested than may come, since memory is allocated for it: for 512 MB that takes 0.1 ms.
        return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it. Raises ImageError, also for one that is no regular file or fails in the block."""
    try:
        # A pipe or a device would wait or never end; opened so, a pipe does not.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError("not a file")
            yield file
    except IsADirectoryError:
        raise ImageError("not a file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except ValueError:
        raise ImageError("cannot be read: not a file name") from None


def as_image(item: Any) -> ImageLike:
    """An image in memory: RGB array, encoded bytes, open file or Pillow image. Raises UsageError for anything else."""
    if isinstance(item, np.ndarray) and item.ndim == 3 and item.dtype == np.uint8:
        return item
    if isinstance(item, bytes):
        return EncodedImage(item)
    if isinstance(item, IOBase):
        return EncodedImage(cast(Any, item).read())
    if is_pillow(item):
        return decoding.from_pillow(item)
    if hasattr(item, "read"):
        return cast(Source, item)
    kind = f"{item.dtype} array {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise UsageError(f"an image cannot be given as {kind}: give a path, or a uint8 array [height, width, 3] of RGB")


def is_pillow(item: Any) -> bool:
    """Whether something is a Pillow image; Pillow is not imported for that."""
    return "PIL.Image" in sys.modules and isinstance(item, sys.modules["PIL.Image"].Image)


def fingerprint(content: Content) -> bytes:
    """The content hash: the 32 bytes of the SHA-256 of a file's bytes, or of an array's shape and pixels."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    shape = np.array(content.shape, dtype="<i8").tobytes()
    return hashlib.sha256(shape + content.tobytes()).digest()


def decode(content: Content, min_side: int | None = None, remarks: Remarks | None = None) -> NDArray[np.uint8]:
    """Decode an image to sRGB [height, width, 3], rotated by its EXIF data; an array is checked and returned as it is.

    `min_side` allows a large JPEG to be shrunk while it is decoded, but no side below so many pixels: give the size
    that `fit` will make, or 8/7 of it for its rule "crop". Transparent pixels become white, or black behind a white
    drawing; of several frames the first is used that shows something; `remarks` receives what was decided. Raises
    ImageError, and nothing else.
    """
    if isinstance(content, np.ndarray):
        if content.dtype != np.uint8 or content.ndim != 3 or content.shape[2] != 3 or 0 in content.shape:
            raise ImageError(f"not an RGB array of bytes ({content.dtype}, shape {content.shape})")
        return content
    if not content:
        raise ImageError("empty file")
    try:
        return decoding.decode(content, min_side or 0, remarks)
    except ImageError:
        raise
    # Pillow's parsers raise nearly every kind of exception on damaged bytes (struct.error, KeyError, OverflowError,
    # MemoryError, SyntaxError, …), and the list changes with its versions: whatever it is, the image cannot be used.
    except Exception as error:  # noqa: BLE001
        raise ImageError(decoding.reason(error, content)) from None


def fit(image: NDArray[np.uint8], size: int, rule: str = "stretch") -> NDArray[np.uint8]:
    """Resize an image to a square [size, size, 3].

    "stretch" keeps the whole image but not its aspect ratio; "crop" takes the centre, as if the short side had been
    resized to size * 8/7. Shrinks linearly, by no more than half at a time (by area, below a quarter of a side), and
    enlarges by cubic interpolation, each axis on its own.
    """
    import cv2

    if rule == "crop":
        # Cropping before resizing shows the same window as the usual order, but a 1×60000 strip does not grow to 3 GB.
        side = max(1, round(min(image.shape[:2]) * _CROP))
        top, left = ((length - side) // 2 for length in image.shape[:2])
        image = image[top : top + side, left : left + side]
    elif rule != "stretch":
        raise ValueError(f"no such rule: {rule!r}; there are 'stretch' and 'crop'")
    height, width = min(image.shape[0], size), min(image.shape[1], size)
    if image.shape[0] > 4 * size or image.shape[1] > 4 * size:
        image = _resized(image, height, width, cv2.INTER_AREA)
    elif (height, width) != image.shape[:2]:
        # Linear interpolation down to half a side uses every pixel, and twice that costs a third of INTER_AREA. Without
        # rounding in between, nor as OpenCV rounds lines of bytes, it is what exported networks compute.
        exact = image.astype(np.float32)
        exact = _resized(exact, _halfway(image.shape[0], size), _halfway(image.shape[1], size), cv2.INTER_LINEAR)
        image = cv2.convertScaleAbs(_resized(exact, height, width, cv2.INTER_LINEAR))
    return np.ascontiguousarray(_resized(image, size, size, cv2.INTER_CUBIC), np.uint8)


def read_encoded(image: ImageLike) -> bytes:
    """Read the bytes of an image file; an RGB array becomes a PNG. Raises ImageError as `read` does."""
    from PIL import Image

    content = read(image)
    if isinstance(content, bytes):
        return content
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(content)).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _halfway(side: int, size: int) -> int:
    return min(side, size) if side <= 2 * size else (side + 1) // 2


def _resized(image: Any, height: int, width: int, interpolation: int) -> Any:
    import cv2

    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=interpolation)


def preload() -> None:
    """Import the decoding libraries, for a caller with a thread to spare before the first image."""
    import cv2  # noqa: F401
    import PIL.Image  # noqa: F401
    import simplejpeg  # noqa: F401
