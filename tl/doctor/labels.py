"""Features and labels become the labels that are probably wrong, ranked: confident learning.

Each photo is judged by a classifier that was fitted without it and without its copies; cleanlab then estimates how many
labels are wrong, and which. Source: Northcutt, Jiang and Chuang 2021.

The classifier is ridge regression to one-hot labels on the square roots of the features. It ranks flipped labels as
well as a head does (bench/doctor.py), and leaves folds out by subtracting their sums: 50,000 photos take seconds.
Each class weighs the same, however few its photos, or the labels of a small class could not be told from wrong ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.blas import OneThread
from tl.data.dataset import Dataset
from tl.doctor.findings import Finding
from tl.doctor.suggest import Mending
from tl.errors import DataError
from tl.evaluation.metrics import compute_metrics
from tl.learning.calibration import softmax, temperature
from tl.learning.head import folds_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

FOLDS = 5
_LEAST = 5  # different photos of a class, below which its label cannot be judged: fewer than folds
_RIDGE = (1e-4, 1e-3, 1e-2)  # strengths, as shares of the sum of the variances of the features
_ALONE = 1000  # photos, below which a second thread of the linear algebra costs more than it brings
_WORTH = 0.2  # of the way from chance to all photos, which the interval of balanced accuracy must be beyond
_CERTAIN = 0.5  # probability of the other label from which a doubt can be a warning
_SHARE, _LISTED = 0.03, 10  # of the photos that are listed at most, or so many where that is fewer


@dataclass(frozen=True)
class Suspect:
    """A photo by its place, the label it has and the one it looks like, how probable each is, and whether it is `sure`:
    among as many as are wrong by cleanlab's estimate, and more probably of the other class than not.
    """

    place: int
    given: int
    looks_like: int
    given_share: float
    other_share: float
    sure: bool


def wrong_labels(
    dataset: Dataset, features: Floats, usable: Labels, groups: Labels, *, seed: int = 0
) -> tuple[list[Finding], list[str]]:
    """Findings about the labels of the pictures at `usable`, whose features are in order, and what hinders them."""
    mending = Mending(dataset)
    labelled = np.flatnonzero(dataset.labels[usable] >= 0)
    rows = features if len(labelled) == len(features) else features[labelled]
    own = dataset.labels[usable[labelled]]
    found: list[Finding] = []
    try:
        doubted = suspects(rows, own, len(dataset.class_names), groups[labelled], seed=seed)
    except DataError as error:
        return found, [str(error)]
    for suspect in doubted:
        index = int(usable[labelled[suspect.place]])
        given, other = dataset.class_names[suspect.given], dataset.class_names[suspect.looks_like]
        shares = 100 * suspect.given_share, 100 * suspect.other_share
        found.append(
            Finding(
                kind="label" if suspect.sure else "doubtful label",
                severity="warning" if suspect.sure else "note",
                files=(dataset.names[index],),
                evidence=f"labelled {given} ({shares[0]:.1f} %), looks like {other} ({shares[1]:.1f} %)",
                mend=mending.relabel(index, other),
                score=1 - suspect.given_share,
                pictures=(index,),
            )
        )
    return found, []


def suspects(features: Floats, labels: Labels, classes: int, groups: Labels, *, seed: int = 0) -> list[Suspect]:
    """Photos whose label is probably wrong, the most certain first; at most 3 in 100 or 10, and all that are `sure`.

    `features` `[n, features]`; `labels` `[n]` in `range(classes)`, of which those with fewer than five different photos
    are left alone; photos of one group in `groups` `[n]` are copies, and held out together. Raises DataError where the
    classes cannot be told apart by these features, so that no label can be doubted.
    """
    different = np.unique(np.stack([labels, groups]), axis=1)[0]
    judged = np.flatnonzero(np.bincount(different, minlength=classes) >= _LEAST)
    if len(judged) < 2:
        raise DataError(f"labels: they take two classes of {_LEAST} different photos or more")
    kept = np.flatnonzero(np.isin(labels, judged))
    own = np.searchsorted(judged, labels[kept])
    rows = features if len(kept) == len(labels) else features[kept]
    shares = probabilities(rows, own, len(judged), groups[kept], seed)
    _check_worth(own, shares)
    order, sure = _ranked(own, shares)
    return [
        Suspect(
            place=int(kept[at]),
            given=int(judged[own[at]]),
            looks_like=int(judged[shares[at].argmax()]),
            given_share=float(shares[at, own[at]]),
            other_share=float(shares[at].max()),
            sure=at in sure,
        )
        for at in order
    ]


def _check_worth(labels: Labels, shares: Floats) -> None:
    right, chance = compute_metrics(shares, labels).balanced_accuracy, 1 / shares.shape[1]
    if right.low < chance + _WORTH * (1 - chance):
        raise DataError(
            f"labels: a classifier on these features has a balanced accuracy of {100 * right.value:.0f} %"
            f" (95 % interval from {100 * right.low:.0f}), where guessing has {100 * chance:.0f} %; add photos, or try"
            " another --backbone"
        )


def probabilities(features: Floats, labels: Labels, classes: int, groups: Labels, seed: int) -> Floats:
    """Class probabilities `[n, classes]` of each photo by a classifier that was fitted without its group's fold.

    They are those of a photo from classes of one size.
    """
    folds = folds_of(labels, [int(group).to_bytes(8, "big") for group in groups], FOLDS, seed)
    weights = (len(labels) / (classes * np.bincount(labels)[labels])).astype(np.float32)
    targets = np.full((len(labels), classes), -1 / classes, np.float32)  # one-hot about an even chance
    targets[np.arange(len(labels)), labels] += 1
    with OneThread(now=len(features) < _ALONE):
        rows = _spread(features)
        parts = [_sums(rows[own], targets[own], weights[own]) for own in (folds == fold for fold in range(FOLDS))]
    # Matrices of a few thousand rows are solved faster by one thread than by two that wait for each other.
    with OneThread(now=True):
        tried = [_held_out(rows, folds, parts, strength) for strength in _RIDGE]
    # One fold, or how many are right, would leave the choice to a photo or two where photos are few.
    errors = [np.average(np.square(scores - targets).sum(axis=1), weights=weights) for scores in tried]
    best = tried[int(np.argmin(errors))]
    return softmax(best / np.float32(temperature(best, labels, weights)))


def _spread(features: Floats) -> Floats:
    """Square roots of features about their mean, in the space of the photos where they are fewer than the features;
    and a column of ones.
    """
    rows = np.ones((len(features), features.shape[1] + 1), np.float32)
    spread = rows[:, :-1]
    np.sqrt(np.abs(features), out=spread)
    np.copysign(spread, features, out=spread)
    spread -= spread.mean(axis=0, dtype=np.float64).astype(np.float32)
    if len(spread) < spread.shape[1]:
        from scipy.linalg import eigh

        values, vectors = eigh((spread @ spread.T).astype(np.float64))
        rows = np.column_stack([vectors * np.sqrt(np.maximum(values, 0)), rows[:, -1]]).astype(np.float32)
    return rows


def _sums(rows: Floats, targets: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted products of the rows with each other and with their targets."""
    # Half of the weight on each side: a matrix times its own transpose takes half the time.
    half = np.sqrt(weights)[:, None]
    rows = rows * half
    return rows.T @ rows, rows.T @ (targets * half)


