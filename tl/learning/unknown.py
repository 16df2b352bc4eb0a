"""Recognise images unlike the training images, by the distance of their features and by the doubt about their class.

The distance is the mean of those to the five nearest training images, between feature vectors scaled to length 1
(nearest neighbours: Sun et al. 2022; their mean: Angiulli and Pizzuti 2002). It separates images of another kind
altogether, at full size as well as shrunk to 32 pixels, where the Mahalanobis distance does not. What is near the
training images and still of no class shows by doubt: the entropy of the head's probabilities, and how far the
backbone's own ImageNet probabilities are from the mean ones of the nearest class (Kullback-Leibler divergence, after
Hendrycks et al. 2022). All three are standardised. Usual distances count nothing and large ones by their square, so
that they decide alone; doubt counts less where there are few classes, between which it mostly is. bench/unknown.py
compares the score with others.

The threshold is one of the scores of training images, each scored as a new one would be: against the others, with
probabilities of heads fitted without it. New images of their kind exceed the r-th largest of n scores at a rate that is
distributed as Beta(r, n + 1 - r) (Wilks 1941); the threshold is the smallest score for which that is at most the
promised rate with 90% confidence.
"""

import math
from collections.abc import Iterator, Sequence
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
_LEAST_DEVIATION = 0.15  # of doubt: where the head is sure of all training images, a little doubt says little
_MOST_DOUBT = 3.0  # deviations, lest it outweigh the distance
_USUAL = 0.75  # deviations of the distance that say nothing: 1 is better for near images, 0.5 for far ones
_SHARPNESS = 2.0  # deviation of ImageNet logits: 1.5 and 2.5 do as well
_FLOOR = 1e-3  # added to mean ImageNet probabilities, which are of few images


@dataclass(frozen=True)
class Unknown:
    """The unknown check: `references` float32 `[m, features]` of length 1 are training images to compare with.

    Scores above `threshold` are unknown (infinite: none is); `rate` is the false-alarm rate it promises (0: off).
    `scales` has median and deviation of distance, entropy and divergence, `[3, 2]`; `[2, 2]` without `profiles`, the
    mean ImageNet probabilities `[classes, 1000]` of each class by the kernel `imagenet` `[features, 1000]`. Without
    scales, as in old runs, the distance is the score and the rate a mean over training sets (split conformal
    prediction: Lei et al. 2018).
    """

    references: Floats
    threshold: float
    rate: float
    scales: NDArray[np.float64] | None = None
    profiles: Floats | None = None
    imagenet: Floats | None = None

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
        return self._score(distances_to(self.references, features), features, probabilities)

    def is_unknown(self, features: Floats, probabilities: Floats) -> Mask:
        """Whether each of features `[n, features]` is unlike the training images `[n]`; arguments as of `score`."""
        unknown: Mask = ~(self.score(features, probabilities) <= self.threshold)  # NaN is unknown, too
        return unknown

    def is_unknown_held_out(self, features: Floats, probabilities: Floats) -> Mask:
        """Whether each training image would be unknown `[n]` if it were not one; probabilities of heads without it."""
        distances = distances_to(self.references, features, held_out=True)
        unknown: Mask = ~(self._score(distances, features, probabilities) <= self.threshold)
        return unknown if self.rate else np.zeros(len(features), np.bool_)

    def _score(self, distances: Floats, features: Floats, probabilities: Floats) -> Floats:
        if self.scales is None:
            return distances
        signs = [distances, _entropy(probabilities)]
        if self.profiles is not None and self.imagenet is not None:
            signs.append(
                np.concatenate([_divergence(rows, self.profiles) for rows in _blocks(features, self.imagenet)])
            )
        return _score(signs, self.scales, probabilities.shape[1])


