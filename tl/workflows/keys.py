"""Add, list and revoke the API keys of the service in a state folder: `tl.keys.add("phone")`."""

import builtins
from pathlib import Path

from tl.service.database import Database
from tl.service.keys import Key, add_key, list_keys, revoke_key

__all__ = ["add", "list", "revoke"]


def __dir__() -> builtins.list[str]:
    return __all__


def add(name: str, *, role: str = "predict", state: str | Path = "service") -> str:
    """Create a key and return it; it cannot be shown again. Raises UsageError for a bad name or one in use."""
    return add_key(Database(state), name, role)


def list(*, state: str | Path = "service") -> builtins.list[Key]:
    """All keys, oldest first, including revoked ones."""
    return list_keys(Database(state))


def revoke(name: str, *, state: str | Path = "service") -> None:
    """Revoke the key of that name. Raises UsageError when there is none."""
    revoke_key(Database(state), name)
