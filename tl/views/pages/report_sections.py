"""What a report says about how its run was made: data, weights, preprocessing, options, time, command."""

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tl.learning.head_fit import Trial
from tl.text import count, one_line, percent
from tl.views.pages.report_scores import decimal, short_name
from tl.views.terminal.runs import head_text, recipe_text


def facts(manifest: Mapping[str, Any], data: str, command: str) -> list[tuple[str, list[str]]]:
    """How the run was made, as headings and lines."""
    about, weights, engine = manifest["data"], manifest["weights"], manifest["engine"]
    parts = {"train": "training"}
    split = ", ".join(f"{int(number):,} {parts.get(part, part)}" for part, number in about["split"].items() if number)
    versions = ", ".join(f"{library} {version}" for library, version in manifest["versions"].items())
    backbone, source = manifest["backbone"], f"{weights['choice']}, from {weights['source']}"
    network = f"{backbone['name']}, {int(backbone['parameters']):,} parameters"
    options = {key: value for key, value in manifest.get("options", {}).items() if value is not None and key != "data"}
    values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()}
    sha256 = f"sha256 {weights['sha256']}"
    images = f"{count(int(about['images']), 'image')} in {count(len(about['per_class']), 'class')}"
    lines = [
        ("Data", [data, images]),
        ("Split", [f"{split} images (seed {about['seed']})", *(str(note) for note in about["notes"])]),
        ("Network", [f"{network}, {int(backbone['features']):,} features per image"]),
        ("Weights", [f"random (seed {weights['seed']})" if weights["choice"] == "none" else source, sha256]),
        ("Preprocessing", [recipe_text(backbone["recipe"])]),
        ("Head", [head_text(manifest["head"])]),
        ("Engine", [f"{engine['name']}, {engine['precision']}"]),
        ("Options", [", ".join(f"{key} {value}" for key, value in values.items())]),
        ("Versions", [versions]),
        ("Created", [str(manifest.get("created", "")).replace("T", " ")]),
        ("Command", [command]),
    ]
    return [(heading, [one_line(line) for line in about if line]) for heading, about in lines]


def sentence(text: str) -> str:
    """A phrase as a sentence of the page."""
    line = one_line(text)
    return f"{line[:1].upper()}{line[1:].rstrip('.')}." if line else ""


def command_line(words: Any) -> str:
    """The command of a run as it was typed: the words of its manifest, the program by its name."""
    if isinstance(words, str):
        return words
    if not isinstance(words, list) or not words:
        return ""
    program, *rest = (str(word) for word in words)
    programs = {"cli.py": ["python", program], "__main__.py": ["tl"], "tl": ["tl"]}
    return shlex.join([*programs.get(Path(program).name, [program]), *rest])


def classes(per_class: Mapping[str, Any], evaluated: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The classes with their images in the run, and how many of them the page is about."""
    first = itertools.islice(per_class.items(), 2000)  # more rows would fill the page
    return [(short_name(label), int(images), evaluated.get(label, 0)) for label, images in first]


def phases(metrics: Mapping[str, Any], images: int) -> list[tuple[str, str, float, str]]:
    """Where the time went, the total last: name, time, fraction of the total, images per second."""
    laps = {str(key): float(value) for key, value in metrics.get("seconds", {}).items()}
    if not all(math.isfinite(value) and value >= 0 for value in laps.values()):
        raise ValueError("metrics.json has durations that are not numbers of seconds")
    total = laps.get("total") or sum(laps.values()) or 1.0
    speeds = {key: f"{images / laps[key]:,.0f} images/s" for key in ("features", "reading") if laps.get(key) and images}
    tuning = metrics.get("fine-tuning", {}).get("images_per_second")
    if tuning:
        speeds |= dict.fromkeys(("fine-tuning", "training"), f"{float(tuning):,.1f} images/s in training")
    return [(short_name(key), seconds(lap), min(1.0, lap / total), speeds.get(key, "")) for key, lap in laps.items()]


def seconds(value: float) -> str:
    """Seconds as 0.18 s, 12.3 s, 4 min 05 s."""
    if value >= 100:
        return f"{int(value) // 60} min {int(value) % 60:02} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def heads(trials: Sequence[Trial]) -> list[tuple[str, str, str]]:
    """The candidates for the head, each with its log-loss and accuracy on images it was not fitted on."""
    return [(trial.name, decimal(trial.log_loss), percent(trial.top1)) for trial in trials[:100]]
