"""List the runs in a folder, whatever their state, and remove runs."""

import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tl.errors import RunError, StorageError, TLError
from tl.files import locked
from tl.runs.finetune_options import FinetuneOptions, read_options
from tl.runs.folder import RUNS, lock_file, newest_run, partial_folder, point_latest
from tl.runs.summary import DiskUsage, MetricValue, disk_usage, summarize
from tl.text import count

SORTS = ("created", "accuracy", "name")
COMPARISON = "comparison.json"
_FILES = ("manifest.json", "head.npz", "trunk.xml", "trunk.bin", "split.csv", "run.toml")
_PARTIAL = ".partial"


@dataclass(frozen=True, repr=False)
class ListedRun:
    """A run in a list.

    `state` is "complete", "interrupted" (can be resumed), "unfinished" (cannot), "being written" or "damaged"; `note`
    says why and what to do. `created` is when a run began that is not complete. Unknown values are empty or None.
    `top1` was measured on the `count` images of `part`, with `folds` by cross-validation.
    """

    name: str
    folder: Path
    state: str
    note: str
    created: datetime
    size: DiskUsage
    newest: bool = False
    backbone: str = ""
    weights: str = ""
    data: str = ""
    images: int | None = None
    classes: int | None = None
    unfreeze: str = ""
    kept: bool | None = None
    part: str = ""
    top1: MetricValue | None = None
    count: int | None = None
    folds: int = 0

    def __repr__(self) -> str:
        return f"<ListedRun {self.name}: {self.state}>"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        top1 = self.top1
        values = {name: value for name, value in vars(self).items() if name != "size"}
        return values | {
            "folder": str(self.folder),
            "created": self.created.isoformat(timespec="seconds"),
            "top1": None if top1 is None else top1.value,
            "top1_interval": None if top1 is None or top1.low is None else [top1.low, top1.high],
            "bytes": self.size.total,
            "shared_bytes": self.size.shared,
        }


def list_runs(folder: str | Path = RUNS, *, sort: str = "created") -> list[ListedRun]:
    """All runs of a folder and of the comparisons in it: the newest first, the most accurate first, or by name.

    A missing folder `runs` has none. Raises RunError for another folder that cannot be read.
    """
    root = Path(folder)
    if (root / "manifest.json").is_file():
        raise RunError(f"{root} is a run itself: `tl runs show {shlex.quote(str(root))}` shows it")
    if not root.exists() and root == RUNS:
        return []
    newest = newest_run(root)
    runs = [run for path in _subfolders(root) for run in _runs_at(root, path)]
    runs = sorted((replace(run, newest=run.folder == newest) for run in runs), key=lambda run: run.name)
    if sort == "created":
        runs.sort(key=lambda run: run.created, reverse=True)
    if sort == "accuracy":
        runs.sort(key=_accuracy, reverse=True)
    return runs


def _accuracy(run: ListedRun) -> float:
    return -1.0 if run.top1 is None else run.top1.value


def is_being_written(folder: Path) -> bool:
    """Whether another process holds the lock of a run; a lock file left by a killed process does not count."""
    lock = lock_file(folder)
    if not lock.is_file() or lock.is_symlink():
        return False
    try:
        with locked(lock, busy=_busy(folder), timeout=0):
            return False
    except (RunError, OSError):
        return True


def _subfolders(root: Path) -> list[Path]:
    try:
        paths = [path for path in root.iterdir() if path.is_dir()]
        # without links, such as `latest`, to a run in it
        inside = root.resolve()
        return sorted(path for path in paths if not path.is_symlink() or inside not in path.resolve().parents)
    except OSError as error:
        raise RunError(f"{root} cannot be read ({error.strerror}): give a folder of runs") from error


def _runs_at(root: Path, path: Path) -> list[ListedRun]:
    try:
        return list(_listed(root, path))
    except FileNotFoundError:
        return []  # removed in the meantime
    except OSError as error:
        note = f"cannot be read ({error.strerror}): check its permissions"
        return [ListedRun(path.name, path, "damaged", note, _modified(path), disk_usage(path))]