def fit_unknown(
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    probabilities: Floats,
    held_out: Floats | None = None,
    imagenet: Floats | None = None,
    rate: float = 0.01,
    seed: int = 0,
) -> Unknown:
    """Fit the check to training features `[n, features]` and labels `[n]` in `range(classes)`.

    `probabilities` `[n, classes]` are calibrated and of heads fitted without the image, NaN where there are none. Of a
    trained network, whose training images are nearer to each other than new ones, `held_out` `[m, features]` are those
    of images it was not trained on, and `probabilities` `[m, classes]` theirs. `imagenet` `[features, 1000]` is the
    kernel of the backbone's ImageNet classifier; a trained network has none.

    With 90% confidence at most `rate` of new images of the same kind are called unknown. n images can promise
    1 - 0.1^(1/n) at best: fewer than a rate needs raise it to that or, beyond 1 in 20, turn the check off. Raises
    UsageError for a rate that is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--unknown-rate {rate:g}: give a false-alarm rate between 0 and 1, such as 0.01")
    order = np.random.default_rng(seed).permutation(len(features))
    references = unit(features[_choose_evenly(labels, order, most_references(classes))])
    profiles = None
    if held_out is None:
        scored = np.sort(order[:_SCORED])
        probabilities = probabilities[scored]
        signs = [distances_to(references, features[scored], held_out=True), _entropy(probabilities)]
        if imagenet is not None:
            profiles, divergence = _profiles(features, labels, classes, imagenet=imagenet, scored=scored)
            signs.append(divergence)
    else:
        signs = [distances_to(references, held_out), _entropy(probabilities)]
    usable = np.all([np.isfinite(sign) for sign in signs], axis=0)
    signs = [sign[usable] for sign in signs]
    if not usable.any():
        off = np.array([[0.0, 1.0]] * len(signs))
        return Unknown(references, math.inf, 0.0, off, profiles, imagenet)
    least = [1e-6, _LEAST_DEVIATION, _LEAST_DEVIATION]
    scales = np.array([_median_and_deviation(*sign) for sign in zip(signs, least, strict=False)])
    threshold, promised = _threshold(_score(signs, scales, classes), rate)
    return Unknown(references, threshold, promised, scales, profiles, imagenet)


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


def _score(signs: Sequence[Floats], scales: NDArray[np.float64], classes: int) -> Floats:
    """The score `[n]` of distance, entropy and, where there is one, divergence."""
    far, *doubts = (
        (sign - middle) / deviation for sign, (middle, deviation) in zip(signs, scales.tolist(), strict=True)
    )
    doubt = doubts[0] if len(doubts) == 1 else doubts[0] + 0.5 * doubts[1]
    weight = 0.75 * max(0.0, 1 - 1.5 / classes)
    distance = np.sign(far) * np.maximum(np.abs(far) - _USUAL, 0) ** 2
    score: Floats = (distance + weight * np.minimum(doubt, _MOST_DOUBT)).astype(np.float32)
    return score


def _entropy(probabilities: Floats) -> Floats:
    entropy: Floats = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-12)), axis=1)
    return entropy


def _blocks(features: Floats, imagenet: Floats) -> Iterator[Floats]:
    """ImageNet probabilities `[n, 1000]` of features, some rows at a time, of logits with the same deviation."""
    for start in range(0, max(1, len(features)), _ROWS):
        logits = features[start : start + _ROWS] @ imagenet
        logits -= logits.max(axis=1, keepdims=True)
        deviation = np.maximum(logits.std(axis=1, keepdims=True), 1e-6)
        powers = np.exp(np.float32(_SHARPNESS) * logits / deviation)
        yield powers / powers.sum(axis=1, keepdims=True)


def _divergence(probabilities: Floats, profiles: Floats) -> Floats:
    """Kullback-Leibler divergence `[n]` of probabilities `[n, 1000]` from the nearest profile."""
    agreement = probabilities @ np.log(profiles + np.float32(_FLOOR)).T
    divergence: Floats = -_entropy(probabilities) - agreement.max(axis=1)
    return divergence


def _profiles(
    features: Floats, labels: Labels, classes: int, *, imagenet: Floats, scored: Labels
) -> tuple[Floats, Floats]:
    """The profiles `[classes, 1000]`, and the divergence of the images `scored` from those of the other images."""
    sums, counts = np.zeros((classes, imagenet.shape[1]), np.float32), np.bincount(labels, minlength=classes)
    for number, rows in enumerate(_blocks(features, imagenet)):
        np.add.at(sums, labels[number * _ROWS :][: len(rows)], rows)
    profiles: Floats = sums / np.maximum(counts, 1).astype(np.float32)[:, None]
    logs, parts = np.log(profiles + np.float32(_FLOOR)), [np.zeros(0, np.float32)]
    for number, rows in enumerate(_blocks(features[scored], imagenet)):
        own = labels[scored[number * _ROWS :][: len(rows)]]
        others = (sums[own] - rows) / np.maximum(counts[own] - 1, 1)[:, None]
        agreement = rows @ logs.T
        agreement[np.arange(len(rows)), own] = np.sum(rows * np.log(np.maximum(others, 0) + _FLOOR), axis=1)
        parts.append(-_entropy(rows) - agreement.max(axis=1))
    return profiles, np.concatenate(parts)


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
