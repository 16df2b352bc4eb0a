"""`tl data get`: find or download a known data set."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tl.data.known import KNOWN, Known, resolve
from tl.errors import DataError, StorageError, UsageError
from tl.files import atomic_write
from tl.options import keywords, offline_option, option
from tl.progress import Progress
from tl.settings import settings


@dataclass(frozen=True)
class GetOptions:
    """Options of `tl data get`."""

    out: Path | None = option(None, "Put a copy into this folder.")
    offline: bool = offline_option()


@dataclass(frozen=True)
class KnownDataset:
    """A known data set: its size and checksum as it is downloaded, from which server, and where it is, or None."""

    name: str
    size: str
    checksum: str
    host: str
    path: Path | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"path": self.path and str(self.path)}


def list_known() -> list[KnownDataset]:
    """All data sets that `tl` knows by name."""
    return [_describe(KNOWN[name], _find(name)) for name in sorted(KNOWN)]


@keywords(GetOptions)
def get(name: str, *, options: GetOptions, progress: Progress | None = None) -> KnownDataset:
    """Download a known data set unless it is on this machine; with `out`, put a copy into that folder.

    Raises UsageError for an unknown name or a copy that exists already, DownloadError where it cannot be downloaded or
    has another checksum than was published, DataError where that is not allowed.
    """
    if name not in KNOWN:
        raise UsageError(f"no data set {name!r} is known; there are {', '.join(sorted(KNOWN))}")
    if options.out is not None:
        _check_free(options.out / _target_name(name))
    offline = options.offline or settings().offline
    path = resolve(name, download_it=True, offline=offline, cache_dir=None, progress=progress or Progress())
    if options.out is None:
        return _describe(KNOWN[name], path)
    target = options.out / path.name
    with atomic_write(target, overwrite=False) as scratch:
        if path.is_dir():
            shutil.copytree(path, scratch)
        else:
            shutil.copyfile(path, scratch)
    return _describe(KNOWN[name], target)


def _check_free(target: Path) -> None:
    if target.exists():
        raise UsageError(f"{str(target)!r} is there already: give another --out, or remove it first")


def _target_name(name: str) -> str:
    path = _find(name)
    return path.name if path else name


def _find(name: str) -> Path | None:
    try:
        return resolve(name, download_it=False, offline=True, cache_dir=None)
    except (DataError, StorageError):
        return None


def _describe(known: Known, path: Path | None) -> KnownDataset:
    return KnownDataset(known.name, known.size, known.checksum, urlsplit(known.url).hostname or "", path)
