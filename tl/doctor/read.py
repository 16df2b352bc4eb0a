"""Pictures become their looks and their features; a file whose features are kept is read once for both."""

import os
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.cache import FeatureCache, namespace, usable_cache
from tl.data.image_stats import ImageStats, measure_images
from tl.data.images import VERSION, ImageLike
from tl.engines.engine import Engine
from tl.features.extract import extract
from tl.networks.backbones import Recipe
from tl.progress import Progress

_IN_MEMORY = 256 << 20  # features larger than this many bytes live in a file
_TOUCHED = 4096  # rows marked as used in one transaction


@dataclass(frozen=True)
class Seen:
    """Statistics of all images, and features float32 `[len(usable), features]` of those that can be used, by index."""

    looks: ImageStats
    features: NDArray[np.float32]
    usable: NDArray[np.int64]
    cached: int


def read_all(pictures: Sequence[ImageLike], engine: Engine, recipe: Recipe, size: int, progress: Progress) -> Seen:
    """The looks and the features, `size` numbers each, of pictures in their order."""
    values = _allocate((len(pictures), size))
    known = np.zeros(len(pictures), np.bool_)
    with usable_cache(progress) as cache:
        # As in tl.features.extract, which fills what is not found here.
        space = namespace(f"{engine.key}/images {VERSION}")

        used: deque[bytes] = deque()

        def find(indices: Sequence[int], hashes: Sequence[bytes]) -> None:
            keys = [space + content_hash for content_hash in hashes]
            for index, key, row in zip(indices, keys, cache.find(keys) if cache is not None else (), strict=False):
                if row is not None and len(row.vector) == size:
                    values[index], known[index] = row.vector, True
                    if not row.today:
                        used.append(key)

        looks = measure_images(pictures, cache=cache, seen=find, progress=progress)
        if cache is not None:
            _touch(cache, list(used))
        missing = [index for index in range(len(pictures)) if not known[index] and index not in looks.errors]
        if missing:
            made = extract([pictures[index] for index in missing], engine, recipe, cache, progress=progress)
            looks.errors.update({missing[at]: error for at, error in made.failures.items()})
            for at, row in zip(made.kept.tolist(), made.values, strict=True):
                values[missing[at]] = row
    usable = np.array([index for index in range(len(pictures)) if index not in looks.errors], np.int64)
    features = values if len(usable) == len(pictures) else values[usable]
    return Seen(looks, features, usable, int(known.sum()))


def _touch(cache: FeatureCache, keys: list[bytes]) -> None:
    for start in range(0, len(keys), _TOUCHED):
        cache.touch(keys[start : start + _TOUCHED])


def _allocate(shape: tuple[int, int]) -> NDArray[np.float32]:
    if shape[0] * shape[1] * 4 <= _IN_MEMORY:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="tl-features-") as file:  # the mapping keeps the unnamed file alive
        os.truncate(file.fileno(), shape[0] * shape[1] * 4)
        return np.memmap(file, np.float32, "r+", shape=shape)
