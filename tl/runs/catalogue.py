"""A folder of runs becomes a list of them: complete, interrupted, being written, damaged, and those of comparisons."""

import json
import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tl.errors import RunError, StorageError, TLError, UsageError
from tl.runs.folder import RUNS, partial_folder
from tl.runs.options import FinetuneOptions, read_options
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


def catalogue(folder: str | Path = RUNS, *, sort: str = "created") -> list[Listed]:
    """All runs of a folder and of the comparisons in it: the newest first, the best first, or by name.

    Without the folder `runs` there are none. Raises RunError for another folder that cannot be read, UsageError for a
    `sort` that is none of `SORTS`.
    """
    if sort not in SORTS:
        raise UsageError(f"--sort {sort}: choose {', '.join(SORTS)}")
    root = Path(folder)
    if (root / "manifest.json").is_file():
        raise RunError(f"{root} is a run itself: `tl runs show {shlex.quote(str(root))}` tells what is in it")
    if not root.exists() and root == RUNS:
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
        given = read_options(scratch / "run.toml")
    except (TLError, RecursionError, OSError) as error:
        note = f"was interrupted and cannot go on ({error}): `tl runs rm {named}` removes it"
        return replace(listed, state="unfinished", note=note)
    defaults = FinetuneOptions()
    backbone, weights, unfreeze = (
        str(given.get(name, getattr(defaults, name))) for name in ("backbone", "weights", "unfreeze")
    )
    return replace(listed, backbone=backbone, weights=weights, data=str(given.get("data", "")), unfreeze=unfreeze)


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(os.lstat(path).st_mtime, UTC)


_KEYS = {"format", "backbone", "classes", "files"}  # of a manifest; others write files of this name as well
_REMOVAL_LARGEST = 1 << 26


@dataclass(frozen=True)
class Removal:
    """What goes with one name: the run's folder and what was left of writing or removing it; `what` it is."""

    folder: Path
    what: str
    pieces: tuple[Path, ...]
    size: Size


def removable(runs: Sequence[str | Path], *, root: str | Path = RUNS) -> list[Removal]:
    """What removing these runs means; each is a name in `root` or a path.

    Raises RunError for what is no run, a symbolic link, a part of a comparison, or being written.
    """
    found = {}
    for run in runs:
        folder = _place(run, Path(root))
        found[folder.absolute()] = _removal(folder)
    return list(found.values())


def all_but_best(keep: int, runs: Sequence[str | Path] = (), *, root: str | Path = RUNS) -> list[Removal]:
    """What goes when of each data set the `keep` most accurate runs stay, of these runs or of all in `root`.

    Data sets are told apart by name and classes; of equally good runs the newer ones stay. Runs of comparisons, and
    those that are not complete, are not looked at. Raises as `removable` does.
    """
    if keep < 1:
        raise UsageError(f"--keep-best {keep}: keep one run of each data set or more")
    named = {_place(run, Path(root)).absolute() for run in runs}
    by_data: dict[tuple[str, int | None], list[Listed]] = defaultdict(list)
    for one in catalogue(root):  # the newest first
        if one.state == "complete" and _stands_alone(one, Path(root)) and (not named or one.folder.absolute() in named):
            by_data[one.data, one.classes].append(one)
    worse: list[str | Path] = []
    for group in by_data.values():
        group.sort(key=lambda one: -1.0 if one.top1 is None else one.top1.value, reverse=True)
        worse += [one.folder for one in group[keep:]]
    return removable(worse, root=root)


def remove(removals: Sequence[Removal]) -> None:
    """Remove them: each vanishes at once, then what it held. `latest` then points at the newest run that is left.

    Raises RunError for one that is being written by now, StorageError for one that cannot be removed.
    """
    from filelock import FileLock, Timeout

    for removal in removals:
        folder = removal.folder
        lock = folder.parent / f".{folder.name}.lock"
        try:
            with FileLock(lock, timeout=0):
                try:
                    _remove(removal)
                finally:
                    lock.unlink(missing_ok=True)
        except Timeout as error:
            raise _busy(folder) from error
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{folder} cannot be removed whole ({reason}): look at its permissions") from error
    for root in {removal.folder.parent for removal in removals}:
        _point_latest(root)


