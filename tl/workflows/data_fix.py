"""Write a clean copy of a data set, and a list of everything that was changed: `tl data fix`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tl.data.dataset import Sample
from tl.data.load import Data, load
from tl.data.write import (
    check_files,
    check_new,
    is_table,
    output_paths,
    path_in_class,
    relative_path,
    write_files,
    write_rows,
    write_table,
)
from tl.doctor.plan import DEFAULT_KINDS, KINDS, Plan, Step, plan_fixes
from tl.errors import UsageError
from tl.files import atomic_write
from tl.options import download_option, keywords, offline_option, option
from tl.progress import Progress
from tl.text import count, html_table
from tl.workflows.data_check import measure


@dataclass(frozen=True)
class FixOptions:
    """The options of `tl data fix`."""

    out: Path | None = option(None, "New folder, or new table (.csv).", metavar="PATH")
    only: tuple[str, ...] = option((), "Fix only these kinds, separated by commas.", choices=KINDS, metavar="KIND,...")
    relabel: bool = option(False, "Also change labels that are surely wrong.")
    merge_classes: bool = option(False, "Also merge classes whose names differ only in case, white space or plural.")
    drop_small: int | None = option(
        None, "Also leave out classes of which fewer images are left.", low=2, unit="images", metavar="N"
    )
    dry_run: bool = option(False, "Show what would be done, and write nothing.")
    link: bool = option(False, "Make hard links instead of copies, where the disk allows it.")
    backbone: str = option("resnet50", "Network whose features are compared.")
    weights: str = option("imagenet", "Its weights: a name or a file.", metavar="NAME|FILE")
    seed: int = option(0, "Seed of the folds in which labels are judged.")
    download: bool = download_option()
    offline: bool = offline_option()


@dataclass(frozen=True)
class FixResult:
    """The plan, and where the copy and its list of changes are; None after a dry run."""

    plan: Plan = field(repr=False)
    out: Path | None = None
    undo: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return self.plan.as_dict() | {"out": self.out and str(self.out), "undo": self.undo and str(self.undo)}

    def _repr_html_(self) -> str:
        rows = [(step.sample.name, step.action, step.why) for step in self.plan.changed]
        return html_table(rows, ("image", "action", "reason"), count(len(rows), "change"))


@keywords(FixOptions)
def fix(data: Data, *, options: FixOptions, progress: Progress | None = None) -> FixResult:
    """Write a clean copy of a data set to the new folder or table `out`; the data set itself is not changed.

    Raises UsageError for an `out` that exists or is inside the data set, DataError if too little would be left, and
    StorageError if the disk is full.
    """
    out = None if options.dry_run else options.out
    if out is None and not options.dry_run:
        raise UsageError("give a new folder or table with --out, or see what would be done with --dry-run")
    if out is not None:
        check_new(out, data)
        if is_table(out):
            check_new(undo_path(out), data)
    progress, kinds = progress or Progress(), options.only or DEFAULT_KINDS
    kinds += ("class-names",) * options.merge_classes
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    if out is not None and is_table(out):
        check_files(dataset)
        kinds = tuple(kind for kind in kinds if kind != "extensions")  # a table names the files as they are
    measured = measure(dataset, options.backbone, weights=options.weights, offline=options.offline, progress=progress)
    plan = plan_fixes(
        dataset,
        measured.stats,
        measured.features,
        measured.usable,
        kinds=kinds,
        relabel=options.relabel,
        smallest=options.drop_small or 0,
        seed=options.seed,
    )
    if out is None:
        return FixResult(plan)
    if is_table(out):
        _write_table(plan, out)
    else:
        _write_folder(plan, out, link=options.link and dataset.root is not None, progress=progress)
    return FixResult(plan, out, undo_path(out))


def undo_path(out: Path) -> Path:
    """Where the list of changes is written: inside a folder, beside a table."""
    return out.with_name(f"{out.stem}.undo.csv") if is_table(out) else out / "undo.csv"


def _write_folder(plan: Plan, out: Path, *, link: bool, progress: Progress) -> None:
    kept = plan.kept
    samples = [replace(_relabelled(step), name="/".join(path_in_class(step.sample))) for step in kept]
    paths = output_paths(samples, {at: step.suffix for at, step in enumerate(kept) if step.suffix})
    with atomic_write(out, overwrite=False) as scratch:
        write_files(scratch, [step.sample.image for step in kept], paths, link=link, progress=progress)
        write_rows(scratch / undo_path(out).name, _undo_rows(plan, paths))


def _write_table(plan: Plan, out: Path) -> None:
    samples = [_relabelled(step) for step in plan.kept]
    with (  # no table without its list of changes
        atomic_write(out, overwrite=False) as scratch,
        atomic_write(undo_path(out), overwrite=False) as undo,
    ):
        write_table(scratch, out, samples)
        write_rows(undo, _undo_rows(plan, [relative_path(out, sample) for sample in samples]))


def _relabelled(step: Step) -> Sample:
    return replace(step.sample, label=step.label)


def _undo_rows(plan: Plan, paths: list[str]) -> list[tuple[str, ...]]:
    """A row for each file of the data set: its path in the copy ("" if left out), what was done and why, its origin."""
    root = plan.dataset.root
    rows: list[tuple[str, ...]] = [("path", "done", "why", "from", "label", "split")]
    remaining = iter(paths)
    for step in plan.steps:
        sample, path = step.sample, next(remaining) if step.kept else ""
        source = sample.name
        if root is not None and isinstance(sample.image, Path):
            source = str(sample.image.absolute())
        rows.append((path, step.action, step.why, source, sample.label or "", sample.part or ""))
    for skipped in plan.dataset.skipped:
        source = str((root / skipped.path).absolute()) if root else skipped.path
        rows.append(("", "left out", skipped.reason, source, "", ""))
    return rows
