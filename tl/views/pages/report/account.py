"""A run's manifest and tables become the account of what was done: data, weights, recipe, seconds, command."""

import csv
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.data.dataset import Skipped
from tl.views.pages.report.scores import brief, count, decimal, name, percent, seconds

MOST_SKIPPED = 300  # files that are named
MOST_CLASSES = 2000
_PARTS = {"train": "training"}
_READING, _TRAINING = ("features", "reading"), ("fine-tuning", "training")  # phases
RESIZES = {"stretch": "the whole photo stretched to a square", "crop": "the centre of the photo"}


@dataclass(frozen=True)
class Phase:
    """A phase of the work: its seconds, their share of the total, how many photos a second."""

    name: str
    seconds: str
    share: float
    speed: str


@dataclass(frozen=True)
class Strength:
    """A strength of the head's regularisation that was tried on held-out training photos."""

    strength: str
    log_loss: str
    top1: str
    chosen: bool


def facts(manifest: Mapping[str, Any], data: str, command: str) -> list[tuple[str, list[str]]]:
    """What was done, each with a heading, a line a fact."""
    about, weights, engine = manifest["data"], manifest["weights"], manifest["engine"]
    split = ", ".join(
        f"{int(number):,} for {_PARTS.get(part, part)}" for part, number in about["split"].items() if number
    )
    versions = ", ".join(f"{library} {version}" for library, version in manifest["versions"].items())
    told = [
        ("Data", [data, f"{count(int(about['images']), 'photo')} in {len(about['per_class']):,} classes"]),
        ("Split", [f"photos: {split} (seed {about['seed']})", *(str(note) for note in about["notes"])]),
        ("Network", [_network(manifest["backbone"])]),
        ("Weights", [f"{weights['choice']}, from {weights['source']}", f"sha256 {weights['sha256']}"]),
        ("Recipe", [_recipe(manifest["backbone"]["recipe"])]),
        ("Head", [_head(manifest["head"])]),
        ("Engine", [f"{engine['name']}, {engine['precision']}"]),
        ("Options", [_options(manifest.get("options", {}))]),
        ("Versions", [versions]),
        ("Made", [str(manifest.get("created", "")).replace("T", " ")]),
        ("Command", [command]),
    ]
    return [(heading, [plain(line) for line in lines if line]) for heading, lines in told]


def plain(line: str) -> str:
    """A line of any length without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())


def sentence(given: str) -> str:
    """Words of a table as a sentence of the page."""
    line = plain(given)
    return f"{line[:1].upper()}{line[1:].rstrip('.')}." if line else ""


def typed(words: Any) -> str:
    """The command as it was typed: the words of `sys.argv`, the program by its name."""
    if not isinstance(words, list) or not words:
        return ""
    program, *rest = (str(word) for word in words)
    known = {"cli.py": ["python", program], "__main__.py": ["tl"], "tl": ["tl"]}
    return shlex.join([*known.get(Path(program).name, [program]), *rest])


def classes(per_class: Mapping[str, Any], here: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The classes with the run's photos, and how many of them are `here`, on this page."""
    first = itertools.islice(per_class.items(), MOST_CLASSES)
    return [(brief(label), int(photos), here.get(label, 0)) for label, photos in first]


def skipped(folder: Path, also: Sequence[Skipped]) -> tuple[int, list[tuple[str, str]]]:
    """How many files were left out, and the first of them with their reasons."""
    path = folder / "skipped.csv"
    if not path.is_file():
        return len(also), [(brief(item.path), name(item.reason)) for item in also[:MOST_SKIPPED]]
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        first = [(brief(row["path"]), name(row["reason"])) for row in itertools.islice(rows, MOST_SKIPPED)]
        return len(first) + sum(1 for _ in rows), first


def phases(metrics: Mapping[str, Any], images: int) -> list[Phase]:
    """Where the time went, the total last."""
    laps = {str(key): float(value) for key, value in metrics.get("seconds", {}).items()}
    if not all(math.isfinite(value) and value >= 0 for value in laps.values()):
        raise ValueError("metrics.json has seconds that are none")
    total = laps.get("total") or sum(laps.values()) or 1.0
    speeds = {key: f"{images / laps[key]:,.0f} photos/s" for key in _READING if laps.get(key) and images}
    tuning = metrics.get("fine-tuning", {}).get("images_per_second")
    if tuning:
        speeds |= dict.fromkeys(_TRAINING, f"{float(tuning):,.1f} photos/s in training")
    return [
        Phase(name(key), seconds(taken), min(1.0, taken / total), speeds.get(key, "")) for key, taken in laps.items()
    ]


def strengths(folder: Path, chosen: float | None) -> list[Strength]:
    """`strengths.csv`, where there is one."""
    path = folder / "strengths.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(itertools.islice(csv.DictReader(stream), 100))
    found = []
    for row in rows:
        strength = float(row["strength"])
        taken = chosen is not None and math.isclose(strength, float(chosen), rel_tol=1e-6)
        top1 = percent(float(row["held_out_top1"]))
        found.append(Strength(f"{strength:.2g}", decimal(float(row["held_out_log_loss"])), top1, taken))
    return found


def _network(backbone: Mapping[str, Any]) -> str:
    parameters, features = int(backbone["parameters"]), int(backbone["features"])
    return f"{backbone['name']}, {parameters:,} parameters, {features:,} features a photo"


def _recipe(recipe: Mapping[str, Any]) -> str:
    order = "BGR" if recipe["bgr"] else "RGB"
    mean, std = (", ".join(f"{float(value):g}" for value in recipe[key]) for key in ("mean", "std"))
    size = int(recipe["image_size"])
    resize = RESIZES.get(recipe["resize"], str(recipe["resize"]))
    return f"{size} × {size} pixels, {resize}; {order}, less ({mean}), divided by ({std})"


def _head(head: Mapping[str, Any]) -> str:
    warm = f"temperature {float(head['temperature']):.3f}"
    if head["strength"] is None:
        return f"trained with the network; {warm}"
    folds = f", chosen on {head['folds']} parts of the training photos" if head.get("folds") else ""
    return f"softmax regression, L2 {float(head['strength']):.2g}{folds}; {warm}"


def _options(options: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in options.items() if value is not None and key != "data"}
    return ", ".join(
        f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in shown.items()
    )
