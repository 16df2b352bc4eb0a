"""A run's data set, split and answers become the tables in its folder."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import PARTS, Dataset
from tl.data.splits import Split
from tl.evaluation.predictions import Predictions
from tl.learning.head import Trial
from tl.learning.loop import Epoch, RangeTest


def write_data(folder: Path, dataset: Dataset, parts: Split, fingerprints: Sequence[bytes]) -> None:
    """`split.csv` and `skipped.csv`."""
    part_of, names = _part_of(parts), dataset.class_names
    rows = (
        (dataset.names[at], names[dataset.labels[at]], part_of.get(at, ""), fingerprints[at].hex())
        for at in range(len(dataset.names))
    )
    _table(folder / "split.csv", ("path", "label", "split", "sha256"), rows)
    write_skipped(folder, dataset)


def write_skipped(folder: Path, dataset: Dataset) -> None:
    """`skipped.csv`: the files left out, and why."""
    _table(folder / "skipped.csv", ("path", "reason"), ((item.path, item.reason) for item in dataset.skipped))


def write_strengths(folder: Path, trials: Iterable[Trial]) -> None:
    """`strengths.csv`: how each strength of the head's regularisation did on held-out training photos."""
    rows = ((trial.l2, trial.log_loss, trial.top1) for trial in trials)
    _table(folder / "strengths.csv", ("strength", "held_out_log_loss", "held_out_top1"), rows)


def write_history(folder: Path, epochs: Sequence[Epoch], test: RangeTest | None) -> None:
    """`history.csv`, a row an epoch; and `learning_rates.csv`, the curve of the range test if there was one."""
    header = ("epoch", "step", "learning_rate", "loss", "held_out_log_loss", "held_out_top1", "seconds")
    _table(folder / "history.csv", header, (list(vars(epoch).values()) for epoch in epochs))
    if test is not None:
        rows = zip(test.rates, test.losses, strict=True)
        _table(folder / "learning_rates.csv", ("learning_rate", "loss"), rows)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """`metrics.json`."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    (folder / "metrics.json").write_text(text, encoding="utf-8", errors="replace")


def write_gradients(folder: Path, gradients: Sequence[dict[str, float]]) -> None:
    """`gradients.csv`: how long each layer's gradient was before and after training, where that was noted."""
    if gradients:
        rows = ((layer, *(found.get(layer, "") for found in gradients)) for layer in gradients[0])
        _table(folder / "gradients.csv", ("layer", "before", "after")[: 1 + len(gradients)], rows)


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """`predictions.csv`: a row for each image."""
    _table(folder / "predictions.csv", _PREDICTION, _prediction_rows(predictions))


def about_data(dataset: Dataset, parts: Split) -> dict[str, Any]:
    """The data set and its split as the manifest holds them."""
    counts = Counter(int(label) for label in dataset.labels)
    return {
        "name": utf8(dataset.name),
        "images": len(dataset.images),
        "per_class": {name: counts[at] for at, name in enumerate(dataset.class_names)},
        "split": {name: len(getattr(parts, name)) for name in PARTS},
        "seed": parts.seed,
        "skipped": len(dataset.skipped),
        "notes": [*dataset.notes, *parts.notes],
    }


def utf8(value: Any) -> Any:
    """Text that can be written: bytes of a file name that are no UTF-8 become question marks."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


_PREDICTION = (
    *("path", "split", "label", "predicted", "confidence", "confidence_of_label"),
    *("second", "confidence_of_second", "unknown"),
)


def _part_of(parts: Split) -> dict[int, str]:
    return {int(at): name for name in PARTS for at in getattr(parts, name)}


def _prediction_rows(predictions: Predictions) -> Iterator[tuple[object, ...]]:
    dataset, names = predictions.dataset, predictions.dataset.class_names
    best_two = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :2]
    for row, (index, part) in enumerate(zip(predictions.indices, predictions.parts, strict=True)):
        (best, second), truth, shares = best_two[row], dataset.labels[index], predictions.probabilities[row]
        labels = (names[truth], names[best], f"{shares[best]:.6f}", f"{shares[truth]:.6f}", names[second])
        yield dataset.names[index], part, *labels, f"{shares[second]:.6f}", int(predictions.is_unknown[row])


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as stream:  # a file name may be no UTF-8
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
