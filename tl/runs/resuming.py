"""Rows that are there already become the pictures that need not be looked at again.

Names are counted in a database on the disk, not trusted to come in the same order: files may have come and gone since.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import sqlite3

Item = TypeVar("Item")

_COUNT = "INSERT INTO done VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1"


class Done:
    """How often each name has a row; in a temporary file of the disk, and in little memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self._store: sqlite3.Connection | None = None

    def add(self, name: str, *, failed: bool) -> None:
        """Count a row."""
        if self._store is None:
            import sqlite3

            self._store = sqlite3.connect(
                "", isolation_level=None, check_same_thread=False
            )  # unnamed: gone when closed
            self._store.execute("PRAGMA journal_mode = OFF")
            self._store.execute("CREATE TABLE done (name BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
            self._store.execute("BEGIN")
        self.rows += 1
        self.failed += failed
        self._store.execute(_COUNT, (_key(name),))

    def take(self, name: str) -> bool:
        """Whether a name has a row that no earlier call has taken."""
        if self._store is None:
            return False
        change = "UPDATE done SET times = times - 1 WHERE name = ? AND times > 0"
        return self._store.execute(change, (_key(name),)).rowcount > 0

    def without(self, items: Iterable[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """The named items that have no row yet."""
        return (item for item in items if not self.take(item[0]))

    def close(self) -> None:
        """Forget them."""
        if self._store is not None:
            self._store.close()
            self._store = None


def _key(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # the form in which Parquet, too, has names that are no UTF-8
