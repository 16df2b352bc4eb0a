"""A list of runs becomes a table of text: two lines a run, so that names stay whole in 80 columns."""

from collections.abc import Sequence
from pathlib import Path

from tl.runs.catalogue import Listed
from tl.runs.removal import Removal
from tl.runs.summary import size_of
from tl.views.phrases import NONE, one_line, percent, plural
from tl.views.terminal.tables import columns, padded, shortened, size, width_of

_HEADINGS = ("top-1", "95 %", "photos", "size")
_SPANS = (6, 11, 11, 9)  # characters of the figures, with the space before each
_FEWEST = 24  # letters of a name
_PARTS = {"validation": "val", "test": "test", "train": "train"}


def listing(runs: Sequence[Listed], folder: str | Path, width: int = 80) -> str:
    """Each run with its accuracy and size, and below it when, with what and on what it was made; `*` marks the newest.

    Lines are at most `width` characters long, where that is 64 or more.
    """
    if not runs:
        return columns([(f"no runs in {Path(folder).resolve()}: `tl finetune DATA` makes one",)], (width,))
    room = max(_FEWEST, min(width - sum(_SPANS) - 2, max(width_of(run.name) for run in runs)))
    lines = [f"  {padded('run', room)}{_figures(_HEADINGS)}", "─" * (room + 2 + sum(_SPANS))]
    for run in runs:
        mark = "*" if run.newest else " "
        lines.append(f"{mark} {padded(shortened(run.name, room), room)}{_figures(_cells(run))}".rstrip())
        lines.append(columns([("", _details(run))], (2, width - 4)))
    return "\n".join([*lines, "", columns([(_total(runs),)], (width,))])


def removal(chosen: Sequence[Removal]) -> str:
    """What would be removed, and how much of the disk that gives back."""
    lines = [f"  {one.what}, {size(one.size.own)} in {one.size.files:,} files" for one in chosen]
    told = [text for one, line in zip(chosen, lines, strict=True) for text in (f"{one_line(str(one.folder))}", line)]
    held = size_of(*(piece for one in chosen for piece in one.pieces))
    return "\n".join([*told, f"{len(chosen):,} in all, which gives back {size(held.own)} at least"])


def _figures(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{span}}" for cell, span in zip(cells, _SPANS, strict=True))


def _cells(run: Listed) -> tuple[str, ...]:
    top1 = run.top1
    if top1 is None:
        return "", "", "", size(run.size.own)
    interval = NONE if top1.low is None or top1.high is None else f"{100 * top1.low:.1f}–{100 * top1.high:.1f}"
    photos = f"{run.count:,} {_PARTS[run.part]}"
    return percent(top1.value), interval, photos, size(run.size.own)


def _details(run: Listed) -> str:
    made = f"{run.created.astimezone():%Y-%m-%d %H:%M}"
    if run.state == "being written":
        return f"{made}, is being written"
    if run.state != "complete":
        told = [made, *(_about(run) if run.backbone else ())]
        return f"{', '.join(told)}: {run.note}" if run.backbone else f"{made}: {run.note}"
    return ", ".join([made, *_about(run)])


def _about(run: Listed) -> list[str]:
    told = [f"{run.backbone} {'random' if run.weights == 'none' else shortened(run.weights, 24)}"]
    if run.unfreeze == "scratch":
        told[0] = f"{run.backbone} from scratch"
    elif run.unfreeze != "none":
        kept = ", not kept" if run.kept is False else ""
        told.append(f"{run.unfreeze} tuned{kept}" if run.state == "complete" else f"unfreeze {run.unfreeze}")
    told.append(shortened(run.data, 40))
    if run.classes is not None:
        told.append(f"{run.classes:,} classes")
    return told


def _total(runs: Sequence[Listed]) -> str:
    held = size_of(*{run.folder for run in runs if run.folder.is_dir()})
    shared = f"; {size(held.shared)} more are hard links, which the cache or other runs hold too" if held.shared else ""
    newest = " * is the newest, which commands take." if any(run.newest for run in runs) else ""
    own = sum(run.size.own for run in runs)
    return f"{len(runs):,} {plural(len(runs), 'run')}, {size(own)}{shared}.{newest}"
