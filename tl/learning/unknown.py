"""Recognise images unlike all training images, by the distance of their features.

The score is the mean distance to the five nearest training images, between feature vectors scaled to length 1 (nearest
neighbours: Sun et al. 2022; their mean: Angiulli and Pizzuti 2002). Of the methods in bench/unknown.py it separates
CIFAR-100 from cats and dogs best: at full size, where Mahalanobis distance does as well, and with everything shrunk to
32 pixels, where it does not. The threshold is a conformal quantile: each training image is scored against the others,
as a new one would be, and so many of them stay below the threshold that new images of their kind keep to the rate.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError
from tl.linalg import unit
from tl.text import percent

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_NEIGHBOURS = 5  # three to eight do equally well
_REFERENCES = 512  # 4 MB of ResNet50's features; as good as thousands for images of another kind altogether
_PER_CLASS = 2  # at least, with very many classes
_SCORED = 5000  # training images for the threshold: fifty beyond it at a rate of 1%
_SAME = 2e-3  # float32 cannot distinguish closer vectors: the image itself, or its copy
_ROWS = 2048  # images scored at a time: 20 MB
_MOST_RAISED = 0.05  # few images raise a lower rate to at most this one; beyond it the check is off


@dataclass(frozen=True)
class Unknown:
    """The unknown check: `references` float32 `[m, features]` of length 1 are training images to compare with.

    Scores above `threshold` are unknown (infinite: none is); `rate` is the false-alarm rate it promises (0: off).
    """

    references: Floats
    threshold: float
    rate: float

    @property
    def sentence(self) -> str:
        """The false-alarm rate, in words."""
        if not self.rate:
            return f"off: too few training images for a false-alarm rate of {percent(_MOST_RAISED, 0)}"
        return f"at most {100 * self.rate:.2g}% of images like the training images are called unknown"

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output; an infinite threshold is null."""
        threshold = self.threshold if math.isfinite(self.threshold) else None
        return {"rate": self.rate, "threshold": threshold, "sentence": self.sentence}

    def score(self, features: Floats) -> Floats:
        """The distance `[n]` of features `[n, features]` from the training images: 0 to 2."""
        scores = np.empty(len(features), np.float32)
        for start in range(0, len(features), _ROWS):
            scores[start : start + _ROWS] = _nearest(_distances(features[start : start + _ROWS], self.references))
        return scores

    def is_unknown(self, features: Floats) -> NDArray[np.bool_]:
        """Whether each of features `[n, features]` is unlike all training images `[n]`."""
        unknown: NDArray[np.bool_] = ~(self.score(features) <= self.threshold)  # NaN is unknown, too
        return unknown

    def is_unknown_held_out(self, features: Floats) -> NDArray[np.bool_]:
        """Whether each training image would be unknown `[n]` if it were not one."""
        unknown: NDArray[np.bool_] = ~(_score_held_out(features, self.references) <= self.threshold)
        return unknown if self.rate else np.zeros(len(features), np.bool_)


def fit_unknown(features: Floats, labels: Labels, classes: int, *, rate: float = 0.01, seed: int = 0) -> Unknown:
    """Fit the check to training features `[n, features]` and labels `[n]` in `range(classes)`.

    At most `rate` of new images of the same kind are called unknown. n images can promise 1 in n + 1 at best: fewer
    than a rate needs raise it to that or, beyond 1 in 20, turn the check off. Raises UsageError for a rate that is not
    between 0 and 1.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--unknown-rate {rate:g}: give a false-alarm rate between 0 and 1, such as 0.01")
    order = np.random.default_rng(seed).permutation(len(features))
    references = unit(features[_choose_evenly(labels, order, most_references(classes))])
    scores = _score_held_out(features[np.sort(order[:_SCORED])], references)
    threshold, promised = _threshold(scores, rate)
    return Unknown(references, threshold, promised)


def most_references(classes: int) -> int:
    """The largest number of reference images."""
    return max(_REFERENCES, _PER_CLASS * classes)


def _choose_evenly(labels: Labels, order: Labels, most: int) -> Labels:
    """Indices of at most `most` images, equally many per class as far as there are, in a shuffled order."""
    turn = np.empty(len(labels), np.int64)
    last: dict[int, int] = {}
    for at in order.tolist():
        turn[at] = last[int(labels[at])] = last.get(int(labels[at]), -1) + 1
    return np.sort(order[np.argsort(turn[order], kind="stable")][:most])


def _score_held_out(features: Floats, references: Floats) -> Floats:
    """The score of each training image against all references but itself and its copies; infinite without others."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(features), _ROWS):
        distances = _distances(features[start : start + _ROWS], references)
        distances[distances < _SAME] = np.inf
        parts.append(_nearest(distances))
    return np.concatenate(parts)


def _threshold(scores: Floats, rate: float) -> tuple[float, float]:
    """The threshold, and the rate it promises (split conformal prediction: Vovk et al. 2005, Lei et al. 2018)."""
    scores = np.sort(scores[np.isfinite(scores)])
    promised = max(rate, 1 / (len(scores) + 1))
    if promised > max(rate, _MOST_RAISED):
        return math.inf, 0.0
    below = max(1, math.ceil((len(scores) + 1) * (1 - promised) - 1e-9))
    return float(scores[below - 1]), promised


def _distances(features: Floats, references: Floats) -> Floats:
    """Euclidean distances `[n, m]` of features, scaled to length 1, from the references."""
    scaled = unit(features)
    squares = np.sum(scaled**2, axis=1)[:, None] + np.sum(references**2, axis=1)
    distances: Floats = np.sqrt(np.maximum(squares - 2 * (scaled @ references.T), 0))
    return distances


def _nearest(distances: Floats) -> Floats:
    """The mean `[n]` of each row's smallest distances; of few references one less, as each of them has fewer others."""
    count = max(1, min(_NEIGHBOURS, distances.shape[1] - 1))
    means: Floats = np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1)
    return means
