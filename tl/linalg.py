"""Matrix products: one BLAS thread, exact nearest neighbours.

No index is needed: a product with 100,000 rows of 2,048 numbers takes less than a second for a handful of queries,
while the reading of as many files takes minutes, and an approximate index would miss some and need maintenance.
"""

import importlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Pairs = NDArray[np.int64]

_PAIRS_BLOCK = 256  # rows at a time: 50 MB of similarities to 50,000 others, for each processor
_MAX_PAIRS = 2_000_000  # a data set with more consists of copies, and these show it as well
_NEIGHBORS_BLOCK = 4096  # rows at a time, so that features in a file never come into memory whole


class OneThread:
    """Limit BLAS to one thread: for the whole block with `now`, else from `hold` on, which may be called again.

    OpenBLAS's own threads wait for their next work in a loop: a product of 0.1 ms for each batch of images then costs
    one of two processors half its time. The limit is that of the whole process: the first to hold it sets it and the
    last to leave resets it, in whatever thread.
    """

    _lock = threading.Lock()
    _holding = 0
    _limits: Any = None

    def __init__(self, *, now: bool = False) -> None:
        self._now, self._held = now, False

    def __enter__(self) -> Self:
        if self._now:
            importlib.import_module("scipy.linalg")  # brings a BLAS of its own, which is limited only if it is there
            self.hold()
        return self

    def hold(self) -> None:
        """Set the limit. It loads a library for 15 ms: not worth it for a single image."""
        if self._held:
            return
        from threadpoolctl import threadpool_limits

        kind = type(self)
        with kind._lock:
            if kind._holding == 0:
                kind._limits = _in_thread(lambda: threadpool_limits(1, user_api="blas"))
            kind._holding += 1
            self._held = True

    def __exit__(self, *_: object) -> None:
        if not self._held:
            return
        kind = type(self)
        with kind._lock:
            kind._holding -= 1
            self._held = False
            if kind._holding == 0:
                _in_thread(kind._limits.restore_original_limits)


def _in_thread(work: Callable[[], Any]) -> Any:
    """Run in a thread that ends: to threadpoolctl a limit belongs to the thread that set it, as long as that lives."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="blas")
    thread.start()
    thread.join()
    return results[0]


def unit(rows: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.maximum(lengths, np.float32(1e-12))
    return scaled


def projected(rows: Floats, size: int, *, about_mean: bool = True, seed: int = 0) -> Floats:
    """Rows in `size` random directions, scaled to length 1; angles are kept to within about 1 / sqrt(size).

    Source: Johnson and Lindenstrauss 1984.
    """
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if about_mean else np.float32(0)
    if rows.shape[1] <= size:
        return unit(rows - mean)
    directions = np.random.default_rng(seed).standard_normal((rows.shape[1], size), np.float32)
    directions /= np.float32(size**0.5)
    projections = np.empty((len(rows), size), np.float32)
    for start in range(0, len(rows), _NEIGHBORS_BLOCK):
        block = slice(start, start + _NEIGHBORS_BLOCK)
        projections[block] = (rows[block] - mean) @ directions
    return unit(projections)


def products(left: Floats, right: Floats, pairs: Pairs) -> Floats:
    """The product `[m]` of row i of `left` and row j of `right` for each of pairs `[m, 2]`."""
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _NEIGHBORS_BLOCK):
        first, second = pairs[start : start + _NEIGHBORS_BLOCK].T
        result[start : start + _NEIGHBORS_BLOCK] = np.einsum("ij,ij->i", left[first], right[second])
    return result


def pairs_above(rows: Floats, threshold: float, odd: Floats | None = None, *, head: int | None = None) -> Pairs:
    """Pairs `[m, 2]`, i < j, of rows whose product is at least `threshold`; the absolute product of `odd` is added.

    `head`: only pairs of one of so many first rows and one of the others. Of more than two million the first are
    returned.
    """

    def block(start: int) -> Pairs:
        end = start + _PAIRS_BLOCK if head is None else min(start + _PAIRS_BLOCK, head)
        others = start if head is None else head
        similarity = rows[start:end] @ rows[others:].T
        if odd is not None:
            product = odd[start:end] @ odd[others:].T
            similarity += np.abs(product, out=product)
        first, second = np.divmod(np.flatnonzero(similarity >= threshold), similarity.shape[1])
        pairs = np.stack([first + start, second + others], axis=1)
        return pairs[pairs[:, 1] > pairs[:, 0]]

    blocks: list[Pairs] = [np.zeros((0, 2), np.int64)]
    # A thread for each processor outside of the linear algebra: most of the time goes into what follows it.
    with OneThread(now=True), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for pairs in pool.map(block, range(0, len(rows) if head is None else head, _PAIRS_BLOCK)):
            blocks.append(pairs)
            if sum(map(len, blocks)) >= _MAX_PAIRS:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    return np.concatenate(blocks)


def most_similar(queries: Floats, rows: Floats, count: int) -> tuple[Indices, Floats]:
    """Indices `[q, count]` of the rows most similar to each query and their cosines, the most similar first.

    `queries` `[q, features]`, `rows` `[n, features]`; fewer than `count` columns where there are fewer rows. Of equals
    the first come first.
    """
    columns = min(count, len(rows))
    indices, cosines = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    directions = unit(queries)
    for start in range(0, len(rows), _NEIGHBORS_BLOCK):
        block = directions @ unit(rows[start : start + _NEIGHBORS_BLOCK]).T
        own = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        indices, cosines = np.concatenate([indices, own], axis=1), np.concatenate([cosines, block], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :columns]
        indices, cosines = np.take_along_axis(indices, best, 1), np.take_along_axis(cosines, best, 1)
    return indices, np.clip(cosines, -1.0, 1.0)
