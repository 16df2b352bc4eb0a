"""Features of queries and of many photos become the most similar photos to each: exact, by cosine, in blocks.

No index is needed: a product with 100,000 rows of 2,048 numbers takes less than a second for a handful of queries,
while the reading of as many files takes minutes, and an approximate index would miss some and need keeping.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

_BLOCK = 4096  # rows at a time, so that features in a file never come into memory whole


def most_similar(queries: Floats, rows: Floats, count: int) -> tuple[Places, Floats]:
    """Places `[q, count]` of the rows most like each query, and their cosine similarities, the most similar first.

    `queries` `[q, features]`, `rows` `[n, features]`; fewer than `count` columns where there are fewer rows. Of equals
    the first come first.
    """
    wanted = min(count, len(rows))
    places, similar = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    asked = _unit(queries)
    for start in range(0, len(rows), _BLOCK):
        block = asked @ _unit(rows[start : start + _BLOCK]).T
        here = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        places, similar = np.concatenate([places, here], axis=1), np.concatenate([similar, block], axis=1)
        best = np.argsort(-similar, axis=1, kind="stable")[:, :wanted]
        places, similar = np.take_along_axis(places, best, 1), np.take_along_axis(similar, best, 1)
    return places, np.clip(similar, -1.0, 1.0)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.maximum(lengths, np.float32(1e-12))
    return scaled
