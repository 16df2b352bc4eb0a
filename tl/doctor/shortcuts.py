"""Find classes that can be told apart without looking at the subject: by image size, format, border or mean colour.

A small decision tree sees nothing but that property and is cross-validated. Where it does far better than chance, a
network may learn the property instead of the subject.
"""

from collections.abc import Sequence

import numpy as np

from tl.data.dataset import Dataset, Labels
from tl.data.image_stats import ImageStats
from tl.doctor.findings import Finding
from tl.evaluation.metrics import Metrics, compute_metrics
from tl.learning.head_fit import assign_folds
from tl.linalg import Floats
from tl.text import interval, percent

_FOLDS = 5
_MIN_PER_CLASS = 10  # photos
_MAX_PHOTOS = 10_000  # the intervals are narrow enough then
_DEPTH = 5
# How far from chance towards certainty the lower end of the interval must be. The subject itself shows in colours and
# borders as well, whereas nothing about a cat makes its photo a PNG.
_LIMITS = {"format": 0.15, "size": 0.3, "border": 0.5, "mean colour": 0.5}
_MIN_ONE_CLASS = 0.6  # lower ends of the intervals of precision and recall of a single class among many
_FIXES = {
    "format": "save all images in one format, or collect all classes in the same way",
    "size": "collect all classes in the same way, or crop all images alike",
    "border": "crop the borders, or collect all classes in the same way",
    "mean colour": "collect all classes under the same light and on the same backgrounds",
}


def shortcut_findings(
    dataset: Dataset, stats: ImageStats, usable: Labels, groups: Labels, *, seed: int = 0
) -> list[Finding]:
    """Findings about classes that one property predicts; copies share a number in `groups` `[len(usable)]`."""
    rows, labels = _sample(dataset.labels[usable], seed)
    if len(np.unique(labels)) < 2:
        return []
    indices = usable[rows]
    names = [dataset.class_names[label] for label in np.unique(dataset.labels[indices])]
    folds = assign_folds(labels, [int(group).to_bytes(8, "big") for group in groups[rows]], _FOLDS, seed)
    findings = []
    for name, columns in _properties(stats, indices).items():
        if np.ptp(columns, axis=0).max(initial=0) > 0:
            predictions = _cross_validated(columns, labels, len(names), folds, seed=seed)
            findings += _findings(name, compute_metrics(predictions, labels, seed=seed), names)
    return findings


def _sample(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Rows of at most 10,000 photos of the classes with enough of them, and their labels counted from 0."""
    sizes = np.bincount(labels[labels >= 0])
    rows = np.flatnonzero(np.isin(labels, np.flatnonzero(sizes >= _MIN_PER_CLASS)))
    if len(rows) > _MAX_PHOTOS:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_MAX_PHOTOS])
    return rows, np.unique(labels[rows], return_inverse=True)[1].astype(np.int64)


def _properties(stats: ImageStats, indices: Labels) -> dict[str, Floats]:
    headers = [header for header in (stats.headers[index] for index in indices) if header is not None]
    sizes = [(header.width, header.height, header.width / header.height) for header in headers]
    formats = [(header.format, header.mode) for header in headers]
    return {
        "size": np.array(sizes, np.float32),
        "format": np.array([[each == kind for kind in sorted(set(formats))] for each in formats], np.float32),
        "border": stats.border[indices],
        "mean colour": stats.colour[indices],
    }


def _cross_validated(columns: Floats, labels: Labels, classes: int, folds: Labels, *, seed: int) -> Floats:
    """The class of each photo, one-hot `[n, classes]`, as predicted by a tree that was fitted without its fold."""
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_depth=max(_DEPTH, classes.bit_length() + 2),
        min_samples_leaf=max(3, len(labels) * (_FOLDS - 1) // _FOLDS // (50 * classes)),
        class_weight="balanced",
        random_state=seed,
    )
    predicted = cross_val_predict(tree, columns, labels, cv=PredefinedSplit(folds))
    one_hot: Floats = np.eye(classes, dtype=np.float32)[predicted]
    return one_hot


def _findings(name: str, metrics: Metrics, class_names: Sequence[str]) -> list[Finding]:
    chance = 1 / len(class_names)
    balanced = metrics.balanced_accuracy
    score = (balanced.low - chance) / (1 - chance)
    if score > _LIMITS[name]:
        evidence = (
            f"the {name} alone predicts the class: balanced accuracy {percent(balanced.value)}"
            f" ({interval(balanced.low, balanced.high)}), chance {percent(chance)}"
        )
        return [Finding("shortcut", "warning", evidence, fix=_FIXES[name], score=score)]
    findings = []
    for class_name, own in zip(class_names, metrics.per_class, strict=True):
        low = min(own.recall.low, own.precision.low)
        if len(class_names) > 2 and low > _MIN_ONE_CLASS:
            evidence = (
                f"the {name} alone predicts class {class_name}: recall {percent(own.recall.value, 0)},"
                f" precision {percent(own.precision.value, 0)}"
            )
            findings.append(Finding("shortcut", "warning", evidence, fix=_FIXES[name], score=low))
    return findings
