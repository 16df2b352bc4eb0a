"""Rows become the pairs of them that are alike: exact, in blocks, so that memory does not grow with their square.

No index is needed: a product with 100,000 rows of 2,048 numbers takes less than a second for a handful of queries,
while the reading of as many files takes minutes, and an approximate index would miss some and need keeping.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tl.blas import OneThread

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]

_BLOCK = 256  # rows at a time: 50 MB of similarities to 50,000 others, for each processor
_MOST = 2_000_000  # pairs kept; a data set with more consists of copies, and these show it as well


def unit(rows: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.maximum(lengths, 1e-12)
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
    made = np.empty((len(rows), size), np.float32)
    for start in range(0, len(rows), 4096):
        made[start : start + 4096] = (rows[start : start + 4096] - mean) @ directions
    return unit(made)


def products(left: Floats, right: Floats, pairs: Pairs) -> Floats:
    """The product `[m]` of row i of `left` and row j of `right` for each of pairs `[m, 2]`."""
    made = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 4096):
        some = pairs[start : start + 4096]
        made[start : start + 4096] = np.einsum("ij,ij->i", left[some[:, 0]], right[some[:, 1]])
    return made


def pairs_above(rows: Floats, least: float, odd: Floats | None = None) -> Pairs:
    """Pairs `[m, 2]`, i < j, of rows whose product is at least `least`; with `odd` rows, their product's size is added.

    Of more than two million the first are returned.
    """

    def block(start: int) -> Pairs:
        similar = rows[start : start + _BLOCK] @ rows[start:].T
        if odd is not None:
            turned = odd[start : start + _BLOCK] @ odd[start:].T
            similar += np.abs(turned, out=turned)
        first, second = np.divmod(np.flatnonzero(similar >= least), similar.shape[1])
        after = second > first
        return np.stack([first[after], second[after]], axis=1) + start

    found: list[Pairs] = [np.zeros((0, 2), np.int64)]
    # A thread for each processor outside of the linear algebra: most of the time goes into what follows it.
    with OneThread(now=True), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for pairs in pool.map(block, range(0, len(rows), _BLOCK)):
            found.append(pairs)
            if sum(map(len, found)) >= _MOST:
                pool.shutdown(wait=True, cancel_futures=True)
                break
    return np.concatenate(found)


Places = NDArray[np.int64]

_NEIGHBORS_BLOCK = 4096  # rows at a time, so that features in a file never come into memory whole


def most_similar(queries: Floats, rows: Floats, count: int) -> tuple[Places, Floats]:
    """Places `[q, count]` of the rows most like each query, and their cosine similarities, the most similar first.

    `queries` `[q, features]`, `rows` `[n, features]`; fewer than `count` columns where there are fewer rows. Of equals
    the first come first.
    """
    wanted = min(count, len(rows))
    places, similar = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    asked = _unit(queries)
    for start in range(0, len(rows), _NEIGHBORS_BLOCK):
        block = asked @ _unit(rows[start : start + _NEIGHBORS_BLOCK]).T
        here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        places, similar = np.concatenate([places, here], axis=1), np.concatenate([similar, block], axis=1)
        best = np.argsort(-similar, axis=1, kind="stable")[:, :wanted]
        places, similar = np.take_along_axis(places, best, 1), np.take_along_axis(similar, best, 1)
    return places, np.clip(similar, -1.0, 1.0)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.maximum(lengths, np.float32(1e-12))
    return scaled
