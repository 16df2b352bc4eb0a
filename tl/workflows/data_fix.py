"""A data set becomes a clean copy of it, or a table of what is clean in it; with a list of all that was changed."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tl.data.dataset import Sample
from tl.data.load import load
from tl.data.write import check_files, check_new, fresh, inside, path_from, places, write_files, write_rows, write_table
from tl.doctor.plan import KINDS, Plan, plan
from tl.doctor.read import read_all
from tl.engines import open_named
from tl.progress import Progress


@dataclass(frozen=True)
class Fixed:
    """What was planned, and where it was written; `out` and `undo` are None where nothing was."""

    plan: Plan
    out: Path | None = None
    undo: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self.plan.as_dict() | {"out": self.out and str(self.out), "undo": self.undo and str(self.undo)}


def fix(
    data: str | Path,
    out: str | Path | None,
    *,
    only: Collection[str] = KINDS,
    relabel: bool = False,
    link: bool = False,
    backbone: str = "resnet50",
    weights: str = "imagenet",
    seed: int = 0,
    download: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Fixed:
    """Write what is clean in a data set to a new folder, or to a table where `out` ends in .csv; None writes nothing.

    `only` are the kinds of fault that are mended. The data set itself is not touched. Raises UsageError for an `out`
    that is there or inside of the data set, DataError where too little would be left, StorageError on a full disk.
    """
    progress, target = progress or Progress(), None if out is None else Path(out)
    if target is not None:
        check_new(target, data)
        if _is_table(target):
            check_new(undo_of(target), data)
    dataset = load(data, download=download, offline=offline, progress=progress)
    if target is not None and _is_table(target):
        check_files(dataset)
        only = [kind for kind in only if kind != "extensions"]  # a table has files as they are
    engine, network = open_named(backbone, weights=weights, offline=offline, progress=progress)
    seen = read_all(dataset.images, engine, network.recipe, network.features, progress)
    made = plan(dataset, seen, only=only, relabel=relabel, seed=seed)
    if target is None:
        return Fixed(made)
    if _is_table(target):
        _write_table(made, target)
    else:
        _write_folder(made, target, link and dataset.root is not None, progress)
    return Fixed(made, target, undo_of(target))


def undo_of(out: Path) -> Path:
    """Where the list of all that was changed is written: inside of a folder, beside a table."""
    return out.with_name(f"{out.stem}.undo.csv") if _is_table(out) else out / "undo.csv"


def _is_table(out: Path) -> bool:
    return out.suffix.lower() == ".csv"


def _write_folder(made: Plan, out: Path, link: bool, progress: Progress) -> None:
    kept = made.kept
    samples = [replace(_cleaned(made, at), name="/".join(inside(step.sample))) for at, step in enumerate(kept)]
    where = places(samples, {at: step.suffix for at, step in enumerate(kept) if step.suffix})
    with fresh(out) as scratch:
        write_files(scratch, [step.sample.image for step in kept], where, link=link, progress=progress)
        write_rows(scratch / undo_of(out).name, _undo(made, where))


def _write_table(made: Plan, out: Path) -> None:
    samples = [_cleaned(made, at) for at in range(len(made.kept))]
    # The list first: a table without it would be a change that cannot be told.
    with fresh(out) as scratch, fresh(undo_of(out)) as undo:
        write_table(scratch, out, samples)
        write_rows(undo, _undo(made, [path_from(out, sample) for sample in samples]))


def _cleaned(made: Plan, at: int) -> Sample:
    return replace(made.kept[at].sample, label=made.kept[at].label)


def _undo(made: Plan, where: list[str]) -> list[tuple[str, ...]]:
    """A row for each file of the data set: what is not there says where it was, and what it was."""
    rows: list[tuple[str, ...]] = [("path", "done", "why", "from", "label", "split")]
    waiting = iter(where)
    for step in made.steps:
        sample, path = step.sample, next(waiting) if step.kept else ""
        source = str(sample.image.absolute()) if isinstance(sample.image, Path) else sample.name
        source = source if made.dataset.root is not None else sample.name
        rows.append((path, step.done, step.why, source, sample.label or "", sample.part or ""))
    root = made.dataset.root
    for skipped in made.dataset.skipped:
        source = str((root / skipped.path).absolute()) if root else skipped.path
        rows.append(("", "left out", skipped.reason, source, "", ""))
    return rows
