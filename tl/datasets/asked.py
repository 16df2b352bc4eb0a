"""What a caller from Python gives as images becomes pictures: paths, patterns, folders, arrays, or several of them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tl.data.images import Picture
from tl.datasets.paths import image_files
from tl.errors import UsageError


def pictures_of(images: str | Path | Picture | Sequence[str | Path | Picture]) -> list[Picture]:
    """The pictures meant, in their order. Raises UsageError for what can be none."""
    given: Sequence[object] = images if isinstance(images, (list, tuple)) else [images]
    return [picture for item in given for picture in _pictures(item)]


def named(pictures: Sequence[Picture]) -> list[tuple[str, Picture]]:
    """Each with its path as its name, or with its place."""
    return [(str(item) if isinstance(item, Path) else str(at), item) for at, item in enumerate(pictures)]


def _pictures(item: object) -> Iterable[Picture]:
    if isinstance(item, (str, os.PathLike)):
        return image_files([item])
    if isinstance(item, np.ndarray) and item.ndim == 3 and item.dtype == np.uint8:
        return [item]
    given = f"{item.dtype} array {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise UsageError(f"an image cannot be given as {given}: give a path, or a uint8 array [height, width, 3] of RGB")