def _stands_alone(one: Listed, root: Path) -> bool:
    """Whether it is a folder in `root` itself: no part of a comparison, no link."""
    return one.folder.parent == root and not one.folder.is_symlink()


def _remove(removal: Removal) -> None:
    gone = _gone(removal.folder)
    for piece in (path for path in removal.pieces if path != gone):
        if gone.exists():
            shutil.rmtree(gone)  # left by a removal that was killed
        os.rename(piece, gone)
        shutil.rmtree(gone)
    if gone.exists():
        shutil.rmtree(gone)


def _place(run: str | Path, root: Path) -> Path:
    """The folder of a name, there or only left of one."""
    given = Path(run)
    for folder in (given, root / given):
        if folder.name in ("", "..") or folder.name.startswith("."):
            continue
        if os.path.islink(folder):
            target = folder.resolve().name
            raise RunError(f"{folder} is a symbolic link, which is not followed: name the run itself, such as {target}")
        try:
            if any(_kind(folder, piece) for piece in _pieces(folder)):
                return folder
        except OSError as error:
            raise RunError(f"{folder} cannot be read ({error.strerror}): give a run's name or path") from error
    if any(os.path.isdir(folder) for folder in (given, root / given)):
        raise RunError(f"{given} is not a run: only runs are removed; `tl runs list` names them")
    raise RunError(f"no run {str(run)!r} here or in {root}/: `tl runs list` names what there is")


def _removal(folder: Path) -> Removal:
    if (folder.parent / COMPARISON).is_file():
        raise RunError(f"{folder} is part of the comparison {folder.parent}: remove that as a whole")
    if being_written(folder):
        raise _busy(folder)
    pieces = [(piece, _kind(folder, piece)) for piece in _pieces(folder)]
    what = [what for _, what in pieces if what]
    held = tuple(piece for piece, what in pieces if what)
    return Removal(folder, what[0], held, size_of(*held))


def _kind(folder: Path, piece: Path) -> str:
    """What a piece of a run's folder is; empty where it is nothing that `tl` made."""
    if piece.is_symlink() or not piece.is_dir():
        return ""
    if piece == _gone(folder):
        return "half-removed run"
    if piece == partial_folder(folder):
        ours = not any(piece.iterdir()) or any((piece / name).is_file() for name in FILES)
        started = any(piece.glob("*/manifest.json")) or any(piece.glob(".*.partial/run.toml"))
        return "interrupted run" if ours else "interrupted comparison" if started else ""
    if (piece / COMPARISON).is_file():
        count = len(list(piece.glob("[!.]*/manifest.json")))
        return f"comparison of {count} {'run' if count == 1 else 'runs'}" if count else ""
    return "run" if _has_manifest(piece) or _has_remains(piece) else ""


def _has_manifest(folder: Path) -> bool:
    path = folder / "manifest.json"
    try:
        if not path.is_file() or path.stat().st_size > _REMOVAL_LARGEST:
            return False
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.keys() >= _KEYS


def _has_remains(folder: Path) -> bool:
    """Whether it was a run once: of the files that make one it has two."""
    return sum((folder / name).is_file() for name in FILES) >= 2


def _pieces(folder: Path) -> tuple[Path, Path, Path]:
    return folder, partial_folder(folder), _gone(folder)


def _gone(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.removed"


def _busy(folder: Path) -> RunError:
    return RunError(f"{folder} is being written by another process: wait for it, or end that first")


def _point_latest(root: Path) -> None:
    """Where `latest` points at a run that is gone, at the newest that is left; without one, nowhere."""
    latest = root / "latest"
    if not latest.is_symlink() or latest.exists():
        return
    complete = [one for one in catalogue(root) if one.state == "complete" and _stands_alone(one, root)]
    pointer = root / f".latest-{os.getpid()}"
    try:
        pointer.unlink(missing_ok=True)
        if complete:
            pointer.symlink_to(complete[0].folder.name)
            os.replace(pointer, latest)
        else:
            latest.unlink()
    except OSError as error:
        raise StorageError(f"{latest} cannot be changed ({error.strerror}): remove it") from error
