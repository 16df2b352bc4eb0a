"""Where `tl` keeps what it can compute again, and the limits on it: the one place that reads the environment.

TL_CACHE_DIR           folder of weights, converted networks, features and data sets   (default: the user's)
TL_CACHE_LIMIT         most bytes of features kept, such as 500M or 20G                (default: 10G)
TL_ACTIVATIONS_LIMIT   most bytes of activations while a backbone is trained           (default: 8G)
TL_OFFLINE             1: never touch the network
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tl.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Settings:
    """Folders and limits; sizes in bytes."""

    cache_dir: Path
    cache_limit: int
    offline: bool
    keras_dir: Path
    activations_limit: int = 8 * 10**9


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises UsageError for a size that cannot be read."""
    from platformdirs import user_cache_path

    env = os.environ if environment is None else environment
    return Settings(
        cache_dir=Path(env.get("TL_CACHE_DIR") or user_cache_path("tl", appauthor=False)),
        cache_limit=parse_size(env.get("TL_CACHE_LIMIT") or "10G"),
        offline=env.get("TL_OFFLINE", "") not in ("", "0"),
        keras_dir=Path(env.get("KERAS_HOME") or Path.home() / ".keras"),
        activations_limit=parse_size(env.get("TL_ACTIVATIONS_LIMIT") or "8G"),
    )


def parse_size(text: str) -> int:
    """A size such as `500M` or `20G`, in bytes (powers of 1000)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = float(match[1]) * _UNITS[match[2].upper()] if match else math.inf
    if math.isinf(size):
        raise UsageError(f"size {text[:80]!r} cannot be read: give a number with K, M, G or T, such as 10G")
    return int(size)
