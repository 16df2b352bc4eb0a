"""A list of runs becomes a table of text: two lines a run, so that names stay whole in 80 columns."""

import csv
import json
import math
import shlex
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import RunError
from tl.learning.loop import schedule
from tl.runs.catalogue import Listed, Removal
from tl.runs.diff import Difference, Pair, Rows, changed
from tl.runs.summary import Figure, Part, Summary, size_of
from tl.views.terminal.tables import (
    NONE,
    columns,
    cut,
    figure,
    names,
    one_line,
    padded,
    percent,
    plural,
    shortened,
    size,
    width_of,
)

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


SHARES = ("top1", "top5", "balanced_accuracy")  # figures that are told in per cent
WORDS = {
    "top1": "top-1",
    "top5": "top-5",
    "log_loss": "log-loss",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}
_TOPIC = 11
_FILES = 5  # how many are named, from the largest
_LONGEST = 260  # letters of one fact: four lines


def factsheet(about: Summary, width: int = 80) -> str:
    """Data, split, network, options, figures, seconds, versions, files and command, in lines of `width` characters."""
    rows = [(topic, cut(one_line(text), _LONGEST)) for topic, text in _facts(about)]
    return columns(rows, (_TOPIC, width - _TOPIC - 2))


def value_of(name: str, found: Figure) -> str:
    """A figure with its interval: 99.0 % (94.7–99.8)."""
    if name in SHARES:
        interval = "" if found.low is None or found.high is None else f" ({100 * found.low:.1f}–{100 * found.high:.1f})"
        return f"{percent(found.value)} %{interval}"
    interval = "" if found.low is None or found.high is None else f" ({found.low:.3f}–{found.high:.3f})"
    return f"{found.value:.3f}{interval}"


def _facts(about: Summary) -> Iterator[tuple[str, str]]:
    yield "run", f"{_place(about.folder)}, made {about.created.astimezone():%Y-%m-%d %H:%M}"
    yield "data", f"{about.data}: {about.images:,} {plural(about.images, 'image')}, {_left_out(about)}{_classes(about)}"
    yield from (("", note) for note in about.notes[:2])
    parts = ", ".join(f"{count:,} {part}" for part, count in about.split.items() if count)
    yield "split", f"{parts} (seed {about.seed})"
    weights = "random" if about.weights == "none" else about.weights
    yield (
        "network",
        f"{about.backbone}, {weights} weights ({about.source.removeprefix('random, ')}, sha256 {about.sha256[:12]})",
    )
    yield "recipe", _recipe(about)
    given = changed(about)
    told = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in given.items())
    yield "options", told or "the defaults"
    yield "head", _head(about)
    if about.tuning is not None:
        yield "fine-tuning", _tuning(about)
    for name, part in about.parts.items():
        yield name, _part(part)
    if not about.parts:
        yield "validation", "no photos were held out"
    yield "seconds", ", ".join(f"{name} {figure(spent)}" for name, spent in about.seconds.items())
    yield "versions", ", ".join(f"{name} {version}" for name, version in about.versions.items())
    yield "files", _files(about)
    if about.command:
        yield "command", shlex.join(about.command)


