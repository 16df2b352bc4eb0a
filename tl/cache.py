"""Cache feature vectors by image content in LMDB: crash-safe, shared by processes, limited in size.

A row is `crc32, day, float32…` under a 48-byte key (namespace of the network, sha256 of the image); a second table
orders the rows by the day of their last use, so that the oldest go first when the store is full. A row that fails its
checksum counts as missing.

LMDB locks its files by process: opening an environment twice in one process would lose the locks of the first.
"""

import hashlib
import mmap
import os
import shutil
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import CacheError, StorageError
from tl.progress import Progress
from tl.settings import Settings, settings

__all__ = ["clear", "info"]
_OTHERS = ("weights", "trunks", "datasets", "templates")  # folders beside that of the features
_ROOM = 64 << 20  # bytes of the file beyond twice the limit: removing rows takes space, too
_PAGE = mmap.PAGESIZE
_NEVER_WRITTEN = 64  # free pages at the end of the file that may not be there


def __dir__() -> list[str]:
    return __all__


@dataclass
class Environment:
    """An open LMDB environment with its two tables, its limit in bytes of rows, and how many users it has."""

    store: Any
    rows: Any
    used: Any
    limit: int
    users: int = 0


class Environments:
    """The open environments of this process, each closed by its last user. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], Environment] = {}

    def enter(self, folder: Path, limit: int) -> Environment:
        """Open the environment in a folder for `limit` bytes of rows, unless it is open already.

        Raises OSError and lmdb.Error where it cannot be created or read.
        """
        file = folder / "data.mdb"
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            _check_whole(file)
            environment = self._open.get(_identity(file)) if file.exists() else None
            if environment is None:
                environment = _open_environment(folder, limit)
                self._open[_identity(file)] = environment
            environment.users += 1
        return environment

    def leave(self, environment: Environment) -> None:
        """Close an environment if this was its last user."""
        with self._lock:
            environment.users -= 1
            if environment.users == 0:
                self._open = {key: other for key, other in self._open.items() if other is not environment}
                environment.store.close()


def _open_environment(folder: Path, limit: int) -> Environment:
    import lmdb

    size = (2 * limit + _ROOM) // 4096 * 4096
    store = lmdb.open(str(folder), map_size=size, max_dbs=2, max_readers=512, metasync=False)
    try:
        return Environment(store, store.open_db(b"rows"), store.open_db(b"used"), limit)
    except lmdb.Error:
        store.close()
        raise


def _identity(file: Path) -> tuple[int, int]:
    # Not the path: `tl cache clear` may have removed the file that another thread still has open.
    status = file.stat()
    return status.st_dev, status.st_ino


def _check_whole(file: Path) -> None:
    """Raise OSError for a truncated store: reading past the end of a mapped file ends the process.

    The two meta pages hold, after a page header of 16 bytes and 120 bytes of the tables' roots, the last page in use;
    the last few may be free ones that were never written.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        head = stream.read(_PAGE * 2)
    if len(head) < _PAGE * 2:
        raise OSError("the file is truncated")
    last = max(int.from_bytes(head[start + 136 : start + 144], "little") for start in (0, _PAGE))
    if file.stat().st_size < (last + 1 - _NEVER_WRITTEN) * _PAGE:
        raise OSError("the file is truncated")


Vector = NDArray[np.float32]
_HEAD = struct.Struct("<II")  # crc32 of what follows it, day of last use
WRITE_ROWS = 256  # that are written at once
_KEPT = 0.8  # fraction of the limit that is left after removing rows
_ENVIRONMENTS = Environments()


@dataclass(frozen=True)
class CacheInfo:
    """The rows and bytes of a cache, its limit, and its folder; `others` are the bytes of what else is kept beside it,
    by the name of its folder.
    """

    rows: int
    bytes: int
    limit: int
    folder: Path
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """A cached vector, and whether its last use was today."""

    vector: Vector
    today: bool