def _listed(root: Path, path: Path) -> Iterator[ListedRun]:
    if path.name.startswith("."):
        if path.name.endswith(_PARTIAL) and not path.is_symlink():
            yield _unfinished(path, path.parent / path.name[1 : -len(_PARTIAL)])
        return
    if (path / COMPARISON).is_file():
        for run in _subfolders(path):
            yield from (_complete(root, run),) if _looks_like_run(run) else ()
    elif _looks_like_run(path):
        yield _complete(root, path)


def _looks_like_run(path: Path) -> bool:
    return not path.name.startswith(".") and any((path / name).exists() for name in _FILES)


def _complete(root: Path, path: Path) -> ListedRun:
    name = str(path.relative_to(root))
    try:
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path} is damaged (manifest.json is missing): train it again with `tl finetune`")
        summary = summarize(path.absolute())
    except TLError as error:
        note = str(error).removeprefix(f"{path.absolute()} ").removeprefix(f"{path} ")
        return ListedRun(name, path, "damaged", note, _modified(path), disk_usage(path))
    part = summary.parts.get(summary.best_part)
    return ListedRun(
        name,
        path,
        "complete",
        "",
        summary.created,
        summary.size,
        backbone=summary.backbone,
        weights=summary.weights,
        data=summary.data,
        images=summary.images,
        classes=len(summary.classes),
        unfreeze=summary.unfreeze,
        kept=None if summary.tuning is None else summary.tuning.kept,
        part=summary.best_part,
        top1=None if part is None else part.top1,
        count=None if part is None else part.count,
        folds=0 if part is None else part.folds,
    )


def _unfinished(scratch: Path, folder: Path) -> ListedRun:
    """A run under its hidden name: being written, or left by a process that was killed."""
    size, created, quoted = disk_usage(scratch), _modified(scratch), shlex.quote(str(folder))
    if is_being_written(folder):
        return ListedRun(folder.name, folder, "being written", "", created, size)
    if not (scratch / "run.toml").is_file():
        note = f"was left unfinished and cannot be resumed: remove it with `tl runs rm {quoted}`"
        return ListedRun(folder.name, folder, "unfinished", note, created, size)
    note = f"was interrupted: continue with `tl finetune --resume --out {quoted}`"
    listed = ListedRun(folder.name, folder, "interrupted", note, _modified(scratch / "run.toml"), size)
    try:
        options = read_options(scratch / "run.toml")
    except (TLError, RecursionError, OSError) as error:
        note = f"was interrupted and cannot be resumed ({error}): remove it with `tl runs rm {quoted}`"
        return replace(listed, state="unfinished", note=note)
    defaults = FinetuneOptions()
    backbone, weights, unfreeze = (
        str(options.get(name, getattr(defaults, name))) for name in ("backbone", "weights", "unfreeze")
    )
    return replace(listed, backbone=backbone, weights=weights, data=str(options.get("data", "")), unfreeze=unfreeze)


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(os.lstat(path).st_mtime, UTC)


@dataclass(frozen=True)
class Removal:
    """A run to be removed: its folder, and what an interrupted writing or removal left of it; `kind` names it."""

    folder: Path
    kind: str
    pieces: tuple[Path, ...]
    size: DiskUsage


def find_removals(runs: Sequence[str | Path], *, root: str | Path = RUNS) -> list[Removal]:
    """What removing these runs would delete; each is a name in `root` or a path.

    Raises RunError for what is not a run, a symbolic link, a part of a comparison, or being written.
    """
    folders = {folder.absolute(): folder for folder in (_find_folder(run, Path(root)) for run in runs)}
    return [_removal(folder) for folder in folders.values()]


def find_all_but_best(keep: int, runs: Sequence[str | Path] = (), *, root: str | Path = RUNS) -> list[Removal]:
    """What to remove so that the `keep` most accurate runs of each data set stay, of `runs` or of all in `root`.

    Data sets are identified by name and number of classes; of equally accurate runs, the newer ones stay. Runs of
    comparisons and incomplete runs are ignored. Raises as `find_removals` does.
    """
    named = {_find_folder(run, Path(root)).absolute() for run in runs}
    by_data: dict[tuple[str, int | None], list[ListedRun]] = defaultdict(list)
    for run in list_runs(root):  # the newest first
        if run.state == "complete" and _is_single(run, Path(root)) and (not named or run.folder.absolute() in named):
            by_data[run.data, run.classes].append(run)
    worse: list[str | Path] = []
    for group in by_data.values():
        worse += [run.folder for run in sorted(group, key=_accuracy, reverse=True)[keep:]]
    return find_removals(worse, root=root)


