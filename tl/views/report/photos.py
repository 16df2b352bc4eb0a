"""A data set's photos become small JPEG pictures that a page carries inside itself."""

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import Content, Picture, decode, fingerprint, read
from tl.errors import ImageError

SIDE = 176  # pixels of a thumbnail's longer side: two stand side by side on a telephone
QUALITY = 76
SMALL = 64  # pixels; below, colours are kept at full resolution and the quality is raised: it costs nothing

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


class Album:
    """The photos of a data set by name; without a data set it has none.

    `sha256` are fingerprints by name: another photo of the same name is not shown in the place of the one answered.
    """

    def __init__(self, dataset: Dataset | None, sha256: Mapping[str, str] | None = None) -> None:
        names, pictures = (dataset.names, dataset.pictures) if dataset is not None else ((), ())
        self._pictures: Mapping[str, Picture] = dict(zip(names, pictures, strict=True))
        self._sha256 = sha256 or {}
        self._thumbnails: dict[str, Thumbnail | None] = {}

    @property
    def lost(self) -> bool:
        """Whether none of the photos asked for so far can be read again."""
        return bool(self._thumbnails) and not any(self._thumbnails.values())

    def prepare(self, names: Iterable[str]) -> None:
        """Make the thumbnails of these photos, on all cores."""
        missing = [name for name in dict.fromkeys(names) if name not in self._thumbnails]
        if not missing:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._thumbnails |= dict(zip(missing, pool.map(self._made, missing), strict=True))

    def thumbnail(self, name: str) -> Thumbnail | None:
        """A photo's thumbnail; None where the photo cannot be read again."""
        self.prepare([name])
        return self._thumbnails[name]

    def image(self, name: str) -> Image | None:
        """The photo itself, RGB uint8 `[height, width, 3]`; None where it cannot be read again."""
        try:
            content = self._content(name)
            return None if content is None else decode(content, 512)
        except ImageError:
            return None

    def _made(self, name: str) -> Thumbnail | None:
        try:
            content = self._content(name)
            return None if content is None else thumbnail(decode(content, SIDE))
        except ImageError:
            return None

    def _content(self, name: str) -> Content | None:
        picture = self._pictures.get(name)
        if picture is None:
            return None
        content = read(picture)
        known = self._sha256.get(name)
        return content if known in (None, fingerprint(content).hex()) else None


def thumbnail(image: Image, side: int = SIDE) -> Thumbnail:
    """An RGB uint8 image `[height, width, 3]` as a thumbnail with no side longer than `side` pixels."""
    small = shrunk(image, side)
    height, width = small.shape[:2]
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(_jpeg(small)).decode('ascii')}", width, height)


def shrunk(image: Image, side: int) -> Image:
    """The image with no side longer than `side` pixels; a smaller one as it is."""
    import cv2

    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.shape[1::-1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(image: Image) -> bytes:
    import simplejpeg

    tiny = max(image.shape[:2]) <= SMALL
    quality, colours = (92, "444") if tiny else (QUALITY, "420")
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", colours))


def within(thumbnails: Sequence[Thumbnail | None], budget: int) -> int:
    """How many of the first thumbnails have no more than `budget` characters together."""
    sizes = np.cumsum([0 if made is None else len(made.uri) for made in thumbnails], dtype=np.int64)
    return int(np.searchsorted(sizes, budget, side="right"))
