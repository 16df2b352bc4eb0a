"""The name of a known data set becomes its place on this machine, fetched and checked if need be."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tl.data.known import KNOWN, Known, resolve
from tl.data.write import fresh
from tl.errors import DataError, StorageError, UsageError
from tl.progress import Progress
from tl.settings import settings


@dataclass(frozen=True)
class Here:
    """A known data set: its size and checksum as it is fetched, where from, and where it is, or None."""

    name: str
    size: str
    checksum: str
    host: str
    path: Path | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"path": self.path and str(self.path)}


def listed() -> list[Here]:
    """All data sets that `tl` knows."""
    return [_here(KNOWN[name], _found(name)) for name in sorted(KNOWN)]


def get(name: str, *, out: Path | None = None, offline: bool = False, progress: Progress | None = None) -> Here:
    """Fetch a known data set where it is not here; with `out`, put a copy into that folder.

    Raises UsageError for a name that is none or a copy that is there, DownloadError where it cannot be fetched or has
    another checksum than was published, DataError where that is not allowed.
    """
    if name not in KNOWN:
        raise UsageError(f"no data set {name!r} is known; there are {', '.join(sorted(KNOWN))}")
    offline = offline or settings().offline
    target = out / _target(name) if out is not None else None
    if target is not None and target.exists():
        raise UsageError(f"{str(target)!r} is there already: give another --out, or remove it first")
    path = resolve(name, download_it=True, offline=offline, cache_dir=None, progress=progress or Progress())
    if target is None:
        return _here(KNOWN[name], path)
    target = target.with_name(path.name)
    with fresh(target) as scratch:
        if path.is_dir():
            shutil.copytree(path, scratch)
        else:
            shutil.copyfile(path, scratch)
    return _here(KNOWN[name], target)


def _target(name: str) -> str:
    found = _found(name)
    return found.name if found else name


def _found(name: str) -> Path | None:
    try:
        return resolve(name, download_it=False, offline=True, cache_dir=None)
    except (DataError, StorageError):
        return None


def _here(known: Known, path: Path | None) -> Here:
    return Here(known.name, known.size, known.checksum, urlsplit(known.url).hostname or "", path)
