"""API keys: create, list, revoke and look up. Only hashes are stored.

A key has 256 random bits, too many to search, so one round of SHA-256 protects it as well as a slow hash would, and a
wrong key costs the server nothing.
"""

import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass

from tl.errors import UsageError
from tl.service.database import Database, register

ROLES = ("predict", "train", "admin")
"""Each role includes those before it."""

_FORMAT = re.compile(r"tl_[A-Za-z0-9_-]{43}")
_COLUMNS = "id, name, role, prefix, created, revoked"
_PREFIX = 7  # characters that people tell keys apart by: 24 of the 256 bits

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


@dataclass(frozen=True)
class Key:
    """A stored key: `prefix` is how it begins; times are in seconds since 1970."""

    id: int
    name: str
    role: str
    prefix: str
    created: float
    revoked: float | None = None

    def may(self, role: str) -> bool:
        """Whether this key may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


def add_key(database: Database, name: str, role: str) -> str:
    """Create a key and return it; it cannot be shown again. Raises UsageError for a bad name or one in use."""
    if role not in ROLES:
        raise UsageError(f"--role {role}: choose {', '.join(ROLES)}")
    if not re.fullmatch(r"[\w .@+-]{1,64}", name) or name != name.strip():
        raise UsageError(f"a key cannot be called {name!r}: use up to 64 letters, digits, or any of . @ + - _")
    token = "tl_" + secrets.token_urlsafe(32)
    statement = "INSERT INTO keys (name, role, prefix, hash, created) VALUES (?, ?, ?, ?, ?)"
    try:
        database.execute(statement, name, role, token[:_PREFIX], _hash(token), time.time())
    except sqlite3.IntegrityError:
        raise UsageError(f"there is already a key called {name!r}: revoke it first, or choose another name") from None
    return token


def list_keys(database: Database) -> list[Key]:
    """All keys, oldest first, including revoked ones."""
    return [Key(*row) for row in database.select(f"SELECT {_COLUMNS} FROM keys ORDER BY id")]  # noqa: S608


def revoke_key(database: Database, name: str) -> None:
    """Revoke the key of that name. Raises UsageError when there is none."""
    statement = "UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL RETURNING id"
    if not database.execute(statement, time.time(), name):
        raise UsageError(f"there is no key called {name!r}: `tl keys list` shows all keys")


def all_revoked(database: Database) -> bool:
    """Whether there were keys and none is valid any more: then every request is refused, also from this machine."""
    keys = list_keys(database)
    return bool(keys) and all(key.revoked is not None for key in keys)


def find_key(database: Database, token: str) -> Key | None:
    """The stored key that belongs to `token`; None for an unknown or revoked one."""
    if not _FORMAT.fullmatch(token):
        return None
    hashed = _hash(token)
    query = f"SELECT {_COLUMNS}, hash FROM keys WHERE revoked IS NULL AND prefix = ?"  # noqa: S608
    rows = database.select(query, token[:_PREFIX])
    return next((Key(*row[:6]) for row in rows if hmac.compare_digest(bytes(row["hash"]), hashed)), None)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
