"""Find labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021).

Each photo is judged by a classifier that was fitted without the photo and its copies. The classifier is ridge
regression from the square roots of the features to one-hot labels: it ranks flipped labels as well as a softmax head
(bench/doctor.py), and leaves out a fold by subtracting its sums, so that 50,000 photos take seconds. All classes have
the same weight; otherwise the labels of a small class could not be told from wrong ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset, Labels
from tl.doctor.findings import Finding, FixCommands
from tl.errors import DataError
from tl.evaluation.metrics import compute_metrics
from tl.learning.calibration import fit_temperature, softmax
from tl.learning.head_fit import assign_folds
from tl.linalg import Floats, OneThread
from tl.text import percent

FOLDS = 5
_MIN_PER_CLASS = 5  # distinct photos; with fewer than folds, a label cannot be judged
_L2 = (1e-4, 1e-3, 1e-2)  # times the sum of the variances of the features
_ONE_THREAD = 1000  # photos; with fewer, a second thread of the linear algebra costs more than it gains
_MIN_SKILL = 0.2  # of the way from chance to 100%, for the lower end of the interval of balanced accuracy
_MIN_PROBABILITY = 0.5  # of the other class, for a warning
_MAX_FRACTION, _MIN_LISTED = 0.03, 10  # of the photos that are listed, or this many where that is more
_TOLERANCE = 1e-6  # of probabilities that count as equal


@dataclass(frozen=True)
class Suspect:
    """A photo by its row, its label and the class that it looks like, with the probability of each.

    `is_sure` says that it is among the label errors that confident learning estimates, and more likely than not of
    the other class.
    """

    row: int
    label: int
    looks_like: int
    label_probability: float
    other_probability: float
    is_sure: bool


def label_findings(
    dataset: Dataset, features: Floats, usable: Labels, groups: Labels, *, seed: int = 0
) -> tuple[list[Finding], list[str]]:
    """Findings about labels, and why labels could not be judged; rows of `features` are the images at `usable`."""
    fixes = FixCommands(dataset)
    try:
        suspects = suspect_labels(features, dataset.labels[usable], len(dataset.class_names), groups, seed=seed)
    except DataError as error:
        return [], [str(error)]
    findings = []
    for suspect in suspects:
        index, other = int(usable[suspect.row]), dataset.class_names[suspect.looks_like]
        label = dataset.class_names[suspect.label]
        kind, severity = ("label", "warning") if suspect.is_sure else ("doubtful label", "note")
        probability, other_probability = percent(suspect.label_probability), percent(suspect.other_probability)
        evidence = f"labelled {label} ({probability}), looks like {other} ({other_probability})"
        fix, score = fixes.relabel(index, other), 1 - suspect.label_probability
        findings.append(fixes.finding(kind, severity, evidence, index, fix=fix, score=score))
    return findings, []


def suspect_labels(features: Floats, labels: Labels, classes: int, groups: Labels, *, seed: int = 0) -> list[Suspect]:
    """Photos whose label is probably wrong, the most certain first: at most 3% or 10, and all that are sure.

    `features` `[n, size]`; `labels` `[n]` in `range(classes)`, -1 for none; copies share a number in `groups` `[n]` and
    are held out together. Classes with fewer than five distinct photos are ignored. Raises DataError where these
    features cannot tell the classes apart, so that no label can be judged.
    """
    distinct = np.unique(np.stack([labels, groups]), axis=1)[0]
    judged = np.flatnonzero(np.bincount(distinct[distinct >= 0], minlength=classes) >= _MIN_PER_CLASS)
    if len(judged) < 2:
        raise DataError(f"labels: at least two classes need {_MIN_PER_CLASS} distinct images or more")
    kept = np.flatnonzero(np.isin(labels, judged))
    own = np.searchsorted(judged, labels[kept])
    rows = features if len(kept) == len(labels) else features[kept]
    probabilities = held_out_probabilities(rows, own, len(judged), groups[kept], seed=seed)
    accuracy, chance = compute_metrics(probabilities, own).balanced_accuracy, 1 / len(judged)
    if accuracy.low < chance + _MIN_SKILL * (1 - chance):
        raise DataError(
            f"labels: a classifier on these features has a balanced accuracy of {percent(accuracy.value, 0)}"
            f" (95% CI from {percent(accuracy.low, 0)}), chance is {percent(chance, 0)}; add images, or try another"
            " --backbone"
        )
    order, sure = _ranked(own, probabilities)
    return [
        Suspect(
            row=int(kept[at]),
            label=int(judged[own[at]]),
            looks_like=int(judged[probabilities[at].argmax()]),
            label_probability=float(probabilities[at, own[at]]),
            other_probability=float(probabilities[at].max()),
            is_sure=at in sure,
        )
        for at in order
    ]


def held_out_probabilities(features: Floats, labels: Labels, classes: int, groups: Labels, *, seed: int) -> Floats:
    """Class probabilities `[n, classes]` of each photo by a classifier that was fitted without the fold of its group.

    The prior is uniform over the classes.
    """
    folds = assign_folds(labels, [int(group).to_bytes(8, "big") for group in groups], FOLDS, seed)
    weights = (len(labels) / (classes * np.bincount(labels)[labels])).astype(np.float32)
    targets = np.full((len(labels), classes), -1 / classes, np.float32)  # one-hot, centred
    targets[np.arange(len(labels)), labels] += 1
    with OneThread(now=len(features) < _ONE_THREAD):
        rows = _transformed(features)
        sums = [_sums(rows[own], targets[own], weights[own]) for own in (folds == fold for fold in range(FOLDS))]
    # One thread solves matrices of a few thousand rows faster than two that wait for each other.
    with OneThread(now=True):
        candidates = [_held_out_scores(rows, folds, sums, l2) for l2 in _L2]
    # Squared error over all folds: accuracy, or a single fold, would let one or two photos decide where there are few.
    errors = [np.average(np.square(scores - targets).sum(axis=1), weights=weights) for scores in candidates]
    best = candidates[int(np.argmin(errors))]
    return softmax(best / np.float32(fit_temperature(best, labels, weights)))


def _transformed(features: Floats) -> Floats:
    """Centred square roots of the features and a column of ones; with fewer photos than features, rotated to fewer."""
    rows = np.ones((len(features), features.shape[1] + 1), np.float32)
    roots = rows[:, :-1]
    np.sqrt(np.abs(features), out=roots)
    np.copysign(roots, features, out=roots)
    roots -= roots.mean(axis=0, dtype=np.float64).astype(np.float32)
    if len(roots) < roots.shape[1]:
        from scipy.linalg import eigh

        values, vectors = eigh((roots @ roots.T).astype(np.float64))
        rows = np.column_stack([vectors * np.sqrt(np.maximum(values, 0)), rows[:, -1]]).astype(np.float32)
    return rows


def _sums(rows: Floats, targets: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted products of the rows with themselves and with their targets."""
    # The square root of the weights on both sides: a matrix times its own transpose takes half the time.
    half = np.sqrt(weights)[:, None]
    rows = rows * half
    return rows.T @ rows, rows.T @ (targets * half)


