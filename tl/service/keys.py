"""Names and roles become keys, and a key that is shown becomes its name and role again; only hashes are kept.

A key is 256 random bits: nobody can search through them, so that one round of SHA-256 keeps them as well as a slow
hash would, and a wrong key costs the server nothing.
"""

import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from dataclasses import dataclass

from tl.errors import UsageError
from tl.service.database import Database

ROLES = ("predict", "train", "admin")
"""Each may do what those before it may."""

_FORM = re.compile(r"tl_[A-Za-z0-9_-]{43}")
_SHOWN = 7  # letters of a key by which people tell keys apart: 24 of its 256 bits


@dataclass(frozen=True)
class Key:
    """A key as it is kept: `prefix` is how it begins, times are in seconds since 1970."""

    id: int
    name: str
    role: str
    prefix: str
    created: float
    revoked: float | None = None

    def may(self, role: str) -> bool:
        """Whether it may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


def add(database: Database, name: str, role: str) -> str:
    """A new key, which cannot be had again. Raises UsageError for a name that is in use or no name."""
    if role not in ROLES:
        raise UsageError(f"--role {role}: choose {', '.join(ROLES)}")
    if not re.fullmatch(r"[\w .@+-]{1,64}", name) or name != name.strip():
        raise UsageError(f"a key cannot be called {name!r}: give up to 64 letters, digits, or any of . @ + - _")
    token = "tl_" + secrets.token_urlsafe(32)
    row = (name, role, token[:_SHOWN], _hashed(token), time.time())
    try:
        with database.writing() as connection:
            connection.execute("INSERT INTO keys (name, role, prefix, hash, created) VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise UsageError(f"there is a key called {name!r}: revoke it first, or give another name") from None
    return token


def listed(database: Database) -> list[Key]:
    """All keys, in the order in which they were made, those that were revoked as well."""
    with database.reading() as connection:
        rows = connection.execute("SELECT id, name, role, prefix, created, revoked FROM keys ORDER BY id").fetchall()
    return [Key(*row) for row in rows]


def revoke(database: Database, name: str) -> None:
    """Let a key be good for nothing from now on. Raises UsageError where there is none of that name."""
    with database.writing() as connection:
        query = "UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL"
        if connection.execute(query, (time.time(), name)).rowcount:
            return
    raise UsageError(f"there is no key called {name!r}: `tl keys list` shows them")


def find(database: Database, token: str) -> Key | None:
    """The key that was shown once as `token`, unless it was revoked."""
    if not _FORM.fullmatch(token):
        return None
    hashed = _hashed(token)
    query = "SELECT id, name, role, prefix, created, revoked, hash FROM keys WHERE revoked IS NULL AND prefix = ?"
    with database.reading() as connection:
        rows = connection.execute(query, (token[:_SHOWN],)).fetchall()
    found = None
    for row in rows:
        if hmac.compare_digest(bytes(row["hash"]), hashed):
            found = Key(*row[:6])
    return found


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
