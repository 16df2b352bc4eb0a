"""A folder of runs becomes a list of them: complete, interrupted, being written, damaged, and those of comparisons."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tl.errors import RunError, TLError, UsageError
from tl.runs import folder as folders
from tl.runs import options
from tl.runs.summary import Figure, Size, Summary, size_of, summarize

SORTS = ("created", "accuracy", "name")
COMPARISON = "comparison.json"
FILES = ("manifest.json", "head.npz", "trunk.xml", "trunk.bin", "split.csv", "run.toml")
_PARTIAL = ".partial"
_LARGEST = 1 << 20  # bytes of run.toml


@dataclass(frozen=True)
class Listed:
    """One run: `state` is "complete", "interrupted" (`--resume` goes on with it), "unfinished" (nothing goes on with
    it), "being written" or "damaged"; `note` says why and what to do. `created` is when it began where it is not
    complete. What is unknown is empty or None. `part` is what `top1` was measured on, `count` photos.
    """

    name: str
    folder: Path
    state: str
    note: str
    created: datetime
    size: Size
    newest: bool = False
    backbone: str = ""
    weights: str = ""
    data: str = ""
    images: int | None = None
    classes: int | None = None
    unfreeze: str = ""
    kept: bool | None = None
    part: str = ""
    top1: Figure | None = None
    count: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form of the JSON output."""
        top1 = self.top1
        interval = None if top1 is None or top1.low is None else [top1.low, top1.high]
        told = vars(self) | {
            "folder": str(self.folder),
            "created": self.created.isoformat(timespec="seconds"),
            "top1": None if top1 is None else top1.value,
            "top1_interval": interval,
            "bytes": self.size.whole,
            "shared_bytes": self.size.shared,
        }
        del told["size"]
        return told


def catalogue(folder: str | Path = folders.RUNS, *, sort: str = "created") -> list[Listed]:
    """All runs of a folder and of the comparisons in it: the newest first, the best first, or by name.

    Without the folder `runs` there are none. Raises RunError for another folder that cannot be read, UsageError for a
    `sort` that is none of `SORTS`.
    """
    if sort not in SORTS:
        raise UsageError(f"--sort {sort}: choose {', '.join(SORTS)}")
    root = Path(folder)
    if (root / "manifest.json").is_file():
        raise RunError(f"{root} is a run itself: `tl runs show {shlex.quote(str(root))}` tells what is in it")
    if not root.exists() and root == folders.RUNS:
        return []
    listed = [one for path in _children(root) for one in _readable(root, path)]
    newest = newest_of(root)
    found = [replace(one, newest=newest is not None and one.folder == newest) for one in listed]
    found.sort(key=lambda one: one.name)
    if sort == "created":
        found.sort(key=lambda one: one.created, reverse=True)
    if sort == "accuracy":
        found.sort(key=lambda one: -1.0 if one.top1 is None else one.top1.value, reverse=True)
    return found


def newest_of(root: Path) -> Path | None:
    """The run that commands take by themselves: the one `latest` points at, else the one written last."""
    latest = root / "latest"
    if latest.is_symlink() and (latest / "manifest.json").is_file():
        return root / latest.resolve().name
    complete = [path for path in root.glob("[!.]*/manifest.json") if path.is_file()]
    return max(complete, key=lambda path: path.stat().st_mtime).parent if complete else None


def being_written(folder: Path) -> bool:
    """Whether another process holds the run; a lock that a killed process left does not count."""
    from filelock import FileLock, Timeout

    lock = folder.parent / f".{folder.name}.lock"
    if not lock.is_file() or lock.is_symlink():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _children(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not _alias(path))
    except OSError as error:
        raise RunError(f"{root} cannot be read ({error.strerror}): give a folder of runs") from error


def _alias(path: Path) -> bool:
    """Whether it is another name, such as `latest`, of a run beside it."""
    return path.is_symlink() and path.resolve().parent == path.parent.resolve()


def _readable(root: Path, path: Path) -> list[Listed]:
    try:
        return list(_listed(root, path))
    except FileNotFoundError:
        return []  # removed meanwhile
    except OSError as error:
        note = f"cannot be read ({error.strerror}): look at its permissions"
        return [Listed(path.name, path, "damaged", note, _modified(path), size_of(path))]


def _listed(root: Path, path: Path) -> Iterator[Listed]:
    if path.name.startswith("."):
        if path.name.endswith(_PARTIAL) and not path.is_symlink():
            yield _unfinished(path, path.parent / path.name[1 : -len(_PARTIAL)])
        return
    if (path / COMPARISON).is_file():
        for run in _children(path):
            yield from (_complete(root, run),) if _is_like_one(run) else ()
    elif _is_like_one(path):
        yield _complete(root, path)


def _is_like_one(path: Path) -> bool:
    return not path.name.startswith(".") and any((path / name).exists() for name in FILES)


def _complete(root: Path, path: Path) -> Listed:
    name = str(path.relative_to(root))
    try:
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path} is damaged (manifest.json is missing): make it again with `tl finetune`")
        return _of(summarize(path.absolute()), name, path)
    except TLError as error:
        note = str(error).removeprefix(f"{path.absolute()} ").removeprefix(f"{path} ")
        return Listed(name, path, "damaged", note, _modified(path), size_of(path))


def _of(about: Summary, name: str, path: Path) -> Listed:
    part = about.parts.get(about.judged)
    return Listed(
        name,
        path,
        "complete",
        "",
        about.created,
        about.size,
        backbone=about.backbone,
        weights=about.weights,
        data=about.data,
        images=about.images,
        classes=len(about.classes),
        unfreeze=about.unfreeze,
        kept=None if about.tuning is None else about.tuning.kept,
        part=about.judged,
        top1=None if part is None else part.top1,
        count=None if part is None else part.count,
    )


def _unfinished(scratch: Path, folder: Path) -> Listed:
    """A run under its hidden name: being written now, or left by a process that was killed."""
    size, created, named = size_of(scratch), _modified(scratch), shlex.quote(str(folder))
    if being_written(folder):
        return Listed(folder.name, folder, "being written", "", created, size)
    if not (scratch / "run.toml").is_file():
        note = f"was left unfinished and cannot go on: `tl runs rm {named}` removes it"
        return Listed(folder.name, folder, "unfinished", note, created, size)
    note = f"was interrupted: `tl finetune --resume --out {named}` goes on with it"
    listed = Listed(folder.name, folder, "interrupted", note, _modified(scratch / "run.toml"), size)
    try:
        if (scratch / "run.toml").stat().st_size > _LARGEST:
            raise UsageError("run.toml is too large to be one")
        given = options.read(scratch / "run.toml")
    except (TLError, RecursionError, OSError) as error:
        note = f"was interrupted and cannot go on ({error}): `tl runs rm {named}` removes it"
        return replace(listed, state="unfinished", note=note)
    defaults = options.Options("")
    backbone, weights, unfreeze = (
        str(given.get(name, getattr(defaults, name))) for name in ("backbone", "weights", "unfreeze")
    )
    return replace(listed, backbone=backbone, weights=weights, data=str(given.get("data", "")), unfreeze=unfreeze)


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(os.lstat(path).st_mtime, UTC)
