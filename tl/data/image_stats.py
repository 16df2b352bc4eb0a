"""Measure images without a network: their file, size, light and colour, and a small grey copy.

The statistics are kept under the image's content hash, beside the features, so that no image is decoded twice for them.

The perceptual hash is pHash as the package imagehash defines it (the lowest 8 × 8 coefficients of a cosine transform at
32 × 32, each above or below their median), for all images at once: one at a time takes longer than all the rest.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import CacheWriter, FeatureCache
from tl.data import jpeg
from tl.data.colour import Remarks
from tl.data.decoding import format_of, open_image
from tl.data.images import VERSION as IMAGES_VERSION
from tl.data.images import Content, ImageLike, decode, fingerprint, read
from tl.errors import ImageError
from tl.progress import Progress

Row = NDArray[Any]
Bits = NDArray[np.float32]

SIDE = 32  # side of the small grey copies in pixels: enough to lay one over another, 50 MB for 50,000
DETAIL = 128  # pixels of the short side at which contrast and sharpness are measured: large JPEGs are decoded by half
VERSION = 2  # raised when the same pixels come to give other statistics, so that the old ones are not used
BITS = 64  # bits of a perceptual hash
_CHUNK = 64  # images that one thread measures before the next
_ROWS = 1024  # images whose colours or hashes are computed at a time: 10 MB
_COARSE = 16  # pixels of the side at which colours are measured; the outermost count as the border
_MAX_REMARKS = 400  # bytes of all remarks on one image

ROW = np.dtype(
    [
        *(("format", "S12"), ("mode", "S12"), ("bytes", "<u8"), ("width", "<u4"), ("height", "<u4")),
        *(("orientation", "<u4"), ("contrast", "<f4"), ("sharpness", "<f4")),
        ("remarks", f"S{_MAX_REMARKS}"),
        *(("coarse", "u1", (_COARSE, _COARSE, 3)), ("grey", "u1", (SIDE, SIDE))),
    ]
)
"""What is kept of one image: its header, and the pixels that everything else is computed from."""


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
class ImageStats:
    """One entry an image; of those that cannot be decoded `errors` has the reason and the rest is zero.

    `remarks` are what was decided about an image, or found damaged, while it was decoded: kinds and sentences.
    `grey` uint8 `[n, SIDE, SIDE]`; `colour` float32 `[n, 6]`, mean and spread of red, green and blue; `border` float32
    `[n, 7]`, mean colour of the outermost pixels and the spread along each side; `light` float32 `[n, 2]`, the 5th and
    95th percentile of grey from 0 to 255; `contrast` float32 `[n]`, the standard deviation of grey; `sharpness` float32
    `[n]`, the variance of the Laplacian over that of grey.
    """

    fingerprints: tuple[bytes, ...]
    headers: tuple[Header | None, ...]
    errors: dict[int, str]
    remarks: tuple[Remarks, ...]
    grey: NDArray[np.uint8]
    colour: NDArray[np.float32]
    border: NDArray[np.float32]
    light: NDArray[np.float32]
    contrast: NDArray[np.float32]
    sharpness: NDArray[np.float32]


def measure_images(
    images: Sequence[ImageLike],
    *,
    fingerprints: Sequence[bytes] | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> ImageStats:
    """Measure images, in their order.

    With their content hashes in `fingerprints`, a file is read only where `cache` does not have its statistics.
    """
    progress = progress or Progress()
    store = CacheWriter(cache, f"looks {VERSION}/images {IMAGES_VERSION}", progress)
    rows = np.zeros(len(images), ROW)
    hashes = [b""] * len(images) if fingerprints is None else list(fingerprints)
    errors: dict[int, str] = {}

    def load(index: int) -> Content:
        content = read(images[index])
        hashes[index] = fingerprint(content)
        return content

    def measure_chunk(indices: range) -> list[int]:
        measured = []
        for index in indices:
            try:
                content = None if hashes[index] else load(index)
                [vector] = store.find([hashes[index]])
                if vector is not None and vector.nbytes == ROW.itemsize:
                    rows[index] = vector.view(ROW)[0]
                    continue
                content = load(index) if content is None else content  # it may have changed since it was hashed
                remarks: Remarks = []
                rows[index] = measure(content, decode(content, DETAIL, remarks))
                rows[index]["remarks"] = "\n".join(map(": ".join, remarks)).encode()[:_MAX_REMARKS]
                measured.append(index)
            except ImageError as error:
                errors[index] = str(error)
        return measured

    chunks = [range(start, min(start + _CHUNK, len(images))) for start in range(0, len(images), _CHUNK)]
    workers = max(2, os.cpu_count() or 1)
    with progress.task("measuring", len(images), "images") as task, ThreadPoolExecutor(workers) as pool:
        for chunk, measured in zip(chunks, pool.map(measure_chunk, chunks), strict=True):
            store.add((hashes[index], np.frombuffer(rows[index].tobytes(), np.float32)) for index in measured)
            store.write()
            task.advance(len(chunk))
    store.write(at_least=1)
    return _stats(rows, hashes, errors)


def measure(content: Content, image: NDArray[np.uint8]) -> Row:
    """The row `[]` of a file and its pixels, decoded to at least `DETAIL` a side where it has them."""
    import cv2

    header = _header(content, image)
    row = np.zeros((), ROW)
    row["format"], row["mode"] = header.format.encode(), header.mode.encode()
    for name in ("bytes", "width", "height", "orientation"):
        row[name] = getattr(header, name)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    row["coarse"] = cv2.resize(image, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    row["grey"] = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    contrast = cv2.meanStdDev(grey)[1].item()
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item()
    row["contrast"], row["sharpness"] = contrast, edges**2 / max(contrast**2, 1.0)
    return row


def perceptual_hashes(grey: NDArray[np.uint8]) -> tuple[Bits, Bits]:
    """Hashes `[n, 64]` of grey images uint8 `[n, 32, 32]` and of their mirror images, as -1 and 1.

    The product of two of them is 64 less twice the number of bits in which they differ.
    """
    from scipy.fft import dctn

    plain, mirrored = np.empty((len(grey), BITS), np.float32), np.empty((len(grey), BITS), np.float32)
    for start in range(0, len(grey), _ROWS):
        low = dctn(grey[start : start + _ROWS].astype(np.float64), axes=(1, 2))[:, :8, :8]
        plain[start : start + _ROWS] = _signs(low)
        low[:, :, 1::2] *= -1  # mirroring changes the sign of the waves that are odd across, and of no other
        mirrored[start : start + _ROWS] = _signs(low)
    return plain, mirrored


def _signs(low: NDArray[np.float64]) -> Bits:
    flat = low.reshape(len(low), BITS)
    return np.where(flat > np.median(flat, axis=1, keepdims=True), np.float32(1), np.float32(-1))


def _stats(rows: Row, fingerprints: Sequence[bytes], errors: dict[int, str]) -> ImageStats:
    columns = [rows[name].tolist() for name in ("format", "bytes", "width", "height", "mode", "orientation")]
    headers = [
        None if at in errors else Header(kind.decode(), size, width, height, mode.decode(), orientation)
        for at, (kind, size, width, height, mode, orientation) in enumerate(zip(*columns, strict=True))
    ]
    grey = np.ascontiguousarray(rows["grey"])
    colour, border = np.zeros((len(rows), 6), np.float32), np.zeros((len(rows), 7), np.float32)
    light = np.zeros((len(rows), 2), np.float32)
    for start in range(0, len(rows), _ROWS):
        chunk = slice(start, start + _ROWS)
        colour[chunk], border[chunk] = _colours(rows["coarse"][chunk].astype(np.float32))
        light[chunk] = np.percentile(grey[chunk].reshape(-1, SIDE * SIDE), (5, 95), axis=1).T
    return ImageStats(
        fingerprints=tuple(fingerprints),
        headers=tuple(headers),
        errors=dict(sorted(errors.items())),
        remarks=tuple(_remarks(text) for text in rows["remarks"].tolist()),
        grey=grey,
        colour=colour,
        border=border,
        light=light,
        contrast=np.ascontiguousarray(rows["contrast"]),
        sharpness=np.ascontiguousarray(rows["sharpness"]),
    )


def _colours(coarse: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`colour` and `border` of very small images `[n, side, side, 3]`."""
    planes = np.ascontiguousarray(coarse.transpose(0, 3, 1, 2))
    whole = planes.reshape(len(planes), 3, -1)
    sides = np.stack([planes[:, :, 0], planes[:, :, -1], planes[:, :, :, 0], planes[:, :, :, -1]], axis=1)
    border = np.concatenate([sides.mean(axis=(1, 3)), sides.std(axis=3).mean(axis=2)], axis=1)
    return np.concatenate([whole.mean(axis=2), whole.std(axis=2)], axis=1), border


def _remarks(text: bytes) -> Remarks:
    lines = text.decode("utf-8", "ignore").splitlines()
    return [(kind, sentence) for kind, _, sentence in (line.partition(": ") for line in lines)]


def _header(content: Content, image: NDArray[np.uint8]) -> Header:
    if isinstance(content, np.ndarray):
        return Header("", content.nbytes, content.shape[1], content.shape[0], "RGB")
    if content.startswith(jpeg.START):
        import simplejpeg

        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        return Header("JPEG", len(content), width, height, str(space), jpeg.orientation(content))
    height, width = image.shape[:2]
    try:
        with open_image(content) as parsed:
            turned, mode = int(parsed.getexif().get(0x0112, 1)), str(parsed.mode)
    # The image itself is decoded; Pillow may raise anything about the rest, and does for some kinds of TIFF.
    except Exception:  # noqa: BLE001
        turned, mode = 1, ""
    return Header(format_of(content), len(content), width, height, mode, turned if turned in range(1, 9) else 1)
