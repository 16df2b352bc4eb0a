"""Run folders for tests: copies of a real one with another manifest and other tables."""

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tl.learning.loop import Epoch, RangeTest, schedule
from tl.runs.folder import write_history


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def copy_run(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a run; a change names a value of its manifest by its path, as in `options__epochs=3`."""
    shutil.copytree(source, folder)
    return change_run(folder, **changes)


def change_run(folder: Path, **changes: Any) -> Path:
    """Change the manifest of a run in place, with a digest that matches."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("digest")
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = manifest
        for parent in parents:
            target = target[parent]
        target[last] = value
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": digest}), encoding="utf-8")
    return folder


def pin(folder: Path) -> None:
    """Let the manifest of a run have the sha256 of its tables as they are now, as one who forges them would."""
    written = json.loads((folder / "manifest.json").read_text())["files"]
    now = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in written if (folder / name).exists()
    }
    change_run(folder, files=written | now)


def change_head(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace arrays of a run's head by those that `change` makes of all of them; None removes one."""
    path = folder / "head.npz"
    with np.load(path) as file:
        head = dict(file)
    np.savez(path, **{name: array for name, array in (head | change(head)).items() if array is not None})
    change_run(folder, **{"files__head.npz": hashlib.sha256(path.read_bytes()).hexdigest()})


def accuracy(value: float, count: int = 4) -> dict[str, Any]:
    """The metrics of a part, as a manifest has them."""
    return {"top1": value, "top1_interval": [value / 2, (1 + value) / 2], "log_loss": 1 - value, "count": count}


def write_tables(folder: Path, images: list[tuple[str, str, str, str]]) -> None:
    """Write split.csv and predictions.csv of images `(path, sha256, split, prediction)`, all labelled "noise"."""
    with (folder / "split.csv").open("w", newline="") as stream:
        rows = [(path, "noise", part, sha256) for path, sha256, part, _ in images]
        csv.writer(stream).writerows([("path", "label", "split", "sha256"), *rows])
    with (folder / "predictions.csv").open("w", newline="") as stream:
        predictions = [(path, part, "noise", label, "0.9", "0.9") for path, _, part, label in images if part != "train"]
        columns = ("path", "split", "label", "predicted", "confidence", "confidence_of_label")
        csv.writer(stream).writerows([columns, *predictions])
    pin(folder)


RATE, WARMUP = 2e-4, 0.1


def write_tuned_run(
    folder: Path,
    epochs: int,
    *,
    planned: int | None = None,
    per_epoch: int = 12,
    held_out: bool = True,
    test: RangeTest | None = None,
    kept: bool = True,
    last_step: int | None = None,
    stopped: str = "",
    spread: float = 8.0,
    monitor: float = 0.1,
) -> Path:
    """History and manifest of a fine-tuned run: losses fall by the factor `spread`, the middle epoch is the best."""
    folder.mkdir(parents=True)
    total = last_step or per_epoch * (planned or epochs)
    rows = []
    for epoch in range(1, epochs + 1):
        step = min(epoch * per_epoch, total)
        best = -(-epochs // 2)
        loss, top1 = 0.2 + 0.1 * abs(epoch - best) / epochs, 0.9 + 0.05 * epoch / epochs
        held = (loss, top1) if held_out else (math.nan, math.nan)
        rate = RATE * schedule(step - 1, total, WARMUP)
        rows.append(Epoch(epoch, step, rate, spread ** (-epoch / epochs), *held, 3.0 * epoch, top1=0.8 + 0.1 * top1))
    write_history(folder, rows, test)
    tuning = fine_tuning(planned or epochs, total, kept, stopped)
    tuning["rule"]["monitor"] = monitor
    manifest = {"metrics": {"fine-tuning": tuning}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def fine_tuning(epochs: int, steps: int, kept: bool, stopped: str) -> dict[str, Any]:
    rule = {"optimizer": "adamw", "learning_rate": RATE, "warmup": WARMUP, "batch": 32, "epochs": epochs}
    return {
        "kept": kept,
        "unfreeze": "last",
        "head_only": {"validation": {"top1": 0.95, "log_loss": 0.2, "count": 102}},
        "tuned": {"validation": {"top1": 0.98, "log_loss": 0.1, "count": 102}},
        "rule": rule | {"augment": "light"},
        "steps": steps,
        "stopped": stopped,
    }
