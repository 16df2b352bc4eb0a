"""List, show, compare and remove runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tl.errors import UsageError
from tl.options import keywords, option
from tl.runs.catalogue import SORTS, ListedRun, Removal, find_all_but_best, find_removals, list_runs, remove
from tl.runs.folder import RUNS
from tl.runs.summary import RunDifference, RunSummary, compare_runs, summarize
from tl.text import HtmlList, count, percent


@dataclass(frozen=True)
class ListOptions:
    """The options of `tl runs list`."""

    sort: str = option("created", "Order of the runs.", choices=SORTS)


@dataclass(frozen=True)
class RemoveOptions:
    """The options of `tl runs rm`."""

    keep_best: int | None = option(
        None,
        "Remove all but the N most accurate runs of each data set, of those named or of all in runs/.",
        low=1,
        metavar="N",
    )


@keywords(ListOptions)
def list(folder: str | Path = RUNS, *, options: ListOptions) -> Sequence[ListedRun]:
    """All runs in a folder, also incomplete and damaged ones and those of comparisons."""
    return HtmlList(list_runs(folder, sort=options.sort), ("run", "network", "data", "accuracy"), _cells)


def _cells(run: ListedRun) -> tuple[str, ...]:
    images = count(run.count or 0, f"{run.part} image")
    accuracy = run.state if run.top1 is None else f"{percent(run.top1.value)} on {images}"
    return run.name, run.backbone, run.data, accuracy


def show(run: str | Path | None = None) -> RunSummary:
    """What a run was trained on and how, and its results; without `run`, of the newest."""
    return summarize(run)


def compare(*runs: str | Path) -> RunDifference:
    """What differs between runs; each later one is tested against the first (McNemar's exact test)."""
    return compare_runs(runs)


@keywords(RemoveOptions)
def rm(*runs: str | Path, options: RemoveOptions) -> Sequence[Removal]:
    """Remove runs or whole comparisons, and return what was removed. Raises RunError for what is not a run."""
    removals = plan_removal(*runs, options=options)
    remove(removals)
    return removals


@keywords(RemoveOptions)
def plan_removal(*runs: str | Path, options: RemoveOptions) -> Sequence[Removal]:
    """What `rm` would remove with the same arguments."""
    if not runs and options.keep_best is None:
        raise UsageError("nothing to remove: name runs (see `tl runs list`), or give --keep-best N")
    return find_removals(runs) if options.keep_best is None else find_all_but_best(options.keep_best, runs)
