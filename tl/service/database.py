"""The SQLite file that the server and its worker share: connections, transactions, migrations.

Each module registers its own tables: `register("jobs", "CREATE TABLE jobs (…)")` at its top level. A later version
appends another script, which is applied once to old files and new ones alike.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tl.errors import ServiceError

FILE = "service.sqlite3"
_SCRIPTS: dict[str, tuple[str, ...]] = {}


def register(name: str, *scripts: str) -> None:
    """Register the SQL scripts of the tables called `name`: each is applied once, in order.

    Called when a module is loaded. Never change a script that was released; append another one. A `;` may stand only
    between statements.
    """
    _SCRIPTS[name] = scripts


class Database:
    """The SQLite file of a state folder; safe for several threads and processes.

    Opening it creates the folder and applies the registered scripts. Raises ServiceError when it cannot be opened, is
    damaged, or was written by a newer version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
        except OSError as error:
            raise self._unusable(error.strerror) from error
        with self._sqlite_errors():
            # While one connection is open, closing the others does not fold in and remove the write-ahead log.
            self._anchor = self._connect()
            self._anchor.execute("PRAGMA journal_mode = WAL")
            self._migrate()

    def select(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._sqlite_errors(), closing(self._connect()) as connection:
            return connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Execute a statement in a transaction of its own; returns its rows, if it is one that has RETURNING."""
        with self.transaction() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed at the end of the block, rolled back by an exception."""
        with self._sqlite_errors(), closing(self._connect()) as connection:  # closing rolls back
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def close(self) -> None:
        """Fold in the write-ahead log, unless another process has the file open."""
        with suppress(sqlite3.Error):
            self._anchor.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, a power cut may lose the last commit, no more
        return connection

    def _migrate(self) -> None:
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT, step INTEGER, applied REAL)")
            for name, scripts in _SCRIPTS.items():
                row = connection.execute("SELECT MAX(step) FROM migrations WHERE name = ?", (name,)).fetchone()
                applied = int(row[0] or 0)
                if applied > len(scripts):
                    raise ServiceError(f"{self.path} was written by a newer version of tl: upgrade tl to use it")
                for step in range(applied, len(scripts)):
                    for statement in scripts[step].split(";"):  # executescript would commit the transaction
                        connection.execute(statement)
                    connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (name, step + 1, time.time()))

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # the module of the table knows what a violated constraint means
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, reason: object) -> ServiceError:
        return ServiceError(f"{self.path} cannot be used ({reason}): free some space there, or give another --state")
