"""Run folders for tests: a real one, copied, with another manifest and other tables."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any


def make(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a run; a change names a value of its manifest by the way to it, as in `options__epochs=3`."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("digest")
    for way, value in changes.items():
        *parents, last = way.split("__")
        target = manifest
        for parent in parents:
            target = target[parent]
        target[last] = value
    rewrite(folder, manifest)
    return folder


def rewrite(folder: Path, manifest: Any) -> None:
    """The manifest, with the digest that a writer gives it."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": digest}), encoding="utf-8")


def accuracy(share: float, count: int = 4) -> dict[str, Any]:
    """The figures of a part, as a manifest has them."""
    return {"top1": share, "top1_interval": [share / 2, (1 + share) / 2], "log_loss": 1 - share, "count": count}


def tables(folder: Path, photos: list[tuple[str, str, str, str]]) -> None:
    """`split.csv` and `predictions.csv` of photos `(path, sha256, split, answer)`, all of them labelled "noise"."""
    with (folder / "split.csv").open("w", newline="") as stream:
        rows = [(path, "noise", part, sha256) for path, sha256, part, _ in photos]
        csv.writer(stream).writerows([("path", "label", "split", "sha256"), *rows])
    with (folder / "predictions.csv").open("w", newline="") as stream:
        answers = [(path, part, "noise", answer, "0.9", "0.9") for path, _, part, answer in photos if part != "train"]
        columns = ("path", "split", "label", "predicted", "confidence", "confidence_of_label")
        csv.writer(stream).writerows([columns, *answers])
