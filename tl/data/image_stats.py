"""A decoded picture becomes what can be seen of it without a network: its file, size, light, and a small grey copy.

What was seen is kept under that hash, beside the features, so that the same bytes are not decoded a second time.

The hash is pHash as the package imagehash defines it (the lowest 8 × 8 coefficients of a cosine transform at 32 × 32,
each above or below their median), for all pictures at once: one at a time takes longer than all the rest of a check.
"""

import os
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.cache import FeatureCache, namespace
from tl.data.decoding import opened
from tl.data.images import VERSION as IMAGES
from tl.data.images import Content, ImageLike, decode, fingerprint, read
from tl.errors import CacheError, ImageError
from tl.progress import Progress

SIDE = 32
"""Of the small grey copies, in pixels: enough to lay one over another, 50 MB for 50,000."""

DETAIL = 128
"""Pixels of the short side at which contrast and sharpness are measured: large JPEGs are decoded by half."""

VERSION = 1
"""Raised when the same pixels come to look otherwise, so that what was kept of them is not taken."""

_AT_ONCE = 1024  # pictures whose colours are computed at a time: 10 MB
_COARSE = 16  # pixels of the side at which colours are measured; the outermost count as the border
_HEADER = 89_000_000  # pixels beyond which Pillow warns before it has been asked for anything
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}

ROW = np.dtype(
    [
        *(("format", "S12"), ("mode", "S12"), ("bytes", "<u8"), ("width", "<u4"), ("height", "<u4")),
        *(("orientation", "<u4"), ("contrast", "<f4"), ("sharpness", "<f4")),
        *(("coarse", "u1", (_COARSE, _COARSE, 3)), ("grey", "u1", (SIDE, SIDE))),
    ]
)
"""What is kept of one picture: its header, and the pixels that everything else is computed from."""


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


def see(content: Content, image: NDArray[np.uint8]) -> NDArray[Any]:
    """The row `[]` of a file and its pixels, decoded to at least `DETAIL` a side where it has them."""
    header = _header(content, image)
    row = np.zeros((), ROW)
    row["format"], row["mode"] = header.format.encode(), header.mode.encode()
    for name in ("bytes", "width", "height", "orientation"):
        row[name] = getattr(header, name)
    row["coarse"], row["grey"] = _reduced(image)
    row["contrast"], row["sharpness"] = _detail(image)
    return row


def looks_of(rows: NDArray[Any], fingerprints: Sequence[bytes], errors: dict[int, str]) -> ImageStats:
    """The looks that rows `[n]` of pictures with these content hashes stand for; those with an error are zero."""
    columns = [rows[name].tolist() for name in ("format", "bytes", "width", "height", "mode", "orientation")]
    headers = [
        None if at in errors else Header(kind.decode(), size, width, height, mode.decode(), orientation)
        for at, (kind, size, width, height, mode, orientation) in enumerate(zip(*columns, strict=True))
    ]
    grey = np.ascontiguousarray(rows["grey"])
    colour, border = np.zeros((len(rows), 6), np.float32), np.zeros((len(rows), 7), np.float32)
    light = np.zeros((len(rows), 2), np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        colour[some], border[some] = _colours(rows["coarse"][some].astype(np.float32))
        light[some] = np.percentile(grey[some].reshape(-1, SIDE * SIDE), (5, 95), axis=1).T
    return ImageStats(
        fingerprints=tuple(fingerprints),
        headers=tuple(headers),
        errors=dict(sorted(errors.items())),
        grey=grey,
        colour=colour,
        border=border,
        light=light,
        contrast=np.ascontiguousarray(rows["contrast"]),
        sharpness=np.ascontiguousarray(rows["sharpness"]),
    )


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
    with opened(content) as parsed:
        orientation = int(parsed.getexif().get(_ORIENTATION, 1))
        return Header(str(parsed.format), len(content), width, height, str(parsed.mode), orientation)


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
            with opened(content) as parsed:
                orientation = int(parsed.getexif().get(_ORIENTATION, 1))
        # The pixels are sound by now, and Pillow raises what it likes on odd EXIF data: it tells nothing then.
        except Exception:  # noqa: BLE001
            orientation = 1
    return Header("JPEG", len(content), width, height, str(space), orientation)


Row = NDArray[Any]

_CHUNK = 64  # pictures that one thread looks at before the next
_HELD = 16 << 20  # bytes of them that are held in memory meanwhile
_SPACE = namespace(f"looks {VERSION}/images {IMAGES}")


def measure_images(
    pictures: Sequence[ImageLike],
    *,
    known: Sequence[bytes] | None = None,
    cache: FeatureCache | None = None,
    seen: Callable[[Sequence[int], Sequence[bytes]], None] | None = None,
    progress: Progress | None = None,
) -> ImageStats:
    """What can be seen of pictures, in their order; `seen` is told indices and content hashes of those that decode,
    some at a time and from several threads.

    With their content hashes in `known`, a file is read only where `cache` has not kept what it looks like.
    """
    progress = progress or Progress()
    keeper = _Keeper(cache, progress)
    rows = np.zeros(len(pictures), ROW)
    hashes = [b""] * len(pictures) if known is None else list(known)
    errors: dict[int, str] = {}

    def examine(indices: range) -> _Chunk:
        chunk = _Chunk(indices)
        contents = _contents(pictures, hashes, indices, errors) if known is None else {}
        sound = [index for index in indices if index not in errors]
        for index, row in zip(sound, keeper.find([hashes[index] for index in sound]), strict=True):
            if row is not None:
                rows[index] = row
                chunk.kept.append(index)
                continue
            try:
                content = contents[index] if index in contents else read(pictures[index])
                hashes[index] = fingerprint(content)  # it may have changed since
                rows[index] = see(content, decode(content, DETAIL))
            except ImageError as error:
                errors[index] = str(error)
            else:
                chunk.fresh.append(index)
        if seen is not None:
            decoded = [index for index in indices if index not in errors]
            seen(decoded, [hashes[index] for index in decoded])
        return chunk

    with progress.task("looking", len(pictures), "photos") as task:
        for chunk in _in_threads(examine, len(pictures)):
            keeper.keep([(hashes[index], rows[index]) for index in chunk.fresh])
            keeper.note([hashes[index] for index in chunk.kept])
            task.advance(len(chunk.indices))
    return looks_of(rows, hashes, errors)


def _contents(
    pictures: Sequence[ImageLike], hashes: list[bytes], indices: range, errors: dict[int, str]
) -> dict[int, Content]:
    """Read and hash pictures; as much of them as may stay in memory need not be read again to be decoded."""
    contents: dict[int, Content] = {}
    held = 0
    for index in indices:
        try:
            content = read(pictures[index])
        except ImageError as error:
            errors[index] = str(error)
            continue
        hashes[index] = fingerprint(content)
        held += len(content) if isinstance(content, bytes) else content.nbytes
        if held <= _HELD:
            contents[index] = content
    return contents


@dataclass
class _Chunk:
    """Pictures that one thread looks at, and of which of them was something kept or is something new."""

    indices: range
    kept: list[int] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)