class FeatureCache:
    """Feature vectors by image content and network; safe for threads and processes, and may be opened repeatedly.

    Where it is open already in this process, with a lower limit, that one holds.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        import lmdb

        self._folder = folder
        try:
            self._environment = _ENVIRONMENTS.enter(folder, limit)
        except (OSError, lmdb.Error) as error:
            raise CacheError(
                f"the feature cache {folder} cannot be opened ({error}); `tl cache clear` or TL_CACHE_DIR helps"
            ) from error
        self._store, self._rows, self._used = self._environment.store, self._environment.rows, self._environment.used
        self._limit = min(limit, self._environment.limit)  # its file was mapped with room for so much

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *_: object) -> None:
        _ENVIRONMENTS.leave(self._environment)

    def find(self, keys: Sequence[bytes]) -> list[Stored | None]:
        """The cached vectors of keys, looked up at once."""
        import lmdb

        today = _today()
        try:
            with self._store.begin(db=self._rows, buffers=True) as view:
                return [_stored(view.get(key), today) for key in keys]
        except lmdb.Error:
            return [None] * len(keys)  # a damaged page counts as missing; writing reports it

    def put(self, rows: Sequence[tuple[bytes, Vector]]) -> None:
        """Write rows in one transaction: all of them or none. Raises CacheError when the disk is full."""
        held = self.info()
        if held.bytes > self._limit:
            surplus = round(held.rows * (1 - _KEPT * self._limit / held.bytes))
            with self._writing() as change:
                cursor = change.cursor(db=self._used)
                oldest = [bytes(stamp) for _, stamp in zip(range(surplus), cursor.iternext(values=False), strict=False)]
                for stamp in oldest:
                    change.delete(stamp, db=self._used)
                    change.delete(stamp[4:], db=self._rows)
        with self._writing() as change:
            for key, vector in rows:
                self._write(change, key, vector)

    def touch(self, keys: Sequence[bytes]) -> None:
        """Mark rows as used today, so that they are removed last."""
        today = _today()
        with self._writing() as change:
            for key in keys:
                row = change.get(key, db=self._rows)
                if row is not None and _HEAD.unpack_from(row)[1] != today:
                    self._write(change, key, np.frombuffer(row, np.float32, offset=_HEAD.size))

    def info(self) -> CacheInfo:
        """Rows and bytes in the cache."""
        with self._store.begin() as view:
            tables = [view.stat(table) for table in (self._rows, self._used)]
        pages = sum(table["branch_pages"] + table["leaf_pages"] + table["overflow_pages"] for table in tables)
        return CacheInfo(tables[0]["entries"], pages * tables[0]["psize"], self._limit, self._folder)

    def _write(self, change: Any, key: bytes, vector: Vector) -> None:
        before = change.get(key, db=self._rows)
        today = _today()
        if before is not None:
            change.delete(_stamp(_HEAD.unpack_from(before)[1], key), db=self._used)
        body = np.ascontiguousarray(vector, np.float32).tobytes()
        change.put(key, _HEAD.pack(zlib.crc32(body), today) + body, db=self._rows)
        change.put(_stamp(today, key), b"", db=self._used)

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """A transaction that is written as a whole or not at all. Raises CacheError."""
        import lmdb

        try:
            with self._store.begin(write=True) as change:
                yield change
        except lmdb.Error as error:
            raise CacheError(
                f"features cannot be kept in {self._folder} ({error}); free space there or set TL_CACHE_DIR"
            ) from error


class CacheWriter:
    """Looks vectors up by content hash and writes new ones in batches; warns once if that fails, then stops.

    `engine_key` says what they depend on besides the content; without a `cache` nothing is found and nothing kept.
    Several threads may look up while one adds and writes.
    """

    def __init__(self, cache: FeatureCache | None, engine_key: str, progress: Progress) -> None:
        self._cache, self._space, self._progress = cache, namespace(engine_key), progress
        self._new: list[tuple[bytes, Vector]] = []
        self._used: deque[bytes] = deque()

    def find(self, hashes: Sequence[bytes]) -> list[Vector | None]:
        """The cached vectors, looked up at once."""
        if self._cache is None:
            return [None] * len(hashes)
        keys = [self._space + content_hash for content_hash in hashes]
        rows = self._cache.find(keys)
        self._used.extend(key for key, row in zip(keys, rows, strict=True) if row is not None and not row.today)
        return [None if row is None else row.vector for row in rows]

    def add(self, rows: Iterable[tuple[bytes, Vector]]) -> None:
        """Take a copy of new vectors, each with its content hash."""
        if self._cache is not None:
            self._new += [(self._space + content_hash, vector.copy()) for content_hash, vector in rows]

    def write(self, at_least: int = WRITE_ROWS) -> None:
        """Write the new rows and the dates of use, if there are enough of them."""
        if self._cache is None or max(len(self._new), len(self._used)) < at_least:
            return
        new, self._new = self._new, []
        used = [self._used.popleft() for _ in range(len(self._used))]
        try:
            if new:
                self._cache.put(new)
            if used:
                self._cache.touch(used)
        except CacheError as error:
            self._cache = None
            self._progress.warn(f"{error}; continuing without it")


def open_cache(where: Settings | None = None) -> FeatureCache:
    """Open the user's feature cache."""
    where = where or settings()
    return FeatureCache(where.cache_dir / "features", where.cache_limit)


@contextmanager
def usable_cache(progress: Progress) -> Iterator[FeatureCache | None]:
    """Open the user's feature cache; where it cannot be used, warn and return None: that only costs time."""
    try:
        cache = open_cache()
    except CacheError as error:
        progress.warn(f"{error}; continuing without it")
        yield None
        return
    with cache:
        yield cache


def info(where: Settings | None = None) -> CacheInfo:
    """What the user's cache holds; none is created."""
    where = where or settings()
    folder = where.cache_dir / "features"
    others = {name: _bytes_in(where.cache_dir / name) for name in _OTHERS}
    if not folder.is_dir():
        return CacheInfo(0, 0, where.cache_limit, folder, others)
    with open_cache(where) as cache:
        return replace(cache.info(), others=others)


def _bytes_in(folder: Path) -> int:
    """The bytes on the disk of the files in a folder and below; files that vanish meanwhile count as none."""
    total = 0
    for where, _, names in os.walk(os.path.realpath(folder)):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total


def clear(*, all: bool = False) -> int:
    """Delete the features, with `all` everything cached; returns the bytes the features took. Raises StorageError."""
    where = settings()
    folder = where.cache_dir / "features"
    size = sum(path.stat().st_blocks * 512 for path in folder.glob("*.mdb")) if folder.is_dir() else 0
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be removed ({error.strerror}); remove it by hand") from error
    for name in _OTHERS if all else ():
        shutil.rmtree(where.cache_dir / name, ignore_errors=True)
    return size


def namespace(engine_key: str) -> bytes:
    """The first 16 bytes of a key, before the image's content hash."""
    return hashlib.sha256(engine_key.encode()).digest()[:16]


def _stored(row: Any, today: int) -> Stored | None:
    if row is None:
        return None
    checksum, day = _HEAD.unpack_from(row)
    body = bytes(row[_HEAD.size :])
    return Stored(np.frombuffer(body, np.float32), day == today) if zlib.crc32(body) == checksum else None


def _stamp(day: int, key: bytes) -> bytes:
    return day.to_bytes(4, "big") + key


def _today() -> int:
    return int(time.time() // 86_400)
