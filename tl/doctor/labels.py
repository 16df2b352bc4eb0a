"""Features and labels become the labels that are probably wrong, ranked: confident learning.

Each photo is judged by a classifier that was fitted without it and without its copies; cleanlab then estimates how many
labels are wrong, and which. Source: Northcutt, Jiang and Chuang 2021.

The classifier is ridge regression to one-hot labels on the square roots of the features. It ranks flipped labels as
well as a head does (bench/doctor.py), and leaves folds out by subtracting their sums: 50,000 photos take seconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.datasets.dataset import Dataset
from tl.doctor.findings import Finding
from tl.doctor.mending import Mending
from tl.engines.blas import OneThread
from tl.errors import DataError
from tl.evaluation.metrics import proportion
from tl.learning.calibration import softmax, temperature
from tl.learning.heads import folds_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

FOLDS = 5
_LEAST = 5  # photos of a class, below which its label cannot be judged
_RIDGE = (1e-4, 1e-3, 1e-2)  # strengths, as shares of the sum of the variances of the features
_ALONE = 1000  # photos, below which a second thread of the linear algebra costs more than it brings
_WORTH = 0.2  # of the way from the largest class alone to all photos, which the interval of top-1 must be beyond
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

    `features` `[n, features]`; `labels` `[n]` in `range(classes)`, of which those with fewer than five photos are left
    alone; photos of one group in `groups` `[n]` are copies, and held out together. Raises DataError where the classes
    cannot be told apart by these features, so that no label can be doubted.
    """
    counts = np.bincount(labels, minlength=classes)
    judged = np.flatnonzero(counts >= _LEAST)
    if len(judged) < 2:
        raise DataError(f"labels: they take two classes of {_LEAST} photos or more")
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
    right = proportion(int(np.sum(shares.argmax(axis=1) == labels)), len(labels))
    largest = float(np.bincount(labels).max()) / len(labels)
    if right.low < largest + _WORTH * (1 - largest):
        raise DataError(
            f"labels: a classifier on these features is right for {100 * right.value:.0f} % of the photos, and for"
            f" {100 * largest:.0f} % by always saying one class; try another --backbone"
        )


def probabilities(features: Floats, labels: Labels, classes: int, groups: Labels, seed: int) -> Floats:
    """Class probabilities `[n, classes]` of each photo by a classifier that was fitted without its group's fold."""
    folds = folds_of(labels, [int(group).to_bytes(8, "big") for group in groups], FOLDS, seed)
    with OneThread(now=len(features) < _ALONE):
        rows = _spread(features)
        parts = [_sums(rows[folds == fold], labels[folds == fold], classes) for fold in range(FOLDS)]
    # Matrices of a few thousand rows are solved faster by one thread than by two that wait for each other.
    with OneThread(now=True):
        first = folds == 0
        tried = [_held_out(rows, folds, parts, classes, strength, folds_done=(0,))[first] for strength in _RIDGE]
        right = [float(np.mean(scores.argmax(axis=1) == labels[first])) for scores in tried]
        best = _RIDGE[right.index(max(right))]
        scores = _held_out(rows, folds, parts, classes, best, folds_done=range(FOLDS))
    return softmax(scores / np.float32(temperature(scores, labels)))


def _spread(features: Floats) -> Floats:
    """Square roots of features about their mean, in the space of the photos where they are fewer than the features."""
    rows: Floats = np.sqrt(np.abs(features))
    rows *= np.sign(features)
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    if len(rows) < rows.shape[1]:
        from scipy.linalg import eigh

        values, vectors = eigh((rows @ rows.T).astype(np.float64))
        rows = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    return rows


def _sums(rows: Floats, labels: Labels, classes: int) -> tuple[Floats, Floats]:
    """Products of the rows with each other and with one-hot labels about an even chance."""
    hot = np.full((len(labels), classes), -1 / classes, np.float32)
    hot[np.arange(len(labels)), labels] += 1
    return rows.T @ rows, rows.T @ hot


def _held_out(
    rows: Floats,
    folds: Labels,
    parts: Sequence[tuple[Floats, Floats]],
    classes: int,
    strength: float,
    folds_done: Iterable[int],
) -> Floats:
    """Scores `[n, classes]` of some folds, each by the ridge regression of all others."""
    from scipy.linalg import cho_factor, cho_solve

    gram, cross = sum(part[0] for part in parts), sum(part[1] for part in parts)
    scores = np.zeros((len(rows), classes), np.float32)
    for fold in folds_done:
        own_gram, own_cross = parts[fold]
        matrix = gram - own_gram
        matrix[np.diag_indices_from(matrix)] += max(strength * float(np.trace(gram)), 1e-12)
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
