"""Compute the features of images: read, look them up in the cache by content, and decode and run only the new ones.

Reading and decoding run in threads, a bounded number of images ahead of the engine, so that memory does not grow with
the number of images and the engine never waits for them.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tl.cache import WRITE_ROWS, CacheWriter, FeatureCache, Vector
from tl.data.colour import Remarks
from tl.data.images import VERSION, Content, ImageLike, fingerprint, read, read_resized
from tl.engines.engine import Engine, Photos, Tag, Vectors
from tl.errors import EngineError, ImageError
from tl.linalg import OneThread
from tl.networks.backbones import Recipe
from tl.progress import Progress

_IN_MEMORY = 256 << 20  # bytes; larger arrays of features are memory-mapped files
_SHUTDOWN_SECONDS = 2.0
_CHUNK = 16  # images per thread task as long as their features are cached


@dataclass(frozen=True)
class FeatureRow:
    """The result for one image: its index in the input, sha256 and features, or the error.

    `remarks` are the kinds of what was decided while it was decoded, if it was.
    """

    index: int
    fingerprint: bytes
    vector: Vector | None
    error: str = ""
    cached: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Features:
    """`values` float32 `[n, features]` of the images at indices `kept`, their sha256, and the errors of the others."""

    values: NDArray[np.float32]
    kept: NDArray[np.int64]
    fingerprints: tuple[bytes, ...]
    failures: dict[int, str]
    cached: int
    seconds: float


_Item = TypeVar("_Item")
_Indexed = tuple[int, ImageLike]
_Prepared = tuple[FeatureRow, Photos | None]
"""A row with its photo if its features are still to be computed."""


def stream(
    images: Iterable[ImageLike],
    engine: Engine,
    recipe: Recipe,
    cache: FeatureCache | None,
    *,
    progress: Progress | None = None,
) -> Iterator[list[FeatureRow]]:
    """The rows of all images, some at a time, as soon as they are ready: not in order, in constant memory.

    An image that cannot be read or decoded has a row with its error. A cache that cannot be written is given up.
    """
    store = CacheWriter(cache, f"{engine.key}/images {VERSION}", progress or Progress())
    ready: deque[FeatureRow] = deque()
    prepared = _ahead(lambda tasks: _prepare(tasks, recipe, store), enumerate(images), lambda: 4 * engine.batch)
    with OneThread() as linear_algebra:
        try:
            for rows, vectors in engine.run(_batches(prepared, engine, ready)):
                if len(rows) >= engine.batch:  # more will follow while the caller works with these
                    linear_algebra.hold()
                yield _drain(ready)
                store.write()
                if not np.isfinite(vectors).all():
                    raise EngineError("the network returns numbers that are not finite: its weights are damaged")
                rows = [replace(row, vector=vector) for row, vector in zip(rows, vectors, strict=True)]
                store.add((row.fingerprint, row.vector) for row in rows if row.vector is not None)
                yield rows
            yield _drain(ready)
        finally:
            prepared.close()
            store.write(at_least=1)


def extract(
    images: Sequence[ImageLike],
    engine: Engine,
    recipe: Recipe,
    cache: FeatureCache | None,
    *,
    progress: Progress | None = None,
) -> Features:
    """The features of all images, in their order."""
    progress = progress or Progress()
    started = time.monotonic()
    rows: dict[int, FeatureRow] = {}
    values: NDArray[np.float32] | None = None
    with progress.task("features", len(images), "images") as task:
        for row in chain.from_iterable(stream(images, engine, recipe, cache, progress=progress)):
            if row.vector is not None:
                if values is None:
                    values = _allocate((len(images), len(row.vector)))
                values[row.index] = row.vector
            rows[row.index] = replace(row, vector=None)
            task.advance()
    failures = {index: row.error for index, row in sorted(rows.items()) if row.error}
    kept = np.array([index for index in range(len(images)) if index not in failures], np.int64)
    if values is None:
        values = np.zeros((0, 0), np.float32)
    elif failures:
        values = values[kept]
    return Features(
        values=values,
        kept=kept,
        fingerprints=tuple(rows[index].fingerprint for index in kept),
        failures=failures,
        cached=sum(row.cached for row in rows.values()),
        seconds=time.monotonic() - started,
    )


def scan(images: Sequence[ImageLike], recipe: Recipe, *, progress: Progress | None = None) -> Features:
    """The fingerprints and failures of images, decoded as for a network with that recipe; without features."""
    return extract(images, _NoNetwork(), recipe, None, progress=progress)


class _NoNetwork:
    """An engine that computes nothing: the images are only decoded."""

    name, precision, key, batch = "none", "none", "none", 64

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        for tag, photos in batches:
            yield tag, np.zeros((len(photos), 1), np.float32)


def _prepare(tasks: Sequence[_Indexed], recipe: Recipe, store: CacheWriter) -> list[_Prepared]:
    contents: dict[int, Content] = {}
    prepared: list[_Prepared] = []
    for index, image in tasks:
        try:
            contents[index] = read(image)
        except ImageError as error:
            prepared.append((FeatureRow(index, b"", None, str(error)), None))
    hashes = [fingerprint(content) for content in contents.values()]
    for (index, content), content_hash, vector in zip(contents.items(), hashes, store.find(hashes), strict=True):
        row, photo = FeatureRow(index, content_hash, vector, cached=vector is not None), None
        try:
            if not row.cached:
                remarks: Remarks = []
                photo = read_resized(content, recipe.image_size, recipe.resize, remarks)
                row = replace(row, remarks=tuple(dict(remarks)))
        except ImageError as error:
            row = FeatureRow(index, b"", None, str(error))
        prepared.append((row, photo))
    return prepared


def _ahead(
    work: Callable[[Sequence[_Indexed]], list[_Prepared]], tasks: Iterable[_Indexed], window: Callable[[], int]
) -> Generator[_Prepared]:
    """The results of `work` in order, computed in threads at most `window()` images ahead.

    A task is one image, or many while all are cached: handing over costs more than a lookup. If the caller stops early,
    threads have `_SHUTDOWN_SECONDS` to finish: one that waits for a server may take minutes.
    """
    waiting = deque[Future[list[_Prepared]]]()
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="decode")
    source, pending, size = iter(tasks), 0, 1
    try:
        while True:
            while pending < window() and (task := list(islice(source, size))):
                waiting.append(pool.submit(work, task))
                pending += len(task)
            if not waiting:
                return
            done = waiting.popleft().result()
            pending -= len(done)
            size = _CHUNK if all(photo is None for _, photo in done) else 1
            yield from done
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in waiting if future.running()], _SHUTDOWN_SECONDS)


def _batches(
    prepared: Iterator[_Prepared], engine: Engine, ready: deque[FeatureRow]
) -> Iterator[tuple[list[FeatureRow], Photos]]:
    """Batches of photos to compute; the rows of all other images go to `ready`, with an empty batch now and then."""
    rows: list[FeatureRow] = []
    photos: list[Photos] = []
    for row, photo in prepared:
        if photo is None:
            ready.append(row)
            if len(ready) >= WRITE_ROWS:
                yield [], np.zeros((0, 1, 1, 3), np.uint8)
            continue
        rows.append(row)
        photos.append(photo)
        if len(rows) >= engine.batch:  # asked each time: it may change
            yield rows, np.stack(photos)
            rows, photos = [], []
    if rows:
        yield rows, np.stack(photos)


def _allocate(shape: tuple[int, int]) -> NDArray[np.float32]:
    if shape[0] * shape[1] * 4 <= _IN_MEMORY:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="tl-features-") as file:  # the mapping keeps the unnamed file alive
        return np.memmap(file, np.float32, "w+", shape=shape)


def _drain(ready: deque[_Item]) -> list[_Item]:
    return [ready.popleft() for _ in range(len(ready))]  # threads may append meanwhile
