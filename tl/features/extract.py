"""Pictures become features: read, looked up by content, and only where unknown decoded and passed through the engine.

Reading and decoding run in threads, a bounded number of pictures ahead of the engine, so that memory does not grow
with their number and the engine never waits for them.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from tl.blas import OneThread
from tl.cache import FeatureCache, Vector, namespace
from tl.data.images import VERSION, Content, ImageLike, decode, fingerprint, fit, read
from tl.engines.engine import Engine, Photos, Tag, Vectors
from tl.errors import CacheError, EngineError, ImageError
from tl.networks.backbones import Recipe
from tl.progress import Progress

_IN_MEMORY = 256 << 20  # features larger than this many bytes live in a file of the cache's disk
_WRITE_ROWS = 256
_PATIENCE = 2.0  # seconds
_TOGETHER = 16  # pictures handed to a thread at once, as long as their features are known


@dataclass(frozen=True)
class Row:
    """One picture's outcome: its place in the input, sha256 and features, or the reason why it has none."""

    index: int
    fingerprint: bytes
    vector: Vector | None
    error: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Features:
    """`values` float32 `[n, features]` of the pictures at `kept`, their sha256, and why each of the others failed."""

    values: NDArray[np.float32]
    kept: NDArray[np.int64]
    fingerprints: tuple[bytes, ...]
    failures: dict[int, str]
    cached: int
    seconds: float


@dataclass(frozen=True)
class _Prepared:
    index: int
    fingerprint: bytes = b""
    vector: Vector | None = None
    photo: Photos | None = None
    error: str = ""


_Task = tuple[int, ImageLike]
_Work = Callable[[Sequence[_Task]], list[_Prepared]]


def stream(
    pictures: Iterable[ImageLike],
    engine: Engine,
    recipe: Recipe,
    cache: FeatureCache | None,
    *,
    progress: Progress | None = None,
) -> Iterator[list[Row]]:
    """Every picture's row, some at a time, as soon as they are known: not in order, in memory that does not grow.

    A picture that cannot be read or decoded is a row with its error. A full disk costs the cache, not the result.
    """
    keeper = _Keeper(cache, engine, progress or Progress())
    ready: deque[Row] = deque()
    prepared = _ahead(lambda tasks: _prepare(tasks, recipe, keeper), enumerate(pictures), lambda: 4 * engine.batch)
    with OneThread() as linear_algebra:
        try:
            for batch, vectors in engine.run(_batches(prepared, engine, ready)):
                if len(batch) >= engine.batch:  # more are likely to come, while the caller works with these
                    linear_algebra.hold()
                yield _drained(ready)
                keeper.settle()
                if not np.isfinite(vectors).all():
                    raise EngineError(
                        "the network gives numbers that are not finite: its weights or its files are damaged"
                    )
                for item, vector in zip(batch, vectors, strict=True):
                    keeper.keep(item.fingerprint, vector)
                yield [Row(item.index, item.fingerprint, vector) for item, vector in zip(batch, vectors, strict=True)]
            yield _drained(ready)
        finally:
            prepared.close()
            keeper.settle(at_least=1)


def extract(
    pictures: Sequence[ImageLike],
    engine: Engine,
    recipe: Recipe,
    cache: FeatureCache | None,
    *,
    progress: Progress | None = None,
) -> Features:
    """The features of a whole data set, in its order."""
    progress = progress or Progress()
    started = time.monotonic()
    rows: dict[int, Row] = {}
    values: NDArray[np.float32] | None = None
    with progress.task("features", len(pictures), "photos") as task:
        for row in chain.from_iterable(stream(pictures, engine, recipe, cache, progress=progress)):
            if row.vector is not None:
                if values is None:
                    values = _allocate((len(pictures), len(row.vector)))
                values[row.index] = row.vector
            rows[row.index] = Row(row.index, row.fingerprint, None, row.error, row.cached)
            task.advance()
    failures = {index: row.error for index, row in sorted(rows.items()) if row.error}
    kept = np.array([index for index in range(len(pictures)) if index not in failures], np.int64)
    if values is None:
        values = np.zeros((0, 0), np.float32)
    elif failures:
        values = values[kept]
    fingerprints = tuple(rows[index].fingerprint for index in kept)
    cached = sum(row.cached for row in rows.values())
    return Features(values, kept, fingerprints, failures, cached, time.monotonic() - started)


class _Keeper:
    """ImageStats rows up and writes them in batches; a store that fails is said once and then left alone."""

    def __init__(self, cache: FeatureCache | None, engine: Engine, progress: Progress) -> None:
        self._cache, self._report = cache, progress
        self._space = namespace(f"{engine.key}/images {VERSION}")
        self._pending: list[tuple[bytes, Vector]] = []
        self._used: deque[bytes] = deque()

    def find(self, hashes: Sequence[bytes]) -> list[Vector | None]:
        if self._cache is None:
            return [None] * len(hashes)
        keys = [self._space + content_hash for content_hash in hashes]
        found = self._cache.find(keys)
        self._used.extend(key for key, row in zip(keys, found, strict=True) if row is not None and not row.today)
        return [None if row is None else row.vector for row in found]

    def keep(self, content_hash: bytes, vector: Vector) -> None:
        if self._cache is not None:
            self._pending.append((self._space + content_hash, vector.copy()))

    def settle(self, at_least: int = _WRITE_ROWS) -> None:
        """Write what has gathered, once there is enough of it."""
        if max(len(self._pending), len(self._used)) < at_least:
            return
        cache, rows = self._cache, self._pending
        self._pending = []
        if cache is None:
            return
        try:
            if rows:
                cache.put(rows)
            used = [self._used.popleft() for _ in range(len(self._used))]
            if used:
                cache.touch(used)
        except CacheError as error:
            self._cache = None
            self._report.warn(f"{error}; going on without it")


