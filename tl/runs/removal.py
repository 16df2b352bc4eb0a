"""Names of runs become folders that may be removed, and are: whole, runs alone, none that is being written."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tl.errors import RunError, StorageError, UsageError
from tl.runs import folder as folders
from tl.runs.catalogue import COMPARISON, FILES, Listed, being_written, catalogue
from tl.runs.summary import Size, size_of

_KEYS = {"format", "backbone", "classes", "files"}  # of a manifest; others write files of this name as well
_LARGEST = 1 << 26


@dataclass(frozen=True)
class Removal:
    """What goes with one name: the run's folder and what was left of writing or removing it; `what` it is."""

    folder: Path
    what: str
    pieces: tuple[Path, ...]
    size: Size


def removable(runs: Sequence[str | Path], *, root: str | Path = folders.RUNS) -> list[Removal]:
    """What removing these runs means; each is a name in `root` or a path.

    Raises RunError for what is no run, a symbolic link, a part of a comparison, or being written.
    """
    found = {}
    for run in runs:
        folder = _place(run, Path(root))
        found[folder.absolute()] = _removal(folder)
    return list(found.values())


def all_but_best(keep: int, runs: Sequence[str | Path] = (), *, root: str | Path = folders.RUNS) -> list[Removal]:
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
    if piece == folders.partial(folder):
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
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return False
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.keys() >= _KEYS


def _has_remains(folder: Path) -> bool:
    """Whether it was a run once: of the files that make one it has two."""
    return sum((folder / name).is_file() for name in FILES) >= 2


def _pieces(folder: Path) -> tuple[Path, Path, Path]:
    return folder, folders.partial(folder), _gone(folder)


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
