"""Recognise images unlike the training images, by the distance of their features and by the doubt of the head.

The distance is the mean of those to the five nearest training images, between feature vectors scaled to length 1
(nearest neighbours: Sun et al. 2022; their mean: Angiulli and Pizzuti 2002). It separates images of another kind
altogether, at full size as well as shrunk to 32 pixels, where the Mahalanobis distance does not. What is near the
training images and still of no class the head doubts more often: its largest probability (Hendrycks and Gimpel 2017)
is small. The score is u|u| + v: u the distance and v the doubt, both standardised; the square lets a large distance
decide alone. bench/unknown.py compares it with other scores.

The threshold is one of the scores of training images, each scored as a new one would be: against the others, with
probabilities of heads fitted without it. New images of their kind exceed the r-th largest of n scores at a rate that is
distributed as Beta(r, n + 1 - r) (Wilks 1941); the threshold is the smallest score for which that is at most the
promised rate with 90% confidence.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError
from tl.linalg import unit
from tl.text import percent

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

_NEIGHBOURS = 5  # three to eight do equally well
_REFERENCES = 512  # 4 MB of ResNet50's features; as good as thousands for images of another kind altogether
_PER_CLASS = 2  # at least, with very many classes
_SCORED = 5000  # training images for the threshold: about forty beyond it at a rate of 1%
_SAME = 2e-3  # float32 cannot distinguish closer vectors: the image itself, or its copy
_ROWS = 2048  # images scored at a time: 20 MB
_MOST_RAISED = 0.05  # few images raise a lower rate to at most this one; beyond it the check is off
_CONFIDENCE = 0.9  # that the rate is kept
_LEAST_DOUBT = 0.15  # of a deviation: where the head is sure of all training images, a little doubt says little
_MOST_DOUBT = 2.0  # deviations, lest it outweigh the distance


@dataclass(frozen=True)
class Unknown:
    """The unknown check: `references` float32 `[m, features]` of length 1 are training images to compare with.

    Scores above `threshold` are unknown (infinite: none is); `rate` is the false-alarm rate it promises (0: off).
    `scales` has median and deviation of distance and doubt, `[2, 2]`; without it, as in old runs, the distance is the
    score and the rate a mean over training sets (split conformal prediction: Lei et al. 2018).
    """

    references: Floats
    threshold: float
    rate: float
    scales: NDArray[np.float64] | None = None

    @property
    def sentence(self) -> str:
        """The false-alarm rate, in words."""
        if not self.rate:
            return f"off: too few training images for a false-alarm rate of {percent(_MOST_RAISED, 0)}"
        sure = "on average" if self.scales is None else f"with {percent(_CONFIDENCE, 0)} confidence"
        return f"{sure} at most {100 * self.rate:.2g}% of images like the training images are called unknown"

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output; an infinite threshold is null."""
        threshold = self.threshold if math.isfinite(self.threshold) else None
        return {"rate": self.rate, "threshold": threshold, "sentence": self.sentence}

    def score(self, features: Floats, probabilities: Floats) -> Floats:
        """The score `[n]` of features `[n, features]` and the head's calibrated probabilities `[n, classes]`."""
        return _score(distances_to(self.references, features), probabilities, self.scales)

    def is_unknown(self, features: Floats, probabilities: Floats) -> Mask:
        """Whether each of features `[n, features]` is unlike the training images `[n]`; arguments as of `score`."""
        unknown: Mask = ~(self.score(features, probabilities) <= self.threshold)  # NaN is unknown, too
        return unknown

    def is_unknown_held_out(self, features: Floats, probabilities: Floats) -> Mask:
        """Whether each training image would be unknown `[n]` if it were not one; probabilities of heads without it."""
        distances = distances_to(self.references, features, held_out=True)
        unknown: Mask = ~(_score(distances, probabilities, self.scales) <= self.threshold)
        return unknown if self.rate else np.zeros(len(features), np.bool_)


def fit_unknown(
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    probabilities: Floats,
    held_out: Floats | None = None,
    rate: float = 0.01,
    seed: int = 0,
) -> Unknown:
    """Fit the check to training features `[n, features]` and labels `[n]` in `range(classes)`.

    `probabilities` `[n, classes]` are calibrated and of heads fitted without the image, NaN where there are none. Of a
    trained network, whose training images are nearer to each other than new ones, `held_out` `[m, features]` are those
    of images it was not trained on, and `probabilities` `[m, classes]` theirs.

    With 90% confidence at most `rate` of new images of the same kind are called unknown. n images can promise
    1 - 0.1^(1/n) at best: fewer than a rate needs raise it to that or, beyond 1 in 20, turn the check off. Raises
    UsageError for a rate that is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--unknown-rate {rate:g}: give a false-alarm rate between 0 and 1, such as 0.01")
    order = np.random.default_rng(seed).permutation(len(features))
    references = unit(features[_choose_evenly(labels, order, most_references(classes))])
    if held_out is None:
        scored = np.sort(order[:_SCORED])
        distances, probabilities = distances_to(references, features[scored], held_out=True), probabilities[scored]
    else:
        distances = distances_to(references, held_out)
    doubt = 1 - probabilities.max(axis=1).astype(np.float64)
    usable = np.isfinite(distances) & np.isfinite(doubt)
    if not usable.any():
        return Unknown(references, math.inf, 0.0, np.array([[0.0, 1.0], [0.0, 1.0]]))
    distances, doubt, probabilities = distances[usable], doubt[usable], probabilities[usable]
    scales = np.array([_median_and_deviation(distances, 1e-6), _median_and_deviation(doubt, _LEAST_DOUBT)])
    threshold, promised = _threshold(_score(distances, probabilities, scales), rate)
    return Unknown(references, threshold, promised, scales)


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


def distances_to(references: Floats, features: Floats, *, held_out: bool = False) -> Floats:
    """The mean distance `[n]` of features `[n, features]` to the nearest references `[m, features]`: 0 to 2.

    `held_out`: features that may be references are compared with all but themselves and their copies; infinite
    without others.
    """
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(features), _ROWS):
        distances = _distances(features[start : start + _ROWS], references)
        if held_out:
            distances[distances < _SAME] = np.inf
        parts.append(_nearest(distances))
    return np.concatenate(parts)


def _score(distances: Floats, probabilities: Floats, scales: NDArray[np.float64] | None) -> Floats:
    if scales is None:
        return distances
    (middle, deviation), (usual, spread) = scales.tolist()
    far = (distances - middle) / deviation
    doubt = (1 - probabilities.max(axis=1) - usual) / spread
    score: Floats = (far * np.abs(far) + np.minimum(doubt, _MOST_DOUBT)).astype(np.float32)
    return score


def _median_and_deviation(values: NDArray[np.floating[Any]], least: float) -> tuple[float, float]:
    """The median, and half of what lies between the quantiles that are a standard deviation from it, if normal."""
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
    return float(middle), max(float(high - low) / 2, least)


def _threshold(scores: Floats, rate: float) -> tuple[float, float]:
    """The threshold, and the rate it promises."""
    from scipy.special import betainc

    scores = np.sort(scores)[::-1]
    ranks = np.arange(1, int(rate * len(scores)) + 1)
    enough = ranks[betainc(ranks, len(scores) + 1 - ranks, rate) >= _CONFIDENCE]
    if len(enough):
        return float(scores[enough[-1] - 1]), rate
    promised = 1 - (1 - _CONFIDENCE) ** (1 / len(scores))
    return (float(scores[0]), promised) if promised <= max(rate, _MOST_RAISED) else (math.inf, 0.0)


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