def _held_out_scores(rows: Floats, folds: Labels, sums: Sequence[tuple[Floats, Floats]], l2: float) -> Floats:
    """Scores `[n, classes]` of each fold by the ridge regression on all the others."""
    from scipy.linalg import cho_factor, cho_solve

    gram, cross = (np.sum(each, axis=0) for each in zip(*sums, strict=True))
    # The column of ones has no penalty, so that the intercept, too, is fitted without the fold. Centring the targets
    # instead would use the fold: a photo of a small class would pull the mean towards its own label.
    penalty = np.full(len(gram), max(l2 * float(np.trace(gram[:-1, :-1])), 1e-12), np.float32)
    penalty[-1] = 0
    scores = np.zeros((len(rows), cross.shape[1]), np.float32)
    for fold, (fold_gram, fold_cross) in enumerate(sums):
        matrix = gram - fold_gram
        matrix[np.diag_indices_from(matrix)] += penalty
        coefficients = cho_solve(cho_factor(matrix, overwrite_a=True), cross - fold_cross)
        scores[folds == fold] = rows[folds == fold] @ coefficients
    return scores


def label_errors(labels: Labels, probabilities: NDArray[np.float64]) -> Labels:
    """Rows of the estimated label errors, the least probable label first; every class must occur in `labels`.

    The same as cleanlab's `find_label_issues(filter_by="low_self_confidence")`. A photo is confidently of a class if
    its probability reaches the mean probability of that class over the photos labelled so; of several such classes the
    most probable one counts. Photos whose confident class is not their label are the off-diagonal of the confident
    joint. Their number estimates that of the errors, which are the photos with the least probable labels.
    """
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = np.bincount(labels, own) / np.bincount(labels)
    is_confident = probabilities >= thresholds - _TOLERANCE
    confident_classes = is_confident.sum(axis=1)
    confident_class = np.where(confident_classes > 1, probabilities.argmax(axis=1), is_confident.argmax(axis=1))
    is_off_diagonal = (confident_classes > 0) & (confident_class != labels)
    is_close = probabilities.max(axis=1) <= own + _TOLERANCE
    errors = int(np.sum(is_off_diagonal & ~is_close))
    return np.argsort(own, kind="stable")[:errors]


def _ranked(labels: Labels, probabilities: Floats) -> tuple[list[int], set[int]]:
    """Rows of the doubtful labels, the least probable first, and those of them that are sure."""
    by_confidence = np.argsort(probabilities[np.arange(len(labels)), labels], kind="stable")
    doubtful = probabilities.argmax(axis=1) != labels
    likely = doubtful & (probabilities.max(axis=1) >= _MIN_PROBABILITY)
    sure = {int(row) for row in label_errors(labels, probabilities.astype(np.float64)) if likely[row]}
    limit = max(_MIN_LISTED, round(_MAX_FRACTION * len(labels)))
    listed = sure | {int(row) for row in by_confidence[:limit] if doubtful[row]}
    return [int(row) for row in by_confidence if int(row) in listed], sure