def _held_out(rows: Floats, folds: Labels, parts: Sequence[tuple[Floats, Floats]], strength: float) -> Floats:
    """Scores `[n, classes]` of each fold by the ridge regression of all others."""
    from scipy.linalg import cho_factor, cho_solve

    gram, cross = (np.sum(sums, axis=0) for sums in zip(*parts, strict=True))
    # The column of ones is free: an intercept fitted without the fold. Rows about a mean that the fold has a part in do
    # without one, but then a photo of a small class pulls the mean by its label, right or wrong, and bears it out.
    penalty = np.full(len(gram), max(strength * float(np.trace(gram[:-1, :-1])), 1e-12), np.float32)
    penalty[-1] = 0
    scores = np.zeros((len(rows), cross.shape[1]), np.float32)
    for fold, (own_gram, own_cross) in enumerate(parts):
        matrix = gram - own_gram
        matrix[np.diag_indices_from(matrix)] += penalty
        kernel = cho_solve(cho_factor(matrix, overwrite_a=True), cross - own_cross)
        scores[folds == fold] = rows[folds == fold] @ kernel
    return scores


def _ranked(labels: Labels, shares: Floats) -> tuple[list[int], set[int]]:
    """Places of the labels in doubt, the least probable first, and those that are wrong by cleanlab's estimate."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    precise = shares.astype(np.float64)
    sure = find_label_issues(
        labels, precise, return_indices_ranked_by="self_confidence", filter_by="low_self_confidence", n_jobs=1
    )
    worst = np.argsort(get_label_quality_scores(labels, precise, method="self_confidence"), kind="stable")
    doubted = shares.argmax(axis=1) != labels
    certain = {int(at) for at in sure if doubted[at] and shares[at].max() >= _CERTAIN}
    most = max(_LISTED, round(_SHARE * len(labels)))
    shown = certain | {int(at) for at in worst[:most] if doubted[at]}
    return [int(at) for at in worst if int(at) in shown], certain
