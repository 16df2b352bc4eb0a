"""Runs as text: a list of them, the summary of one, a comparison, and what would be removed."""

import math
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tl.runs.catalogue import ListedRun, Removal
from tl.runs.summary import MetricValue, Rows, RunDifference, RunPair, RunSummary, changed_options, disk_usage
from tl.text import NONE, count, judged_by, listed, number, one_line, percent, size, spread
from tl.views.terminal.tables import columns, cut, names, padded, shortened, width_of

RATES = ("top1", "top5", "balanced_accuracy", "macro_f1")  # metrics shown as percentages
METRIC_NAMES = {
    "top1": "accuracy",
    "top5": "top-5 accuracy",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}

# a list of runs
_HEADINGS = ("accuracy", "95% CI", "images", "size")
_WIDTHS = (9, 12, 11, 9)  # of the figures, with the space before each
_MIN_NAME = 21
_PARTS = {"cross-validated": "CV", "validation": "val", "test": "test", "train": "train"}

# a summary
_TOPIC = 11
_FILES = 5  # the largest files, by name
_MAX_FACT = 260  # characters: four lines

# a comparison
_NAME = 17  # the first column
_MIN_RUN = 19  # the column of a run
_CLASSES = 8  # classes shown whose counts differ
_MAX_VALUE = 120  # characters
_PER_CLASS = "images per class"
_ROW_NAMES = {
    "weights sha256": "checksum",
    "bytes": "size",
    "top1": "accuracy %",
    "top5": "top-5 %",
    "balanced_accuracy": "balanced %",
    "macro_f1": "macro F1 %",
    "calibration_error": "ECE",
    "count": "images",
    "label_smoothing": "smoothing",
}


def list_text(runs: Sequence[ListedRun], folder: str | Path, width: int = 80) -> str:
    """Two lines a run: accuracy and size, then date, network and data; `*` marks the newest.

    A long name has a line of its own and is never cut, so that it can be pasted. Other lines are at most `width`
    columns wide, for a width of at least 64.
    """
    if not runs:
        return columns([(f"no runs in {Path(folder).resolve()}: train one with `tl finetune DATA`",)], (width,))
    room = max(_MIN_NAME, min(width - sum(_WIDTHS) - 2, max(width_of(run.name) for run in runs)))
    lines = [f"  {padded('run', room)}{_figures(_HEADINGS)}", "─" * (room + 2 + sum(_WIDTHS))]
    for run in runs:
        name, mark = one_line(run.name), "*" if run.newest else " "
        if width_of(name) > room:
            lines.append(f"{mark} {name}")
            name = mark = ""
        lines.append(f"{mark:1} {padded(name, room)}{_figures(_cells(run))}".rstrip())
        lines.append(columns([("", _details(run))], (2, width - 4)))
    return "\n".join([*lines, "", columns([(_total(runs),)], (width,))])


def removal_text(removals: Sequence[Removal]) -> str:
    """What would be removed, and how much disk space that frees."""
    lines = []
    for removal in removals:
        lines.append(one_line(str(removal.folder)))
        lines.append(f"  {removal.kind}, {size(removal.size.own)} in {count(removal.size.files, 'file')}")
    freed = disk_usage(*(piece for removal in removals for piece in removal.pieces))
    return "\n".join([*lines, f"{len(removals):,} in total, which frees at least {size(freed.own)}"])


