"""ImageStats and labels become the classes that can be told without looking at what a photo shows.

A small decision tree is fitted on nothing but the size, the format, the border or the mean colour, and checked on
photos that it has not seen: where it does far better than chance, a network may learn that instead of the thing itself.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.image_stats import Header, ImageStats
from tl.doctor.findings import Finding
from tl.evaluation.metrics import Metrics, compute_metrics
from tl.learning.head import folds_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_FOLDS = 5
_LEAST = 10  # photos a class
_MOST = 10_000  # photos; the intervals are narrow enough then
_DEPTH = 5
# How far from chance towards certainty the lower end of the interval must lie. What a thing looks like shows in colours
# and borders, too, whereas nothing about a cat makes its photo a PNG.
_FAR = {"format": 0.15, "size": 0.3, "border": 0.5, "mean colour": 0.5}
_ONE_CLASS = 0.6  # of the precision and the recall of a single class among many, lower ends of their intervals
_MEND = {
    "format": "save all photos in one format, or collect the classes in the same way",
    "size": "collect the classes in the same way, or crop all photos alike",
    "border": "crop the borders away, or collect the classes in the same way",
    "mean colour": "collect the classes under the same light and on the same backgrounds",
}


def shortcuts(dataset: Dataset, looks: ImageStats, usable: Labels, groups: Labels, *, seed: int = 0) -> list[Finding]:
    """Findings about classes that can be told by one of these alone."""
    chosen, labels = _chosen(dataset.labels[usable], seed)
    if len(np.unique(labels)) < 2:
        return []
    indices = usable[chosen]
    names = [dataset.class_names[label] for label in np.unique(dataset.labels[indices])]
    keys = [int(group).to_bytes(8, "big") for group in groups[chosen]]
    folds = folds_of(labels, keys, _FOLDS, seed)
    found = []
    for what, columns in _columns(looks, indices).items():
        if np.ptp(columns, axis=0).max(initial=0) == 0:
            continue
        answers = _answers(columns, labels, len(names), folds, seed)
        found += _findings(what, compute_metrics(answers, labels, seed=seed), names)
    return found


def _chosen(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Places of the photos that are looked at, and their labels counted from 0."""
    counts = np.bincount(labels[labels >= 0])
    enough = np.flatnonzero(counts >= _LEAST)
    places = np.flatnonzero(np.isin(labels, enough))
    if len(places) > _MOST:
        places = np.sort(np.random.default_rng(seed).permutation(places)[:_MOST])
    return places, np.unique(labels[places], return_inverse=True)[1].astype(np.int64)


def _columns(looks: ImageStats, indices: Labels) -> dict[str, Floats]:
    headers = [header for header in (looks.headers[index] for index in indices) if header is not None]
    sizes = np.array([(header.width, header.height, header.width / header.height) for header in headers], np.float32)
    return {
        "size": sizes,
        "format": _formats(headers),
        "border": looks.border[indices],
        "mean colour": looks.colour[indices],
    }


def _formats(headers: Sequence[Header]) -> Floats:
    kinds = [(header.format, header.mode) for header in headers]
    known = sorted(set(kinds))
    return np.array([[kind == other for other in known] for kind in kinds], np.float32)


def _answers(columns: Floats, labels: Labels, classes: int, folds: Labels, seed: int) -> Floats:
    """The answer of a tree that was fitted without it for each photo, as `[n, classes]` of 0 and 1."""
    from sklearn.tree import DecisionTreeClassifier

    answers = np.zeros((len(labels), classes), np.float32)
    for fold in range(_FOLDS):
        inside, outside = folds != fold, np.flatnonzero(folds == fold)
        if not len(outside):
            continue
        tree = DecisionTreeClassifier(
            max_depth=max(_DEPTH, classes.bit_length() + 2),
            min_samples_leaf=max(3, int(inside.sum()) // (50 * classes)),
            class_weight="balanced",
            random_state=seed,
        )
        said = tree.fit(columns[inside], labels[inside]).predict(columns[outside])
        answers[outside, said] = 1
    return answers


def _findings(what: str, told: Metrics, names: Sequence[str]) -> list[Finding]:
    chance = 1 / len(names)
    balanced = told.balanced_accuracy
    share = (balanced.low - chance) / (1 - chance)
    if share > _FAR[what]:
        said = (
            f"the {what} alone tells the classes: balanced accuracy {100 * balanced.value:.1f} %"
            f" (95 % interval {100 * balanced.low:.1f} to {100 * balanced.high:.1f}), by chance {100 * chance:.1f} %"
        )
        return [Finding("shortcut", "warning", (), said, _MEND[what], share)]
    single = []
    for name, figures in zip(names, told.per_class, strict=True):
        low = min(figures.recall.low, figures.precision.low)
        if len(names) > 2 and low > _ONE_CLASS:
            said = (
                f"the {what} alone tells class {name}: {100 * figures.recall.value:.0f} % of its photos are found by"
                f" it, and {100 * figures.precision.value:.0f} % of what is found is {name}"
            )
            single.append(Finding("shortcut", "warning", (), said, _MEND[what], low))
    return single
