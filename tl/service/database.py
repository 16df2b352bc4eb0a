"""A state folder becomes one SQLite file that the server and its worker share: connections, transactions, migrations.

Each table belongs to the module that registers it: `register("jobs", "CREATE TABLE jobs (…)")` at its top level. What a
later version needs is appended as one more step and applied once, to old files and new ones alike.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tl.errors import ServiceError

FILE = "service.sqlite3"
_BUSY = 10.0  # seconds for which a writer waits for another
_STEPS: dict[str, tuple[str, ...]] = {}


def register(name: str, *steps: str) -> None:
    """The tables called `name`: SQL scripts, one a version, that are applied once each and in order.

    Called when a module is loaded. A step that was released is never changed; the next one is appended.
    """
    _STEPS[name] = steps


register(
    "keys",
    """
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('predict', 'train', 'admin')),
        prefix TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        created REAL NOT NULL,
        revoked REAL
    );
    CREATE UNIQUE INDEX keys_name ON keys (name) WHERE revoked IS NULL;
    """,
)


class Database:
    """The SQLite file of a state folder; safe for threads and for several processes.

    Opening it makes the folder and applies what is registered. Raises ServiceError when it cannot be opened, is
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
        with self._complaining():
            # As long as one is open the write-ahead log stays, instead of being folded in and removed by each closing.
            self._anchor = self._connect()
            self._anchor.execute("PRAGMA journal_mode = WAL")
            self._migrate()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for SELECTs, whose rows are `sqlite3.Row`; what it sees does not change within the block."""
        with self._complaining():
            connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer comes between: committed at the end, undone by an exception."""
        with self._complaining():
            connection = self._connect()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # and with it goes what was not committed

    def close(self) -> None:
        """Fold the write-ahead log in, if no other process has the file open."""
        with suppress(sqlite3.Error):
            self._anchor.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with the log: a power cut may cost the last commit, no more
        return connection

    def _migrate(self) -> None:
        with self.writing() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT, step INTEGER, applied REAL)")
            for name, steps in _STEPS.items():
                row = connection.execute("SELECT MAX(step) FROM migrations WHERE name = ?", (name,)).fetchone()
                done = int(row[0] or 0)
                if done > len(steps):
                    raise ServiceError(f"{self.path} was written by a newer version of tl: upgrade tl to use it")
                for step in range(done, len(steps)):
                    for statement in _statements(steps[step]):
                        connection.execute(statement)
                    connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (name, step + 1, time.time()))

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # what a table refuses is for its own module to say
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, reason: object) -> ServiceError:
        return ServiceError(f"{self.path} cannot be used ({reason}): free space there, or give another --state")


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the transaction that all steps are to share.
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n\t;"):
                yield statement
            statement = ""
