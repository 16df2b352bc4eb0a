"""Pictures become the activations of a network's frozen part: float16 on disk, several augmented views of each.

What is below the cut never changes while the part above it is trained, so each view of a picture passes it once.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl.data.images import ImageLike, decode, fit, read
from tl.engines.engine import Engine, Photos
from tl.errors import DataError, EngineError, ImageError, StorageError
from tl.networks.backbones import Recipe
from tl.progress import Progress
from tl.settings import Settings, settings

MARGIN = 1.25
"""Pictures are decoded so much larger than the network's input before they are augmented: crops stay sharp."""

Halves = NDArray[np.float16]
Transform = Callable[[Photos, int], Photos]
"""Photos uint8 `[n, side, side, 3]` and the number of the batch to photos uint8 `[n, size, size, 3]`."""


@dataclass(frozen=True)
class Activations:
    """`values` float16 `[views, n, height, width, channels]`; view 0 is the picture as it is, the others augmented."""

    values: Halves

    @property
    def views(self) -> int:
        """How many views there are of each picture."""
        return int(self.values.shape[0])


def affordable_views(asked: int, pictures: int, numbers: int, where: Settings | None = None) -> int:
    """How many of the views asked for fit the limit and half of the free disk; 0 where not even one does.

    `numbers` is how many 16-bit activations a picture has.
    """
    where = where or settings()
    where.cache_dir.mkdir(parents=True, exist_ok=True)
    room = min(where.activations_limit, shutil.disk_usage(where.cache_dir).free // 2)
    return min(asked, room // max(1, 2 * pictures * numbers))


def store(
    pictures: Sequence[ImageLike],
    engine: Engine,
    recipe: Recipe,
    shape: Sequence[int],
    views: int,
    transform: Transform,
    *,
    progress: Progress | None = None,
    where: Settings | None = None,
) -> Activations:
    """The activations `shape` of every view of every picture, in a file that vanishes with them.

    Raises StorageError when the disk is full, EngineError where activations exceed 16 bits.
    """
    values = _on_disk((views, len(pictures), *shape), where or settings())
    order = [(view, at) for view in range(views) for at in range(len(pictures))]
    with (progress or Progress()).task("activations", len(order), "views") as task:
        for places, activations in engine.run(_batches(pictures, order, engine.batch, recipe, transform)):
            if not np.isfinite(activations).all():
                raise EngineError("the network's activations exceed 16 bits: train with --unfreeze all")
            for (view, at), row in zip(places, activations, strict=True):
                values[view, at] = row
            task.advance(len(places))
    return Activations(values)


def photos(pictures: Sequence[ImageLike], side: int, recipe: Recipe, pool: ThreadPoolExecutor) -> Photos:
    """Pictures as one array uint8 `[n, side, side, 3]`, decoded side by side in the threads of a pool.

    Raises DataError for one that was changed or removed since it was first read.
    """

    def squared(picture: ImageLike) -> Photos:
        try:
            return fit(decode(read(picture), side), side, recipe.resize)
        except ImageError as error:
            name = picture if isinstance(picture, Path) else "a picture"
            raise DataError(f"{name} was there before and is no more ({error}): put it back, or run again") from error

    return np.stack(list(pool.map(squared, pictures)))


def _batches(
    pictures: Sequence[ImageLike], order: list[tuple[int, int]], size: int, recipe: Recipe, transform: Transform
) -> Iterator[tuple[list[tuple[int, int]], Photos]]:
    plain = [place for place in order if place[0] == 0]
    augmented = order[len(plain) :]
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool:
        for start in range(0, len(plain), size):
            places = plain[start : start + size]
            yield places, photos([pictures[at] for _, at in places], recipe.image_size, recipe, pool)
        side = round(MARGIN * recipe.image_size)
        for number, start in enumerate(range(0, len(augmented), size)):
            places = augmented[start : start + size]
            yield places, transform(photos([pictures[at] for _, at in places], side, recipe, pool), number)


def _on_disk(shape: tuple[int, ...], where: Settings) -> Halves:
    size = 2 * int(np.prod(shape))
    try:
        with tempfile.TemporaryFile(prefix="tl-activations-", dir=where.cache_dir) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is met here, not while the mapping is written
            else:
                file.truncate(size)
            # The mapping keeps the unnamed file alive.
            return np.memmap(file, np.float16, "r+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"{size >> 20:,} MB of activations cannot be written to {where.cache_dir} ({error.strerror}); "
            "free space there, set TL_CACHE_DIR, or lower TL_ACTIVATIONS_LIMIT"
        ) from error
