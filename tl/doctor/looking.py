"""Pictures become their looks: read once, for their content hash as well, and decoded no larger than it takes.

What was seen is kept under that hash, beside the features, so that the same bytes are not decoded a second time.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.image_stats import DETAIL, ROW, VERSION, Looks, looks_of, see
from tl.data.images import VERSION as IMAGES
from tl.data.images import Content, Picture, decode, fingerprint, read
from tl.errors import CacheError, ImageError
from tl.features.cache import FeatureCache, namespace
from tl.progress import Reporter, Silent

Row = NDArray[Any]

_CHUNK = 64  # pictures that one thread looks at before the next
_HELD = 16 << 20  # bytes of them that are held in memory meanwhile
_SPACE = namespace(f"looks {VERSION}/images {IMAGES}")


def look(
    pictures: Sequence[Picture],
    *,
    known: Sequence[bytes] | None = None,
    cache: FeatureCache | None = None,
    seen: Callable[[Sequence[int], Sequence[bytes]], None] | None = None,
    report: Reporter | None = None,
) -> Looks:
    """What can be seen of pictures, in their order; `seen` is told indices and content hashes of those that decode,
    some at a time and from several threads.

    With their content hashes in `known`, a file is read only where `cache` has not kept what it looks like.
    """
    report = report or Silent()
    keeper = _Keeper(cache, report)
    rows = np.zeros(len(pictures), ROW)
    hashes = [b""] * len(pictures) if known is None else list(known)
    errors: dict[int, str] = {}

    def examine(indices: range) -> _Chunk:
        chunk = _Chunk(indices)
        contents = _contents(pictures, hashes, indices, errors) if known is None else {}
        sound = [index for index in indices if index not in errors]
        for index, row in zip(sound, keeper.find([hashes[index] for index in sound]), strict=True):
            if row is not None:
                rows[index] = row
                chunk.kept.append(index)
                continue
            try:
                content = contents[index] if index in contents else read(pictures[index])
                hashes[index] = fingerprint(content)  # it may have changed since
                rows[index] = see(content, decode(content, DETAIL))
            except ImageError as error:
                errors[index] = str(error)
            else:
                chunk.fresh.append(index)
        if seen is not None:
            decoded = [index for index in indices if index not in errors]
            seen(decoded, [hashes[index] for index in decoded])
        return chunk

    with report.task("looking", len(pictures), "photos") as task:
        for chunk in _in_threads(examine, len(pictures)):
            keeper.keep([(hashes[index], rows[index]) for index in chunk.fresh])
            keeper.note([hashes[index] for index in chunk.kept])
            task.advance(len(chunk.indices))
    return looks_of(rows, hashes, errors)


def _contents(
    pictures: Sequence[Picture], hashes: list[bytes], indices: range, errors: dict[int, str]
) -> dict[int, Content]:
    """Read and hash pictures; as much of them as may stay in memory need not be read again to be decoded."""
    contents: dict[int, Content] = {}
    held = 0
    for index in indices:
        try:
            content = read(pictures[index])
        except ImageError as error:
            errors[index] = str(error)
            continue
        hashes[index] = fingerprint(content)
        held += len(content) if isinstance(content, bytes) else content.nbytes
        if held <= _HELD:
            contents[index] = content
    return contents


@dataclass
class _Chunk:
    """Pictures that one thread looks at, and of which of them was something kept or is something new."""

    indices: range
    kept: list[int] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)


class _Keeper:
    """Looks rows up and writes them; a store that fails is said once and then left alone."""

    def __init__(self, cache: FeatureCache | None, report: Reporter) -> None:
        self._cache, self._report = cache, report

    def find(self, hashes: Sequence[bytes]) -> list[Row | None]:
        if self._cache is None:
            return [None] * len(hashes)
        return [
            None if found is None or found.vector.nbytes != ROW.itemsize else found.vector.view(ROW)[0]
            for found in self._cache.find([_SPACE + content_hash for content_hash in hashes])
        ]

    def keep(self, rows: Sequence[tuple[bytes, Row]]) -> None:
        vectors = [(_SPACE + content_hash, np.frombuffer(row.tobytes(), np.float32)) for content_hash, row in rows]
        self._store(lambda cache: cache.put(vectors) if vectors else None)

    def note(self, hashes: Sequence[bytes]) -> None:
        self._store(lambda cache: cache.touch([_SPACE + content_hash for content_hash in hashes]) if hashes else None)

    def _store(self, what: Callable[[FeatureCache], None]) -> None:
        if self._cache is None:
            return
        try:
            what(self._cache)
        except CacheError as error:
            self._cache = None
            self._report.warn(f"{error}; going on without it")


def _in_threads(work: Callable[[range], _Chunk], count: int) -> Iterator[_Chunk]:
    """Chunks in order, a few ahead of the one that is taken."""
    workers = max(2, os.cpu_count() or 1)
    waiting: deque[Future[_Chunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        for start in range(0, count, _CHUNK):
            waiting.append(pool.submit(work, range(start, min(start + _CHUNK, count))))
            if len(waiting) >= 8 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