def _prepare(tasks: Sequence[tuple[int, ImageLike]], recipe: Recipe, keeper: _Keeper) -> list[_Prepared]:
    contents: dict[int, Content] = {}
    errors: dict[int, str] = {}
    for index, picture in tasks:
        try:
            contents[index] = read(picture)
        except ImageError as error:
            errors[index] = str(error)
    hashes = [fingerprint(content) for content in contents.values()]
    known = dict(zip(contents, zip(hashes, keeper.find(hashes), strict=True), strict=True))
    prepared = []
    for index, _ in tasks:
        if index in errors:
            prepared.append(_Prepared(index, error=errors[index]))
            continue
        content_hash, vector = known[index]
        content = contents.pop(index)
        if vector is not None:
            prepared.append(_Prepared(index, content_hash, vector))
        else:
            prepared.append(_decoded(index, content, content_hash, recipe))
    return prepared


def _decoded(index: int, content: Content, content_hash: bytes, recipe: Recipe) -> _Prepared:
    try:
        photo = fit(decode(content, recipe.image_size), recipe.image_size, recipe.resize)
    except ImageError as error:
        return _Prepared(index, error=str(error))
    return _Prepared(index, content_hash, photo=photo)


def _ahead(work: _Work, tasks: Iterable[_Task], window: Callable[[], int]) -> Generator[_Prepared]:
    """What `work` makes of the tasks, in order, at most `window` of them ahead, which may change.

    A thread is given one picture at a time; while all are known, many: handing over costs more than looking up. Where
    this is ended early, threads have `_PATIENCE` seconds to come back: one that waits for a server may take minutes.
    """
    waiting = deque[Future[list[_Prepared]]]()
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        yield from _in_turn(pool, waiting, work, iter(tasks), window)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in waiting if future.running()], _PATIENCE)


def _in_turn(
    pool: ThreadPoolExecutor,
    waiting: deque[Future[list[_Prepared]]],
    work: _Work,
    source: Iterator[_Task],
    window: Callable[[], int],
) -> Iterator[_Prepared]:
    under_way, size = 0, 1
    while True:
        while under_way < window() and (chunk := list(islice(source, size))):
            waiting.append(pool.submit(work, chunk))
            under_way += len(chunk)
        if not waiting:
            return
        done = waiting.popleft().result()
        under_way -= len(done)
        size = _TOGETHER if all(item.photo is None for item in done) else 1
        yield from done


def _batches(
    prepared: Iterator[_Prepared], engine: Engine, ready: deque[Row]
) -> Iterator[tuple[list[_Prepared], Photos]]:
    """Batches of what has to be computed; an empty one, now and then, so that what is `ready` is handed out."""
    batch: list[_Prepared] = []
    for item in prepared:
        if item.photo is None:
            ready.append(Row(item.index, item.fingerprint, item.vector, item.error, item.vector is not None))
            if len(ready) >= _WRITE_ROWS:
                yield [], np.zeros((0, 1, 1, 3), np.uint8)
            continue
        batch.append(item)
        if len(batch) >= engine.batch:  # which may have found another size to be faster
            yield _stacked(batch)
            batch = []
    if batch:
        yield _stacked(batch)


def _allocate(shape: tuple[int, int]) -> NDArray[np.float32]:
    if shape[0] * shape[1] * 4 <= _IN_MEMORY:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(prefix="tl-features-") as file:  # the mapping keeps the unnamed file alive
        return np.memmap(file, np.float32, "w+", shape=shape)


def _stacked(batch: list[_Prepared]) -> tuple[list[_Prepared], Photos]:
    photos = np.stack([item.photo for item in batch if item.photo is not None])
    return [_Prepared(item.index, item.fingerprint) for item in batch], photos


def _drained(ready: deque[Row]) -> list[Row]:
    return [ready.popleft() for _ in range(len(ready))]


class _Reader:
    """An engine that only asks for the photos: what cannot be decoded shows, and costs nothing more."""

    name, precision, key, batch = "reader", "none", "reader", 64

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        for tag, photos in batches:
            yield tag, np.zeros((len(photos), 1), np.float32)


def survey(pictures: Sequence[ImageLike], recipe: Recipe, *, progress: Progress | None = None) -> Features:
    """Fingerprints and failures of pictures, decoded as a network with that recipe reads them."""
    return extract(pictures, _Reader(), recipe, None, progress=progress)
