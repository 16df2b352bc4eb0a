"""Compute and store the activations of a network's frozen part: float16 on disk, several augmented views per image.

The part below the cut does not change while the part above it is trained, so each view passes through it once.
"""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, read, read_resized
from tl.engines.engine import Engine, Photos
from tl.errors import DataError, EngineError, ImageError, StorageError
from tl.networks.backbones import Recipe
from tl.progress import Progress
from tl.settings import Settings, settings

MARGIN = 1.25
"""Images to augment are decoded larger than the network's input by this factor, so that crops stay sharp."""

Halves = NDArray[np.float16]
Transform = Callable[[Photos, int], Photos]
"""Photos uint8 `[n, side, side, 3]` and the number of the batch to photos uint8 `[n, size, size, 3]`."""
_View = tuple[int, int]
"""A view and the index of its image."""


def affordable_views(views: int, images: int, activations: int, where: Settings | None = None) -> int:
    """How many of `views` fit the limit and half of the free disk, with so many 16-bit activations per image."""
    where = where or settings()
    where.cache_dir.mkdir(parents=True, exist_ok=True)
    room = min(where.activations_limit, shutil.disk_usage(where.cache_dir).free // 2)
    return min(views, room // max(1, 2 * images * activations))


def store(
    images: Sequence[ImageLike],
    engine: Engine,
    recipe: Recipe,
    shape: Sequence[int],
    *,
    views: int,
    transform: Transform,
    deadline: float = math.inf,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Halves:
    """The activations of this `shape` of every view of every image: float16 `[views, n, *shape]`.

    View 0 is the image itself, the others are augmented; those that are not complete at the `deadline`, a
    `time.monotonic()`, are left out. The file behind the array is deleted with it.
    Raises StorageError if the disk is full, EngineError if activations do not fit 16 bits.
    """
    values = _on_disk((views, len(images), *shape), where or settings())
    missing = np.full(views, len(images))
    order = [(view, index) for view in range(views) for index in range(len(images))]
    with (progress or Progress()).task("activations", len(order), "views") as task:
        for batch, activations in engine.run(_batches(images, order, engine.batch, recipe, transform=transform)):
            if not np.isfinite(activations).all():
                raise EngineError("the network's activations do not fit 16 bits: train with --unfreeze all")
            for (view, index), row in zip(batch, activations, strict=True):
                values[view, index] = row
                missing[view] -= 1
            task.advance(len(batch))
            complete = int((np.cumsum(missing) == 0).sum())
            if complete and time.monotonic() > deadline:
                return values[:complete]
    return values


def photos(images: Sequence[ImageLike], side: int, recipe: Recipe, pool: ThreadPoolExecutor) -> Photos:
    """Images as one array uint8 `[n, side, side, 3]`, decoded in the threads of a pool.

    Raises DataError for an image that was changed or removed since it was first read.
    """

    def load(image: ImageLike) -> Photos:
        try:
            return read_resized(read(image), side, recipe.resize)
        except ImageError as error:
            name = image if isinstance(image, Path) else "an image"
            raise DataError(f"{name} can no longer be read ({error}): restore it, or run again without it") from error

    return np.stack(list(pool.map(load, images)))


def _batches(
    images: Sequence[ImageLike], order: list[_View], size: int, recipe: Recipe, *, transform: Transform
) -> Iterator[tuple[list[_View], Photos]]:
    plain = [place for place in order if place[0] == 0]
    augmented = order[len(plain) :]
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool:
        for start in range(0, len(plain), size):
            batch = plain[start : start + size]
            yield batch, photos([images[index] for _, index in batch], recipe.image_size, recipe, pool)
        side = round(MARGIN * recipe.image_size)
        for number, start in enumerate(range(0, len(augmented), size)):
            batch = augmented[start : start + size]
            yield batch, transform(photos([images[index] for _, index in batch], side, recipe, pool), number)


def _on_disk(shape: tuple[int, ...], where: Settings) -> Halves:
    size = 2 * int(np.prod(shape))
    try:
        with tempfile.TemporaryFile(prefix="tl-activations-", dir=where.cache_dir) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # finds a full disk now, not while the mapping is written
            else:
                file.truncate(size)
            # The mapping keeps the unnamed file alive.
            return np.memmap(file, np.float16, "r+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"cannot write {size >> 20:,} MB of activations to {where.cache_dir} ({error.strerror}); "
            "free space there, set TL_CACHE_DIR, or lower TL_ACTIVATIONS_LIMIT"
        ) from error
