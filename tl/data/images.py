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
from tl.data.colour import Remarks, to_bytes
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


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame of a video: its pixels, and its time from the start in seconds."""

    pixels: NDArray[np.uint8]
    seconds: float

    def read(self) -> NDArray[np.uint8]:
        """Return the pixels."""
        return self.pixels


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
SHRUNK = 5
"""How many times the size of a network an image is left when it is shrunk before `fit`, which shrinks it by area from 4
on, 4 · 8/7 where it crops: areas of areas are areas."""

VERSION = 5  # raised when the same bytes come to give other pixels, so that nothing computed from the old ones is used
_OVERSHOOT = 0.05
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
    """One image in memory, in a form that `as_images` takes. Raises UsageError for anything else."""
    images = as_images(item)
    if len(images) != 1:
        raise UsageError(f"one image is expected here, not an array of {len(images):,}: give them one by one")
    return images[0]


def as_images(item: Any) -> list[ImageLike]:
    """The images of something in memory: encoded bytes, an open file, a Pillow image, an array or tensor of pixels.

    What is read as pixels, `from_array` says. Raises UsageError for anything else.
    """
    if isinstance(item, (bytes, bytearray, memoryview)):
        return [EncodedImage(bytes(item))]
    if isinstance(item, IOBase):
        return [EncodedImage(cast(Any, item).read())]
    if is_pillow(item):
        return [decoding.from_pillow(item)]
    if is_pixels(item):
        pixels = from_array(item)
        return [pixels] if pixels.ndim == 3 else list(pixels)
    if hasattr(item, "read"):
        return [cast(Source, item)]
    raise _not_an_image(type(item).__name__)


def from_array(item: Any) -> NDArray[np.uint8]:
    """The pixels of one image or a batch of them, as RGB uint8 `[height, width, 3]` or `[n, height, width, 3]`.

    `item` is an array, or a tensor of another framework: RGB, RGBA or grey, with the channels last or, where only that
    is possible, first; whole numbers of 8 to 16 bits, or fractions from 0 to 1 if none is larger, else from 0 to 255.
    All of `item` decides that. Raises UsageError for other shapes and ranges, such as those of pixels that are
    normalised for a network already.
    """
    if hasattr(item, "detach"):  # PyTorch gives no array of what has a gradient or is on a GPU
        item = item.detach().cpu()
    array: NDArray[Any] = np.asarray(item)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise _not_an_image(f"{array.dtype} array {list(array.shape)}")
    kind = f"{array.dtype} array {list(array.shape)}"
    channels = next((at for at in (-1, -3) if array.ndim in (3, 4) and array.shape[at] in (1, 3, 4)), None)
    if array.ndim == 2:
        array = array[..., None]
    elif channels is None:
        raise _not_an_image(kind)
    elif channels == -3:
        array = np.moveaxis(array, -3, -1)
    pixels = _bytes(array, kind)
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    if pixels.shape[-1] == 4:
        from PIL import Image

        batch = pixels.reshape(-1, *pixels.shape[-3:])
        flat = [decoding.from_pillow(Image.fromarray(np.ascontiguousarray(each))) for each in batch]
        return np.stack(flat).reshape(*pixels.shape[:-1], 3)
    return pixels


def _bytes(array: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    values = array if array.dtype.kind in "iu" else array.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if array.dtype.kind in "iu" and low >= 0 and high < 1 << 16:
        return values.astype(np.uint8) if high <= 255 else to_bytes(values, [])
    # Interpolation overshoots by a few percent; what is normalised for a network reaches further below zero.
    if array.dtype.kind not in "iu" and low >= -_OVERSHOOT * max(high, 1) and high <= 255 * (1 + _OVERSHOOT):
        scale = 255.0 if high <= 1 + _OVERSHOOT else 1.0
        return cast(NDArray[np.uint8], np.rint(values * scale).clip(0, 255).astype(np.uint8))
    raise UsageError(f"{kind} has values from {low:g} to {high:g}: give RGB from 0 to 255, or from 0 to 1")


def _not_an_image(kind: str) -> UsageError:
    return UsageError(
        f"an image cannot be given as {kind}: give a path, bytes, a Pillow image, or RGB pixels [height, width, 3]"
    )


def is_pixels(item: Any) -> bool:
    """Whether something is an array or tensor of numbers, of NumPy or another framework."""
    if not hasattr(item, "__array__") or not hasattr(item, "shape") or hasattr(item, "iloc") or is_pillow(item):
        return False  # iloc: columns and tables of pandas
    dtype = getattr(item, "dtype", None)
    try:
        return np.dtype(getattr(dtype, "as_numpy_dtype", dtype)).kind not in "OUSM"  # the former in TensorFlow
    except TypeError:
        return True  # PyTorch's, which has numbers alone


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

    `min_side` allows a large JPEG to be shrunk while it is decoded, but no side below so many pixels. Transparent
    pixels become white, or black behind a white drawing; of several frames the first is used that shows something;
    `remarks` receives what was decided. Raises ImageError, and nothing else.
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


def decode_for(content: Content, size: int, remarks: Remarks | None = None) -> NDArray[np.uint8]:
    """Decode an image that `fit` will resize to `size`, as `decode` does.

    Only a JPEG far larger than that is shrunk while it is decoded, so that whoever decodes it whole has the same pixels
    after `fit`, but for a step or two of 255.
    """
    return decode(content, SHRUNK * size, remarks)


def read_resized(content: Content, size: int, rule: str, remarks: Remarks | None = None) -> NDArray[np.uint8]:
    """Decode an image and resize it by `fit`: what a network of that size is shown, everywhere.

    Raises ImageError as `decode` does.
    """
    return fit(decode_for(content, size, remarks), size, rule)


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