def _place(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _files(about: Summary) -> str:
    largest = sorted(about.files.items(), key=lambda file: -file[1])
    told = ", ".join(f"{name} {size(held)}" for name, held in largest[:_FILES])
    more = f" and {len(largest) - _FILES:,} more" if len(largest) > _FILES else ""
    shared = f", {size(about.size.shared)} of it hard links" if about.size.shared else ""
    return f"{told}{more}; {size(about.size.whole)} in all{shared}"


def _left_out(about: Summary) -> str:
    return f"{about.skipped:,} left out, " if about.skipped else ""


def _classes(about: Summary) -> str:
    counts = list(about.per_class.values())
    if len(about.classes) <= 6:
        shown = [f"{shortened(name, 24)} {about.per_class.get(name, 0):,}" for name in about.classes]
        return f"{len(about.classes)} classes ({', '.join(shown)})"
    spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return f"{len(about.classes):,} classes of {spread} ({names(about.classes, 5)})"


def _recipe(about: Summary) -> str:
    recipe = about.recipe
    order = "BGR" if recipe["bgr"] else "RGB"
    mean, std = (", ".join(f"{number:g}" for number in recipe[name]) for name in ("mean", "std"))
    pixels = f"{recipe['image_size']} × {recipe['image_size']} pixels ({recipe['resize']})"
    return f"{pixels}, {order} less {mean}, over {std}; computed in {about.precision}"


def _head(about: Summary) -> str:
    strength, folds, warmth = (about.head.get(name) for name in ("strength", "folds", "temperature"))
    fitted = f"softmax regression, L2 {strength:.2g} by {folds} folds, " if isinstance(strength, float) else ""
    return f"{fitted}temperature {warmth:.3f}" if isinstance(warmth, float) else fitted.rstrip(", ")


def _tuning(about: Summary) -> str:
    tuning = about.tuning
    if tuning is None:
        return ""
    scratch = about.unfreeze == "scratch"
    what = "from random weights" if scratch else f"{tuning.unfreeze} of the backbone"
    said = f"{what}, {tuning.steps:,} steps"
    said += f" (stopped early: {tuning.stopped})" if tuning.stopped else ""
    for part, before in tuning.before.items():
        if part in tuning.after:
            after = tuning.after[part]
            said += f", {part} top-1 {percent(before.top1.value)} to {percent(after.top1.value)} %"
    compared = "" if tuning.comparison is None else f" (McNemar's p {tuning.comparison.p_value:.2g})"
    verdict = "kept" if tuning.kept else "not kept, the head alone answers"
    return f"{said}{compared}: {verdict}"


def _part(part: Part) -> str:
    told = ", ".join(f"{WORDS.get(name, name)} {value_of(name, found)}" for name, found in part.figures.items())
    return f"{part.count:,} {plural(part.count, 'photo')}: {told}"


Numbers = NDArray[np.float64]

MOST_BYTES = 10_000_000  # of a table: a hundred thousand epochs
MOST_STEPS = 2000  # of a schedule; a picture shows no more
PARTS = {"last": "the last stage", "half": "the upper half", "all": "all"}
_EPOCHS = ("epoch", "step", "learning_rate", "loss", "held_out_log_loss", "held_out_top1")
_TEST = ("learning_rate", "loss")


@dataclass(frozen=True)
class History:
    """A fine-tuning: a row of `epochs` an epoch, a row of `test` a rate of the range test, by their columns.

    `plan` says what was done, `verdict` what it came to; `rate` is the full learning rate, reached after the share
    `warmup` of the `total` steps that were planned.
    """

    name: str
    epochs: Mapping[str, Numbers]
    test: Mapping[str, Numbers] | None
    plan: str
    verdict: str
    rate: float
    warmup: float
    total: int

    @property
    def steps(self) -> float:
        """Steps an epoch."""
        return float(self.epochs["step"][0] / self.epochs["epoch"][0])

    @property
    def ends(self) -> Numbers:
        """How many epochs are over at each row: a last one that was cut short ends before its number."""
        return self.epochs["step"] / self.steps

    @property
    def best(self) -> int | None:
        """The row with the least loss held out, None where nothing was."""
        held_out = self.epochs["held_out_log_loss"]
        return int(np.nanargmin(held_out)) if np.isfinite(held_out).any() else None

    @property
    def best_epoch(self) -> int:
        """The number of that row's epoch, 0 for none."""
        return 0 if self.best is None else int(self.epochs["epoch"][self.best])

    def schedule(self) -> tuple[Numbers, Numbers] | None:
        """Epochs and the learning rate there, step by step; None where the rows tell of another schedule."""
        last = self.epochs["step"][-1]
        for total in (self.total, int(last)):  # a budget makes the training shorter
            known = self._rates(self.epochs["step"] - 1, total)
            if np.allclose(known, self.epochs["learning_rate"], rtol=1e-6, atol=1e-9 * self.rate):
                steps = np.unique(np.linspace(0, last - 1, MOST_STEPS).round())
                return (steps + 1) / self.steps, self._rates(steps, total)
        return None

    def _rates(self, steps: Numbers, total: int) -> Numbers:
        return np.array([self.rate * schedule(int(step), total, self.warmup) for step in steps])


def read(folder: Path) -> History | None:
    """The history of a run; None where nothing was fine-tuned, or not for a single epoch.

    Raises RunError when its files are damaged.
    """
    if not (folder / "history.csv").is_file():
        return None
    try:
        return _read(folder)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise RunError(
            f"{folder} is damaged, its history cannot be read ({reason}): make it again with `tl finetune`"
        ) from error


def _read(folder: Path) -> History | None:
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["metrics"].get("fine-tuning")
    if about is None:
        return None
    epochs, test = _table(folder / "history.csv", _EPOCHS), None
    if not len(epochs["step"]):
        return None
    if (folder / "learning_rates.csv").is_file():
        test = _table(folder / "learning_rates.csv", _TEST)
    _check(epochs, test or {})
    rate, warmup = float(about["rule"]["learning_rate"]), float(about["rule"]["warmup"])
    if not 1e-30 < rate < 1e30 or not 0 <= warmup <= 1:
        raise ValueError(f"learning rate {rate}, warm-up {warmup}")
    total = round(epochs["step"][0] / epochs["epoch"][0] * int(about["rule"]["epochs"]))
    tested = test if test and len(test["loss"]) else None
    return History(folder.resolve().name, epochs, tested, _plan(about), _verdict(about), rate, warmup, total)


def _table(path: Path, columns: Iterable[str]) -> dict[str, Numbers]:
    """Columns of numbers; infinite ones become nan, which is not drawn."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} is larger than {MOST_BYTES // 1_000_000} MB")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = {name: np.array([float(row[name]) for row in rows]) for name in columns}
    return {name: np.where(np.abs(values) < 1e30, values, np.nan) for name, values in table.items()}


def _check(epochs: Mapping[str, Numbers], test: Mapping[str, Numbers]) -> None:
    counted = np.concatenate([epochs["epoch"], epochs["step"]])
    if not ((counted >= 1) & (counted < 1e9)).all() or (np.diff(epochs["step"]) <= 0).any():
        raise ValueError("history.csv counts its steps wrongly")
    if not (test.get("learning_rate", np.ones(1)) > 1e-30).all():
        raise ValueError("learning_rates.csv has one that is none")


def _plan(about: Mapping[str, Any]) -> str:
    rule, part = about["rule"], PARTS[about["unfreeze"]]
    what = "random weights" if not about["head_only"] else f"{part} of the backbone"
    done = f"{what}, {int(about['steps']):,} steps of {int(rule['batch']):,} photos"
    how = f"{rule['optimizer']}, augmentation {rule['augment']}"
    return f"Trained: {done}, {how}" + (f"; stopped early: {about['stopped']}" if about["stopped"] else "")


def _verdict(about: Mapping[str, Any]) -> str:
    after = about["tuned"]["validation"]
    if not about["head_only"]:  # from random weights: there is no head alone to compare with
        top1, loss = 100 * after["top1"], after["log_loss"]
        return f"Top-1 {top1:.1f} %, log-loss {loss:.3f} on {int(after['count']):,} photos"
    before = about["head_only"]["validation"]
    figures = f"top-1 {100 * before['top1']:.1f} to {100 * after['top1']:.1f} %"
    figures += f", log-loss {before['log_loss']:.3f} to {after['log_loss']:.3f} on {int(after['count']):,} photos"
    kept = "The tuned network is kept" if about["kept"] else "No more right on validation, so the head alone is kept"
    return f"{kept}: {figures}"


_NAME = 17  # characters of the first column
_NARROWEST = 19  # of a run's
_CLASSES = 8  # how many whose counts differ are shown
_CONTRAST_LONGEST = 120  # letters of a value
_PER_CLASS = "images a class"
_OTHERS = "not in all"
_CALLED = {
    "weights sha256": "checksum",
    "bytes": "size",
    "top1": "top-1 %",
    "top5": "top-5 %",
    "balanced_accuracy": "balanced %",
    "calibration_error": "ECE",
    "count": "photos",
    "label_smoothing": "smoothing",
}


def contrast(difference: Difference, width: int = 80) -> str:
    """The runs as letters, what differs between them, and McNemar's test on the photos that they share."""
    letters = [letter(at) for at in range(len(difference.runs))]
    called = [(name, shortened(str(run.folder), width - 5)) for name, run in zip(letters, difference.runs, strict=True)]
    lines = [columns(called, (3, width - 5)), ""]
    most = max(1, (width - _NAME) // (_NARROWEST + 2))
    at_once = math.ceil(len(letters) / math.ceil(len(letters) / most))
    for start in range(0, len(letters), at_once):
        places = range(start, min(start + at_once, len(letters)))
        span = (width - _NAME) // len(places) - 2
        rows = [("", *(letters[at] for at in places)), *_rows(difference, places)]
        lines += [columns(rows, (_NAME - 2, *[span] * len(places))), ""]
    same = [name for name, rows in _sections(difference) if not rows]
    if same:
        lines += [columns([(f"The same in all: {', '.join(same)}.",)], (width,)), ""]
    said = [(sentence(pair),) for pair in difference.pairs]
    return "\n".join([*lines, columns(said, (width,))])


def sentence(pair: Pair) -> str:
    """What the photos that two runs share say about them, and which were left out."""
    first, second = letter(pair.first), letter(pair.second)
    if pair.test is None:
        why = f"{first} and {second} have no held-out photo in common, so no test tells which is better"
        said = [f"{why} ({pair.images:,} {plural(pair.images, 'image')} in both data sets)"]
    else:
        said = [f"{first} and {second}: {pair.test.sentence(first, second)}"]
    if pair.trained:
        was = "was" if pair.trained == 1 else "were"
        said.append(
            f"{pair.trained:,} {plural(pair.trained, 'photo')} that one run was trained on and the other is "
            f"scored on {was} left out"
        )
    if pair.disputed:
        said.append(f"{pair.disputed:,} {plural(pair.disputed, 'photo')} of which the labels differ: left out")
    return ". ".join(said) + "."


def letter(place: int) -> str:
    """What a run is called in the table: A, B, ... and then by number."""
    return string.ascii_uppercase[place] if place < 26 else f"#{place + 1}"


def _sections(difference: Difference) -> list[tuple[str, Rows]]:
    return [
        ("options", difference.options),
        ("network", difference.network),
        ("data", difference.data),
        (_PER_CLASS, _contrast_classes(difference)),
        ("versions", difference.versions),
    ]


def _contrast_classes(difference: Difference) -> Rows:
    """Counts of classes that all runs have, and in one row which of the others each has."""
    rows = {name: row for name, row in difference.per_class.items() if None not in row}
    others = {name: row for name, row in difference.per_class.items() if None in row}
    if not others:
        return rows
    held = [[name for name, row in others.items() if row[at] is not None] for at in range(len(difference.runs))]
    return {_OTHERS: tuple(names(words, 3) or None for words in held)} | rows


def _rows(difference: Difference, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for title, rows in _sections(difference):
        yield from _section(title, rows, places)
    for part, figures in difference.results.items():
        yield _heading(part, places)
        for name, found in figures.items():
            yield f"  {_CALLED.get(name, WORDS.get(name, name))}", *(_figure(name, found[at]) for at in places)
    yield from _section("outcome", difference.outcome, places)


def _section(title: str, rows: Rows, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
    if rows:
        yield _heading(title, places)
    shown = _CLASSES if title == _PER_CLASS else len(rows)
    for name, row in list(rows.items())[:shown]:
        called = name if title == _PER_CLASS else _CALLED.get(name, name.replace("_", "-"))
        yield "  " + shortened(called, 40), *(_value(name, row[at]) for at in places)
    if len(rows) > shown:
        yield f"  and {len(rows) - shown:,} more", *("" for _ in places)


def _heading(title: str, places: Sequence[int]) -> tuple[str, ...]:
    return (title, *("" for _ in places))


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
        return figure(value)
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), _CONTRAST_LONGEST)


def _figure(name: str, found: Figure | None) -> str:
    if found is None:
        return NONE
    return f"{found.value:,.0f}" if name == "count" else value_of(name, found).replace(" %", "")
