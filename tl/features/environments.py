"""A folder becomes the one LMDB environment that this process has of it, shared by all who ask for it.

LMDB locks its files by process: opening an environment a second time in the same one would lose the first one's locks.
"""

import mmap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOM = 64 << 20  # what the file may have beyond twice the limit, so that making room never needs room
_PAGE = mmap.PAGESIZE
_NEVER_WRITTEN = 64  # free pages at the end of the file that may not be there


@dataclass
class Environment:
    """An open LMDB environment with its two tables, the bytes of rows that it has room for, and how many use it."""

    store: Any
    rows: Any
    used: Any
    limit: int
    users: int = 0


class Environments:
    """The open environments of this process; the last to leave one closes it. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], Environment] = {}

    def enter(self, folder: Path, limit: int) -> Environment:
        """The environment in a folder, opened for `limit` bytes of rows unless it is open already.

        Raises OSError and lmdb.Error where it cannot be made or read.
        """
        file = folder / "data.mdb"
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            _check_whole(file)
            environment = self._open.get(_identity(file)) if file.exists() else None
            if environment is None:
                environment = _opened(folder, limit)
                self._open[_identity(file)] = environment
            environment.users += 1
        return environment

    def leave(self, environment: Environment) -> None:
        """Say that one user is done with it."""
        with self._lock:
            environment.users -= 1
            if environment.users == 0:
                self._open = {key: other for key, other in self._open.items() if other is not environment}
                environment.store.close()


def _opened(folder: Path, limit: int) -> Environment:
    import lmdb

    store = lmdb.open(str(folder), map_size=_map_size(limit), max_dbs=2, max_readers=512, metasync=False)
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
    """Refuse a store shorter than its own description says: reading past the end of a mapped file ends the process.

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


def _map_size(limit: int) -> int:
    return (2 * limit + _ROOM) // 4096 * 4096