class _Keeper:
    """ImageStats rows up and writes them; a store that fails is said once and then left alone."""

    def __init__(self, cache: FeatureCache | None, progress: Progress) -> None:
        self._cache, self._report = cache, progress

    def find(self, hashes: Sequence[bytes]) -> list[Row | None]:
        if self._cache is None:
            return [None] * len(hashes)
        return [
            None if found is None or found.vector.nbytes != ROW.itemsize else found.vector.view(ROW)[0]
            for found in self._cache.find([_SPACE + content_hash for content_hash in hashes])
        ]

    def keep(self, rows: Sequence[tuple[bytes, Row]]) -> None:
        vectors = [(_SPACE + content_hash, np.frombuffer(row.tobytes(), np.float32)) for content_hash, row in rows]
        self._store(lambda cache: cache.put(vectors) if vectors else None)

    def note(self, hashes: Sequence[bytes]) -> None:
        self._store(lambda cache: cache.touch([_SPACE + content_hash for content_hash in hashes]) if hashes else None)

    def _store(self, what: Callable[[FeatureCache], None]) -> None:
        if self._cache is None:
            return
        try:
            what(self._cache)
        except CacheError as error:
            self._cache = None
            self._report.warn(f"{error}; continuing without it")


def _in_threads(work: Callable[[range], _Chunk], count: int) -> Iterator[_Chunk]:
    """Chunks in order, a few ahead of the one that is taken."""
    workers = max(2, os.cpu_count() or 1)
    waiting: deque[Future[_Chunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        for start in range(0, count, _CHUNK):
            waiting.append(pool.submit(work, range(start, min(start + _CHUNK, count))))
            if len(waiting) >= 8 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


Bits = NDArray[np.float32]

BITS = 64
_LOW, _ROWS = 8, 2048


def hashes(grey: NDArray[np.uint8]) -> tuple[Bits, Bits]:
    """Hashes `[n, 64]` of grey pictures uint8 `[n, 32, 32]` and of their mirror images, as -1 and 1.

    The product of two of them is 64 less twice the number of bits in which they differ.
    """
    from scipy.fft import dctn

    plain = np.empty((len(grey), BITS), np.float32)
    mirrored = np.empty((len(grey), BITS), np.float32)
    for start in range(0, len(grey), _ROWS):
        low = dctn(grey[start : start + _ROWS].astype(np.float64), axes=(1, 2))[:, :_LOW, :_LOW]
        plain[start : start + _ROWS] = _signs(low)
        low[:, :, 1::2] *= -1  # mirroring turns the waves that are odd across, and no other
        mirrored[start : start + _ROWS] = _signs(low)
    return plain, mirrored


def _signs(low: NDArray[np.float64]) -> Bits:
    flat = low.reshape(len(low), BITS)
    return np.where(flat > np.median(flat, axis=1, keepdims=True), np.float32(1), np.float32(-1))