def _figures(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _cells(run: ListedRun) -> tuple[str, ...]:
    top1 = run.top1
    if top1 is None:
        return "", "", "", size(run.size.own)
    bounds = NONE if top1.low is None or top1.high is None else f"{100 * top1.low:.1f}–{100 * top1.high:.1f}"
    return percent(top1.value), bounds, f"{run.count:,} {_PARTS[judged_by(run.part, run.folds)]}", size(run.size.own)


def _details(run: ListedRun) -> str:
    date = f"{run.created.astimezone():%Y-%m-%d %H:%M}"
    if run.state == "being written":
        return f"{date}, is being written"
    parts = ", ".join([date, *(_description(run) if run.backbone else ())])
    return parts if run.state == "complete" else f"{parts}: {run.note}"


def _description(run: ListedRun) -> list[str]:
    if run.unfreeze == "scratch":
        parts = [f"{run.backbone} from scratch"]
    else:
        parts = [f"{run.backbone} {'random' if run.weights == 'none' else shortened(run.weights, 24)}"]
        if run.unfreeze != "none":
            kept = ", not kept" if run.kept is False else ""
            parts.append(f"{run.unfreeze} tuned{kept}" if run.state == "complete" else f"unfreeze {run.unfreeze}")
    parts.append(shortened(run.data, 40))
    if run.classes is not None:
        parts.append(count(run.classes, "class", "classes"))
    return parts


def _total(runs: Sequence[ListedRun]) -> str:
    usage = disk_usage(*{run.folder for run in runs if run.folder.is_dir()})
    shared = f"; {size(usage.shared)} more is shared with the cache or other runs (hard links)" if usage.shared else ""
    newest = " * marks the newest, which commands use by default." if any(run.newest for run in runs) else ""
    folds = " CV: cross-validated." if any(run.folds for run in runs) else ""
    return f"{count(len(runs), 'run')}, {size(sum(run.size.own for run in runs))}{shared}.{newest}{folds}"


def summary_text(summary: RunSummary, width: int = 80) -> str:
    """Data, split, network, options, metrics, times, versions, files and command, in lines of `width` columns."""
    rows = [(topic, cut(one_line(text), _MAX_FACT)) for topic, text in _facts(summary)]
    return columns(rows, (_TOPIC, width - _TOPIC - 2))


def metric_text(name: str, metric: MetricValue) -> str:
    """A metric with its interval: `99.0% (94.7–99.8)`."""
    bounded = metric.low is not None and metric.high is not None
    if name in RATES:
        return percent(metric.value) + (f" ({100 * metric.low:.1f}–{100 * metric.high:.1f})" if bounded else "")  # type: ignore[operator]
    return f"{metric.value:.3f}" + (f" ({metric.low:.3f}–{metric.high:.3f})" if bounded else "")


def _facts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    here = Path.cwd()
    folder = summary.folder.relative_to(here) if summary.folder.is_relative_to(here) else summary.folder
    yield "run", f"{folder}, created {summary.created.astimezone():%Y-%m-%d %H:%M}"
    skipped = f"{summary.skipped:,} left out, " if summary.skipped else ""
    yield "data", f"{summary.data}: {count(summary.images, 'image')}, {skipped}{_classes(summary)}"
    yield from (("", note) for note in summary.notes[:2])
    parts = ", ".join(f"{images:,} {part}" for part, images in summary.split.items() if images)
    yield "split", f"{parts} (seed {summary.seed})"
    weights = "random" if summary.weights == "none" else summary.weights
    source = f"{summary.source.removeprefix('random, ')}, sha256 {summary.sha256[:12]}"
    yield "network", f"{summary.backbone}, {weights} weights ({source})"
    yield "recipe", f"{recipe_text(summary.recipe)}; computed in {summary.precision}"
    options = (f"{name.replace('_', '-')} {value}" for name, value in changed_options(summary).items())
    yield "options", ", ".join(options) or "the defaults"
    yield "head", head_text(summary.head)
    if summary.tuning is not None:
        yield "fine-tuning", _tuning(summary)
    for name, part in summary.parts.items():
        metrics = (f"{METRIC_NAMES.get(name, name)} {metric_text(name, value)}" for name, value in part.figures.items())
        folds = f", {part.folds}-fold cross-validation" if part.folds else ""
        yield name, f"{count(part.count, 'image')}{folds}: {', '.join(metrics)}"
    if not summary.parts:
        yield "validation", "no images were held out"
    yield "seconds", ", ".join(f"{name} {number(spent)}" for name, spent in summary.seconds.items())
    yield "versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items())
    yield "files", _files(summary)
    if summary.command:
        yield "command", shlex.join(summary.command)


def _files(summary: RunSummary) -> str:
    largest = sorted(summary.files.items(), key=lambda file: -file[1])
    files = listed([f"{name} {size(held)}" for name, held in largest], _FILES)
    shared = f", {size(summary.size.shared)} of it as hard links" if summary.size.shared else ""
    return f"{files}; {size(summary.size.total)} in total{shared}"


def _classes(summary: RunSummary) -> str:
    if len(summary.classes) <= 6:
        shown = [f"{shortened(name, 24)} {summary.per_class.get(name, 0):,}" for name in summary.classes]
        return f"{len(summary.classes)} classes ({', '.join(shown)})"
    return f"{len(summary.classes):,} classes of {spread(summary.per_class.values())} ({names(summary.classes, 5)})"


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """How images are prepared for a network: its `recipe` in the manifest of a run."""
    order, size = "BGR" if recipe["bgr"] else "RGB", int(recipe["image_size"])
    mean, std = (", ".join(f"{float(value):g}" for value in recipe[name]) for name in ("mean", "std"))
    return f"{size} × {size} pixels ({recipe['resize']}), {order} minus {mean}, divided by {std}"


def head_text(head: Mapping[str, Any]) -> str:
    """How the head was fitted: the `head` in the manifest of a run."""
    if head.get("description"):
        return one_line(str(head["description"]))
    temperature = f"temperature {float(head['temperature']):.3f}"
    if head["strength"] is None:
        return f"trained with the network; {temperature}"
    folds = f", chosen on {count(int(head['folds']), 'held-out fold')}" if head.get("folds") else ""
    return f"softmax regression, L2 {float(head['strength']):.2g}{folds}; {temperature}"


def _tuning(summary: RunSummary) -> str:
    tuning = summary.tuning
    if tuning is None:
        return ""
    what = "from random weights" if summary.unfreeze == "scratch" else f"{tuning.unfreeze} of the backbone"
    text = f"{what}, {count(tuning.steps, 'step')}"
    text += f" (stopped early: {tuning.stopped})" if tuning.stopped else ""
    for part, before in tuning.before.items():
        if part in tuning.after:
            after = tuning.after[part]
            text += f", {part} accuracy {percent(before.top1.value)} to {percent(after.top1.value)}"
    p_value = "" if tuning.comparison is None else f" (McNemar's p {tuning.comparison.p_value:.2g})"
    return f"{text}{p_value}: {'kept' if tuning.kept else 'not kept, only the head is used'}"


def difference_text(difference: RunDifference, width: int = 80) -> str:
    """The runs as letters, what differs between them, and McNemar's test on their common images."""
    letters = [run_letter(index) for index in range(len(difference.runs))]
    folders = [shortened(str(run.folder), width - 5) for run in difference.runs]
    lines = [columns(zip(letters, folders, strict=True), (3, width - 5)), ""]
    most = max(1, (width - _NAME) // (_MIN_RUN + 2))
    per_table = math.ceil(len(letters) / math.ceil(len(letters) / most))
    for start in range(0, len(letters), per_table):
        runs = range(start, min(start + per_table, len(letters)))
        room = (width - _NAME) // len(runs) - 2
        rows = [("", *(letters[index] for index in runs)), *_difference_rows(difference, runs)]
        lines += [columns(rows, (_NAME - 2, *[room] * len(runs))), ""]
    same = [name for name, rows in _sections(difference) if not rows]
    if same:
        lines += [columns([(f"The same in all: {', '.join(same)}.",)], (width,)), ""]
    return "\n".join([*lines, columns([(pair_text(pair),) for pair in difference.pairs], (width,))])


def pair_text(pair: RunPair) -> str:
    """What the common images of two runs say about them, and which were left out."""
    first, second = run_letter(pair.first), run_letter(pair.second)
    if pair.test is None:
        reason = f"{first} and {second} have no held-out image in common, so they cannot be tested"
        sentences = [f"{reason} ({count(pair.images, 'image')} in both data sets)"]
    else:
        sentences = [f"{first} and {second}: {pair.test.sentence(first, second)}"]
    if pair.trained:
        was = "was" if pair.trained == 1 else "were"
        images = count(pair.trained, "image")
        sentences.append(f"{images} that one run was trained on and the other was evaluated on {was} left out")
    if pair.disputed:
        sentences.append(f"{count(pair.disputed, 'image')} with different labels: left out")
    return ". ".join(sentences) + "."


def run_letter(index: int) -> str:
    """The name of a run in the table: A, B, … and then numbers."""
    return string.ascii_uppercase[index] if index < 26 else f"#{index + 1}"


def _sections(difference: RunDifference) -> list[tuple[str, Rows]]:
    return [
        ("options", difference.options),
        ("network", difference.network),
        ("data", difference.data),
        (_PER_CLASS, _class_rows(difference)),
        ("versions", difference.versions),
    ]


def _class_rows(difference: RunDifference) -> Rows:
    """The counts of classes that all runs have, and in one row which other classes each run has."""
    common = {name: row for name, row in difference.per_class.items() if None not in row}
    others = {name: row for name, row in difference.per_class.items() if None in row}
    if not others:
        return common
    runs = range(len(difference.runs))
    own = [[name for name, row in others.items() if row[index] is not None] for index in runs]
    return {"not in all": tuple(names(words, 3) or None for words in own)} | common


def _difference_rows(difference: RunDifference, runs: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for title, rows in _sections(difference):
        yield from _section(title, rows, runs)
    for part, metrics in difference.results.items():
        yield _heading(part, runs)
        for name, row in metrics.items():
            label = _ROW_NAMES.get(name, METRIC_NAMES.get(name, name))
            yield f"  {label}", *(_metric_cell(name, row[index]) for index in runs)
    yield from _section("outcome", difference.outcome, runs)


def _section(title: str, rows: Rows, runs: Sequence[int]) -> Iterator[tuple[str, ...]]:
    if rows:
        yield _heading(title, runs)
    shown = _CLASSES if title == _PER_CLASS else len(rows)
    for name, row in list(rows.items())[:shown]:
        label = name if title == _PER_CLASS else _ROW_NAMES.get(name, name.replace("_", "-"))
        yield "  " + shortened(label, 40), *(_value(name, row[index]) for index in runs)
    if len(rows) > shown:
        yield f"  and {len(rows) - shown:,} more", *("" for _ in runs)


def _heading(title: str, runs: Sequence[int]) -> tuple[str, ...]:
    return (title, *("" for _ in runs))


def _value(name: str, value: object) -> str:
    if value is None:
        return NONE
    if name == "bytes" and isinstance(value, int):
        return size(value)
    if name == "weights sha256":
        return str(value)[:12]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("seconds", "temperature") and isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), _MAX_VALUE)


def _metric_cell(name: str, metric: MetricValue | None) -> str:
    if metric is None:
        return NONE
    return f"{metric.value:,.0f}" if name == "count" else metric_text(name, metric).replace("%", "")
