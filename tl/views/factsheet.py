"""A run's summary becomes one screen of text: what was done, and what came out."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from tl.runs.diff import changed
from tl.runs.summary import Figure, Part, Summary
from tl.views.phrases import cut, figure, one_line, percent, plural
from tl.views.terminal.tables import columns, names, shortened, size

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
