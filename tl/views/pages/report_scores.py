"""The metrics of a report: the headline, the table of metrics, and the table of classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.metrics import ClassMetrics, Estimate, proportion
from tl.evaluation.predictions import Predictions
from tl.evaluation.significance import beats_majority
from tl.text import NONE, count, interval, percent, shorten

PARTS = ("evaluation", "test", "validation")  # the first that there is heads the page
PHRASES = {
    "evaluation": "evaluated",
    "test": "of the test part, which was used neither for training nor for any choice",
    "validation": "held out for validation",
}
MOST_CLASSES = 2000  # in the table; its rows would fill the page
_LONGEST = 90  # letters of a name in a list of many

Labels = NDArray[np.int64]
Fractions = NDArray[np.float64]


@dataclass(frozen=True)
class PredictionTable:
    """Predictions for the `n` images of one part; classes are indices into `classes`.

    `second` is the second most likely class, -1 where an old run does not record it. `foreign` counts images of classes
    that the run does not know; they are left out.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    truth: Labels
    predicted: Labels
    second: Labels
    confidence: Fractions
    truth_confidence: Fractions
    second_confidence: Fractions
    unknown: NDArray[np.bool_]
    foreign: int = 0

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which images are classified correctly `[n]`."""
        return np.equal(self.truth, self.predicted)

    @property
    def margin(self) -> Fractions:
        """How far the prediction is ahead of the second class `[n]`; of old runs, its confidence."""
        return self.confidence - np.where(self.second >= 0, self.second_confidence, 0.0)


def table_of(predictions: Predictions, part: str) -> PredictionTable:
    """The predictions of one part, with the six decimals that predictions.csv has."""
    rows = predictions.of_part(part)
    names, indices = predictions.dataset.names, predictions.indices[rows]
    probabilities = predictions.probabilities[rows].astype(np.float64).round(6)
    best = np.argsort(-predictions.probabilities[rows], axis=1, kind="stable")[:, :2]
    truth, every = predictions.labels[rows], np.arange(len(rows))
    return PredictionTable(
        classes=predictions.dataset.class_names,
        names=tuple(names[at] for at in indices),
        truth=truth,
        predicted=best[:, 0],
        second=best[:, 1],
        confidence=probabilities[every, best[:, 0]],
        truth_confidence=probabilities[every, truth],
        second_confidence=probabilities[every, best[:, 1]],
        unknown=predictions.is_unknown[rows],
    )


def headline_part(metrics: Mapping[str, Any]) -> str:
    """The part that the page shows: of a run with a test part that, else validation; "" where none is judged."""
    return next((part for part in PARTS if part in metrics), "")


def short_name(name: str, longest: int = _LONGEST) -> str:
    """A class or file name on one line, without its middle where it is very long."""
    return shorten(name, longest) or "(no name)"


def decimal(value: float | None) -> str:
    """A figure that is no fraction, as 0.077."""
    return NONE if value is None or math.isnan(value) else f"{value:.3f}"


# key, name, whether a fraction, what it is
_METRICS = (
    ("top1", "accuracy", True, "fraction of images whose most likely class is the true one"),
    ("top5", "top-5 accuracy", True, "fraction of images whose true class is among the five most likely"),
    ("balanced_accuracy", "balanced accuracy", True, "mean recall of the classes"),
    ("macro_f1", "macro F1", True, "mean F1 of the classes; F1 weighs precision and recall alike"),
    ("log_loss", "log-loss", False, "mean negative log-probability of the true class, in nats; 0 is best"),
    ("brier", "Brier score", False, "squared error of the probabilities, 0 (best) to 2"),
    ("calibration_error", "calibration error", True, "mean gap between confidence and accuracy; 0 is best"),
)


def headline(metrics: Mapping[str, Any], table: PredictionTable) -> dict[str, Any]:
    """The accuracy of the part that heads the page, the baseline, and where both are on a line from 0 to 1."""
    part = headline_part(metrics)
    figures = metrics[part]
    value, (low, high) = float(figures["top1"]), _pair(figures["top1_interval"])
    support = _support(figures, table)
    majority = float(support.max() / support.sum()) if support.sum() else math.nan
    images = count(int(figures["count"]), "image")
    folds, groups = figures.get("folds"), figures.get("groups")
    if groups:
        images += f" in {count(int(groups['count']), 'group')}"
    phrase = f"by {int(folds)}-fold cross-validation" if folds else PHRASES[part]
    sentence = f"accuracy ({interval(low, high)}) on the {images} {phrase}."
    baseline = _baseline_sentence(table, support, (low, high), majority)
    numbers = {"value": value, "low": low, "high": high, "majority": majority}
    return {"figure": percent(value), "sentence": sentence, "baseline": baseline, **numbers}


def _baseline_sentence(table: PredictionTable, support: Labels, accuracy: tuple[float, float], majority: float) -> str:
    if math.isnan(majority):
        return ""
    name = short_name(table.classes[int(support.argmax())])
    sentence = f"The majority-class baseline, always predicting “{name}”, reaches {percent(majority)}"
    better = beats_majority(*accuracy, majority)
    if better is None:
        return f"{sentence}; there are too few images to tell whether the classifier is better."
    return f"{sentence}." if better else f"{sentence}; the classifier is hardly better, if at all."


def metric_rows(metrics: Mapping[str, Any], table: PredictionTable) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The parts, that of the headline first, and a row for each metric that one of them has."""
    parts = tuple(part for part in PARTS if part in metrics)
    baseline = _baseline(_support(metrics[parts[0]], table))
    rows = []
    for key, name, is_fraction, meaning in _METRICS:
        if any(metrics[part].get(key) is not None for part in parts):
            cells = [_cell(metrics[part], key, is_fraction) for part in parts]
            text = percent(baseline.get(key)) if is_fraction else decimal(baseline.get(key))
            rows.append({"name": name, "meaning": meaning, "cells": cells, "baseline": text})
    return parts, rows


