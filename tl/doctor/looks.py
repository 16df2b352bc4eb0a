"""Pictures become what can be seen of each without a network: its file, its size, its light, and a small grey copy.

Every file is read once here, for its content hash as well, and decoded no larger than it takes.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.datasets.images import Content, Picture, decode, fingerprint, read
from tl.errors import ImageError
from tl.reporting import Reporter, Silent

SIDE = 32
"""Of the small grey copies, in pixels: enough to lay one over another, 50 MB for 50,000."""

_DETAIL = 128  # pixels of the short side at which light and sharpness are measured: large JPEGs are decoded by half
_COARSE = 16  # pixels of the side at which colours are measured; the outermost count as the border
_CHUNK = 64
_HEADER = 89_000_000  # pixels beyond which Pillow warns before it has been asked for anything
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


@dataclass(frozen=True)
class Header:
    """What a file says of itself: format ("" for an array), bytes, width and height, colour mode, EXIF orientation."""

    format: str
    bytes: int
    width: int
    height: int
    mode: str
    orientation: int = 1


@dataclass(frozen=True)
class Looks:
    """One entry a picture; of those that cannot be decoded `errors` has the reason and the rest is zero.

    `grey` uint8 `[n, SIDE, SIDE]`; `colour` float32 `[n, 6]`, mean and spread of red, green and blue; `border` float32
    `[n, 7]`, mean colour of the outermost pixels and the spread along each side; `light` float32 `[n, 2]`, the 5th and
    95th percentile of grey from 0 to 255; `contrast` float32 `[n]`, the standard deviation of grey; `sharpness` float32
    `[n]`, the variance of the Laplacian over that of grey.
    """

    fingerprints: tuple[bytes, ...]
    headers: tuple[Header | None, ...]
    errors: dict[int, str]
    grey: NDArray[np.uint8]
    colour: NDArray[np.float32]
    border: NDArray[np.float32]
    light: NDArray[np.float32]
    contrast: NDArray[np.float32]
    sharpness: NDArray[np.float32]


def look(
    pictures: Sequence[Picture],
    *,
    seen: Callable[[int, bytes], None] | None = None,
    report: Reporter | None = None,
) -> Looks:
    """What can be seen of pictures, in their order; `seen` is told index and content hash of each one that decodes."""
    count = len(pictures)
    found = Looks(
        fingerprints=(),
        headers=(),
        errors={},
        grey=np.zeros((count, SIDE, SIDE), np.uint8),
        colour=np.zeros((count, 6), np.float32),
        border=np.zeros((count, 7), np.float32),
        light=np.zeros((count, 2), np.float32),
        contrast=np.zeros(count, np.float32),
        sharpness=np.zeros(count, np.float32),
    )
    hashes = [b""] * count
    headers: list[Header | None] = [None] * count

    def examine(indices: range) -> int:
        coarse = np.zeros((len(indices), _COARSE, _COARSE, 3), np.uint8)
        for place, index in enumerate(indices):
            try:
                content = read(pictures[index])
                hashes[index] = fingerprint(content)
                image = decode(content, _DETAIL)
                headers[index] = _header(content, image)
                coarse[place], found.grey[index] = _reduced(image)
                found.contrast[index], found.sharpness[index] = _detail(image)
                if seen is not None:
                    seen(index, hashes[index])
            except ImageError as error:
                found.errors[index] = str(error)
        rows = slice(indices.start, indices.stop)
        found.colour[rows], found.border[rows] = _colours(coarse.astype(np.float32))
        found.light[rows] = np.percentile(found.grey[rows].reshape(len(indices), -1), (5, 95), axis=1).T
        return len(indices)

    chunks = (range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
    with (report or Silent()).task("looking", count, "photos") as task:
        for done in _in_threads(examine, chunks):
            task.advance(done)
    errors = dict(sorted(found.errors.items()))
    return replace(found, fingerprints=tuple(hashes), headers=tuple(headers), errors=errors)


def _in_threads(work: Callable[[range], int], chunks: Iterator[range]) -> Iterator[int]:
    workers = max(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        while wave := list(islice(chunks, 8 * workers)):
            yield from pool.map(work, wave)


def _reduced(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture as a very small square in colour, and as a small one in grey."""
    import cv2

    coarse = cv2.resize(image, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse, np.uint8), np.asarray(small, np.uint8)


def _detail(image: NDArray[np.uint8]) -> tuple[float, float]:
    """The contrast of a picture, and how sharp it is."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    contrast = cv2.meanStdDev(grey)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item()
    return contrast, edges**2 / max(contrast**2, 1.0)


def _colours(coarse: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`colour` and `border` of very small pictures `[n, side, side, 3]`."""
    planes = np.ascontiguousarray(coarse.transpose(0, 3, 1, 2))
    whole = planes.reshape(len(planes), 3, -1)
    sides = np.stack([planes[:, :, 0], planes[:, :, -1], planes[:, :, :, 0], planes[:, :, :, -1]], axis=1)
    border = np.concatenate([sides.mean(axis=(1, 3)), sides.std(axis=3).mean(axis=2)], axis=1)
    return np.concatenate([whole.mean(axis=2), whole.std(axis=2)], axis=1), border


def _header(content: Content, image: NDArray[np.uint8]) -> Header:
    if isinstance(content, np.ndarray):
        return Header("", content.nbytes, content.shape[1], content.shape[0], "RGB")
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg_header(content)
    if content.startswith(_PNG) and b"eXIf" not in content:
        return _png_header(content)
    height, width = image.shape[:2]
    if height * width > _HEADER:
        return Header("", len(content), width, height, "")
    with _opened(content) as opened:
        orientation = int(opened.getexif().get(_ORIENTATION, 1))
        return Header(str(opened.format), len(content), width, height, str(opened.mode), orientation)


def _png_header(content: bytes) -> Header:
    # By hand, as Pillow takes longer to say this much than a small picture takes to be decoded.
    width, height = struct.unpack_from(">II", content, 16)
    return Header("PNG", len(content), width, height, _PNG_MODES.get(content[25], ""))


def _jpeg_header(content: bytes) -> Header:
    import simplejpeg

    height, width, space, _ = simplejpeg.decode_jpeg_header(content)
    orientation = 1
    if b"Exif" in content[: 1 << 17] and height * width <= _HEADER:
        try:
            with _opened(content) as opened:
                orientation = int(opened.getexif().get(_ORIENTATION, 1))
        # The pixels are sound by now, and Pillow raises what it likes on odd EXIF data: it tells nothing then.
        except Exception:  # noqa: BLE001
            orientation = 1
    return Header("JPEG", len(content), width, height, str(space), orientation)


def _opened(content: bytes) -> Any:
    from io import BytesIO

    from PIL import Image

    return Image.open(BytesIO(content), formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"))