def remove(removals: Sequence[Removal]) -> None:
    """Remove runs; each disappears at once, then its files. `latest` then points to the newest run that is left.

    Raises RunError for one that is being written by now, StorageError for one that cannot be removed.
    """
    for removal in removals:
        lock = lock_file(removal.folder)
        try:
            with locked(lock, busy=_busy(removal.folder), timeout=0):
                try:
                    _remove(removal)
                finally:
                    lock.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{removal.folder} cannot be removed ({reason}): check its permissions") from error
    for root in {removal.folder.parent for removal in removals}:
        _update_latest(root)


def _is_single(run: ListedRun, root: Path) -> bool:
    return run.folder.parent == root and not run.folder.is_symlink()


def _remove(removal: Removal) -> None:
    removed = _removed_folder(removal.folder)
    for piece in removal.pieces:
        if removed.exists():
            shutil.rmtree(removed)  # left by a removal that was killed
        if piece != removed:
            os.rename(piece, removed)
            shutil.rmtree(removed)


def _find_folder(run: str | Path, root: Path) -> Path:
    places = (Path(run), root / run)
    for folder in places:
        if folder.name in ("", "..") or folder.name.startswith("."):
            continue
        if os.path.islink(folder):
            raise RunError(f"{folder} is a symbolic link: name the run itself, such as {os.readlink(folder)}")
        try:
            if any(_kind(folder, piece) for piece in _pieces(folder)):
                return folder
        except OSError as error:
            raise RunError(f"{folder} cannot be read ({error.strerror}): give a run's name or path") from error
    if any(os.path.isdir(folder) for folder in places):
        raise RunError(f"{run} is not a run, and only runs are removed: see `tl runs list`")
    raise RunError(f"no run {str(run)!r} here or in {root}/: see `tl runs list`")


def _removal(folder: Path) -> Removal:
    if (folder.parent / COMPARISON).is_file():
        raise RunError(f"{folder} is part of the comparison {folder.parent}: remove the whole comparison")
    if is_being_written(folder):
        raise _busy(folder)
    kinds = {piece: kind for piece in _pieces(folder) if (kind := _kind(folder, piece))}
    return Removal(folder, next(iter(kinds.values())), tuple(kinds), disk_usage(*kinds))


def _kind(folder: Path, piece: Path) -> str:
    """What a piece of a run is; "" where tl did not write it."""
    if piece.is_symlink() or not piece.is_dir():
        return ""
    if piece == _removed_folder(folder):
        return "half-removed run"
    if piece == partial_folder(folder):
        ours = not any(piece.iterdir()) or any((piece / name).is_file() for name in _FILES)
        started = any(piece.glob("*/manifest.json")) or any(piece.glob(".*.partial/run.toml"))
        return "interrupted run" if ours else "interrupted comparison" if started else ""
    if (piece / COMPARISON).is_file():
        runs = len(list(piece.glob("[!.]*/manifest.json")))
        return f"comparison of {count(runs, 'run')}" if runs else ""
    # Two of its files: other programs write a manifest.json, too.
    return "run" if sum((piece / name).is_file() for name in _FILES) >= 2 else ""


def _pieces(folder: Path) -> tuple[Path, Path, Path]:
    return folder, partial_folder(folder), _removed_folder(folder)


def _removed_folder(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.removed"


def _busy(folder: Path) -> RunError:
    return RunError(f"{folder} is being written by another process: wait for it, or stop it first")


def _update_latest(root: Path) -> None:
    """Point `latest`, where its run is gone, to the newest run that is left; without one, remove it."""
    latest = root / "latest"
    if not latest.is_symlink() or latest.exists():
        return
    complete = [run for run in list_runs(root) if run.state == "complete" and _is_single(run, root)]
    try:
        if complete:
            point_latest(complete[0].folder, root)
        else:
            latest.unlink()
    except OSError as error:
        raise StorageError(f"{latest} cannot be changed ({error.strerror}): remove it") from error