def class_rows(figures: Mapping[str, Any], table: PredictionTable) -> list[dict[str, Any]]:
    """Every class by its name, or of very many those with the lowest F1; counted here where a run is too old.

    `figures` of a row are precision, recall and F1, each as number (None: no images), text and interval.
    """
    rows: list[dict[str, Any]] = []
    for name, about in (figures.get("per_class") or _count_classes(table)).items():
        cells = [(about.get(key), *_cell(about, key, True)) for key in ("precision", "recall", "f1")]
        rows.append({"name": short_name(name), "support": int(about["support"]), "figures": cells})
    if len(rows) > MOST_CLASSES:
        rows.sort(key=lambda row: 2.0 if row["figures"][2][0] is None else row["figures"][2][0])
    return rows[:MOST_CLASSES]


def _cell(figures: Mapping[str, Any], key: str, is_fraction: bool) -> tuple[str, str]:
    value, bounds = figures.get(key), figures.get(f"{key}_interval")
    if value is None:
        return NONE, ""
    if not is_fraction:
        return decimal(float(value)), "" if bounds is None else "{:.3f}–{:.3f}".format(*_pair(bounds))
    return percent(float(value)), "" if bounds is None else range_text(_pair(bounds))


def range_text(bounds: tuple[float, float]) -> str:
    """A range of fractions, as 91.5–99.0%."""
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}%"


def _pair(bounds: Any) -> tuple[float, float]:
    low, high = bounds
    return float(low), float(high)


def _support(figures: Mapping[str, Any], table: PredictionTable) -> Labels:
    per_class = figures.get("per_class")
    if not per_class:
        return np.bincount(table.truth, minlength=len(table.classes))
    return np.array([int(per_class.get(name, {}).get("support", 0)) for name in table.classes], np.int64)


def _baseline(support: Labels) -> dict[str, float]:
    """The metrics of predicting the class frequencies for every image."""
    if not support.sum():
        return {}
    frequencies = np.sort(support[support > 0] / support.sum())[::-1]
    return {
        "top1": float(frequencies[0]),
        "top5": float(frequencies[:5].sum()),
        "balanced_accuracy": 1 / len(frequencies),
        "macro_f1": float(2 * frequencies[0] / (1 + frequencies[0]) / len(frequencies)),
        "log_loss": float(np.sum(frequencies * np.log(1 / frequencies))),
        "brier": float(1 - np.sum(frequencies**2)),
    }


def _count_classes(table: PredictionTable) -> dict[str, Any]:
    """The figures of the classes from the predictions alone; F1 without its interval, which takes a bootstrap."""
    classes = len(table.classes)
    support, predicted = (np.bincount(labels, minlength=classes) for labels in (table.truth, table.predicted))
    hits = np.bincount(table.truth[table.correct], minlength=classes)
    per_class: dict[str, Any] = {}
    for at, name in enumerate(table.classes):
        precision, recall = (proportion(int(hits[at]), int(images[at])) for images in (predicted, support))
        both = int(support[at] + predicted[at])
        f1 = Estimate(2 * int(hits[at]) / both if both else math.nan, 0.0, 1.0)
        per_class[name] = ClassMetrics(int(support[at]), precision, recall, f1).as_dict()
        del per_class[name]["f1_interval"]
    return per_class
