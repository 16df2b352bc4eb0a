"""Predict the accuracy with more images: a power law through the errors of heads fitted on fractions of the images.

The error with m images is f + (e - f) (m / m0)^-c (Cortes et al. 1993, Hestness et al. 2017). The level e is that of
the cross-validation, whose heads see m0 images. The exponent c and the limit f come from the ratios between the errors
with fractions of the images, in which the difficulty of these very images cancels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError
from tl.learning.head import normalized
from tl.learning.head_fit import HeadFit
from tl.learning.lda import covariances
from tl.learning.softmax_regression import SoftmaxRegression
from tl.linalg import OneThread
from tl.text import percent

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]
Member = tuple[str, float, Floats]  # its name, its weight in the head, and its features [n, width]

FACTORS = (2, 4)
"""How many times as many images accuracies are predicted for."""

ROUGH_BELOW = 200
"""Images: with fewer, a handful of errors decides what is predicted."""

_FRACTIONS = (0.125, 0.25, 0.5, 0.75)  # of the images of each class
_LEAST = 4  # different images a class: with fewer no two fractions differ
_MOST, _MOST_PER_CLASS = 5000, 8  # images to take fractions of; more take long and say little more
_IMAGES_OF_DRAWS = 8000  # images in all draws together, at most eight draws
_SAMPLES, _KEPT = 40_000, 4000  # of the prior and of the posterior
_PER_CLASS = 1000  # samples for each class
_MISMATCH = 0.1  # relative standard deviation between the error of these heads and that of the head itself
_LIMITS = (0.025, 0.5, 0.975)
_CLEAR = 0.8  # probability that a class gains more than the average class


@dataclass(frozen=True)
class Point:
    """Heads fitted on `images` images, which have `wrong` of the `tested` others wrong."""

    images: float
    wrong: int
    tested: int

    @property
    def error(self) -> float:
        """The fraction wrong, as if half an image more were wrong and half an image right."""
        return (self.wrong + 0.5) / (self.tested + 1)

    def as_dict(self) -> dict[str, Any]:
        """The form of metrics.json."""
        accuracy = round(1 - self.wrong / self.tested, 5)
        return {"images": round(self.images), "accuracy": accuracy, "tested": self.tested}


@dataclass(frozen=True)
class LearningCurve:
    """The accuracy by the number of images for a head fitted on `images` images.

    `points` are measured. `level`, `limit` and `exponent` `[samples]` are drawn from the posterior of e, f and c,
    `base` is m0. `recalls` `[classes, 2, samples]` are those of each class with these and with twice the images, NaN
    for a class of which no image was judged.
    """

    images: int
    points: tuple[Point, ...]
    level: Doubles
    limit: Doubles
    exponent: Doubles
    base: float
    recalls: Doubles

    def accuracy(self, images: float) -> tuple[float, float, float]:
        """The accuracy with `images` images: its median between the ends of its 95% interval."""
        errors = _power_law(images / self.base, self.level, self.limit, self.exponent)
        low, median, high = np.quantile(1 - errors, _LIMITS).round(5).tolist()
        return low, median, high

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The form of metrics.json: classes by what twice the images add to their recall, the most first.

        `gain_most` names at most five that very likely gain more than the average class. A class of which no image was
        judged is last, with nulls: what others gain says nothing about it.
        """
        sizes = np.geomspace(self.points[0].images, self.images * FACTORS[-1], 24).round().astype(int).tolist()
        gains = self.recalls[:, 1] - self.recalls[:, 0]
        order = np.argsort(-gains.mean(axis=1), kind="stable").tolist()
        clear = np.mean(gains > np.nanmean(gains, axis=0), axis=1) > _CLEAR
        known = np.isfinite(gains[:, 0])
        keys = ("recall", "recall_with_twice", "gain")
        means = np.column_stack([self.recalls.mean(axis=2), gains.mean(axis=1)]).round(5).tolist()
        intervals = np.quantile(gains, (_LIMITS[0], _LIMITS[-1]), axis=1).T.round(5).tolist()
        return {
            "images": self.images,
            "points": [point.as_dict() for point in self.points],
            "predictions": [{"factor": factor} | self._row(self.images * factor) for factor in FACTORS],
            "curve": [self._row(size) for size in sizes],
            "per_class": {
                class_names[at]: dict(zip(keys, means[at], strict=True)) | {"gain_interval": intervals[at]}
                if known[at]
                else dict.fromkeys((*keys, "gain_interval"))
                for at in order
            },
            "gain_most": [class_names[at] for at in order[:5] if clear[at]],
        }

    def _row(self, images: int) -> dict[str, Any]:
        low, median, high = self.accuracy(images)
        return {"images": images, "accuracy": median, "accuracy_interval": [low, high]}


def in_words(prediction: Mapping[str, Any]) -> str:
    """A prediction of `LearningCurve.as_dict`: about 96% (95% CI 94–97)."""
    low, high = map(float, prediction["accuracy_interval"])
    digits = 0 if high - low > 0.02 and high < 0.99 else 1
    bounds = "–".join(percent(end, digits).rstrip("%") for end in (low, high))
    return f"about {percent(float(prediction['accuracy']), digits)} (95% CI {bounds})"


def learning_curve(
    features: Floats,
    labels: Labels,
    fitted: HeadFit,
    *,
    fingerprints: Sequence[bytes],
    weight: float,
    imagenet: Floats | None = None,
    seed: int = 0,
) -> LearningCurve:
    """The learning curve of a head `fitted` to features `[n, features]` and labels `[n]`.

    Images with the same fingerprint are on one side of every draw. `weight` is how many independent images one image of
    the cross-validation counts as (`tl.evaluation.metrics.Metrics`). Raises DataError for fewer than four different
    images a class.
    """
    groups = np.unique(np.array(fingerprints), return_inverse=True)[1]
    if not fitted.folds or len(set(zip(labels.tolist(), groups.tolist(), strict=True))) < _LEAST * len(set(labels)):
        raise DataError(f"that takes {_LEAST} different images a class")
    random, classes = np.random.default_rng(seed), fitted.logits.shape[1]
    most = max(_MOST, _MOST_PER_CLASS * classes)
    some = np.flatnonzero(_positions(labels, groups, random) < most / len(labels))
    with OneThread(now=len(some) < 1000):
        points = _measure(features[some], labels[some], groups[some], fitted, imagenet, random)
    if not points:
        raise DataError("all images belong to a few groups")
    judged, wrong = fitted.judged, fitted.judged & (fitted.logits.argmax(axis=1) != labels)
    base = len(labels) * (1 - 1 / fitted.folds)
    held_out = Point(base, int(wrong.sum()), int(judged.sum()))
    posterior = _posterior(points, held_out, weight, random)
    errors = np.bincount(labels[wrong], minlength=classes), np.bincount(labels[judged], minlength=classes)
    times = len(labels) / base
    recalls = _class_recalls(held_out, errors, posterior, weight=weight, times=times, random=random)
    return LearningCurve(len(labels), tuple(points), *posterior, base=base, recalls=recalls)


def _positions(labels: Labels, groups: Labels, random: np.random.Generator) -> Doubles:
    """The place `[n]` of each image in a random order of the groups of its class, from 0 to 1, the same in a group."""
    count = groups.max() + 1
    pairs, inverse = np.unique(labels * count + random.permutation(count)[groups], return_inverse=True)
    per_class = np.bincount(pairs // count)
    ranks = np.arange(len(pairs)) - np.repeat(np.cumsum(per_class) - per_class, per_class)
    places = (ranks / per_class[pairs // count])[inverse]
    first = np.ones(count)
    np.minimum.at(first, groups, places)  # a group may have images of several classes
    return first[groups]


def _measure(
    features: Floats,
    labels: Labels,
    groups: Labels,
    fitted: HeadFit,
    imagenet: Floats | None,
    random: np.random.Generator,
) -> list[Point]:
    """The points of the fractions with two images a class or more, and of the largest in any case."""
    names = [name for name, weight in fitted.weights.items() if weight > 0]
    names = [name for name in names if name != "softmax"] or names  # which takes longest and changes least
    members = [
        (name, fitted.weights[name], normalized(features, imagenet) if name == "normalized" else features)
        for name in names
    ]
    classes, draws = fitted.logits.shape[1], max(1, min(8, _IMAGES_OF_DRAWS // len(labels)))
    tried: dict[float, list[tuple[int, int, int]]] = {fraction: [] for fraction in _FRACTIONS}
    for _ in range(draws):
        positions = _positions(labels, groups, random)
        for fraction in _FRACTIONS:
            train, test = np.flatnonzero(positions < fraction), np.flatnonzero(positions >= fraction)
            if len(test) and (len(train) >= 2 * classes or fraction == _FRACTIONS[-1]):
                predicted = _predict(members, labels, fitted, train=train, test=test)
                tried[fraction].append((len(train), int((predicted != labels[test]).sum()), len(test)))
    totals = [(len(each), *np.sum(each, axis=0).tolist()) for each in tried.values() if each]
    return [Point(images / draws, wrong, tested) for draws, images, wrong, tested in totals]


def _predict(members: Sequence[Member], labels: Labels, fitted: HeadFit, *, train: Labels, test: Labels) -> Labels:
    """The classes `[m]` of images `test` `[m]` by a head like the fitted one, fitted on images `train` alone."""
    own, classes = labels[train], fitted.logits.shape[1]
    logits = np.zeros((len(test), classes), np.float32)
    for name, weight, rows in members:
        some = rows[train]
        if name == "softmax":
            [(kernel, bias)] = SoftmaxRegression(some, own, classes, 30).path((fitted.l2 or 1.0,), 1e-3)
        else:
            folds = np.full(len(train), -1)
            [(_, covariance)] = covariances(some.__getitem__, some.shape[1], own, classes, folds)
            kernel, bias = covariance.weights(_shrinkage(len(train), classes, fitted.shrinkage))
        scores = rows[test] @ kernel + bias
        scores -= scores.mean(axis=1, keepdims=True)
        logits += scores * np.float32(weight / max(float(scores.std()), 1e-12))
    logits[:, np.bincount(own, minlength=classes) == 0] = -np.inf
    predicted: Labels = logits.argmax(axis=1)
    return predicted


def _shrinkage(images: int, classes: int, chosen: float | None) -> float:
    """What suits a number of images, at least what was `chosen` for all of them."""
    if images - classes < 6:
        return 1.0
    return max(chosen or 0.0, 0.8 if images < 10 * classes else 0.5 if images < 50 * classes else 0.35)


def _power_law(times: float, level: Doubles, limit: Doubles, exponent: Doubles) -> Doubles:
    """The error with so many times the images for which `level` is the error."""
    errors: Doubles = np.clip(limit + (level - limit) * times**-exponent, 1e-9, 1)
    return errors


def _posterior(
    points: Sequence[Point], held_out: Point, weight: float, random: np.random.Generator
) -> tuple[Doubles, Doubles, Doubles]:
    """Samples `[kept]` of level, limit and exponent: of the prior, weighted by the ratios between errors.

    The logarithm of a ratio is normal with the variance of counts, which are of no more errors than there are.
    """
    effective, wrong = weight * held_out.tested, weight * held_out.wrong
    level = random.beta(wrong + 0.5, effective - wrong + 0.5, _SAMPLES)  # Jeffreys' prior
    exponent = random.gamma(4, 0.12, _SAMPLES)  # nearly always between 0.15 and 1
    limit = level * random.beta(1, 2, _SAMPLES)  # a third of the error on average

    def gap(point: Point) -> Doubles:
        """How far the measured error is above the curve, in logarithms."""
        curve = _power_law(point.images / held_out.images, level, limit, exponent)
        gaps: Doubles = np.log(point.error) - np.log(curve)
        return gaps

    def variance(point: Point) -> float:
        return 1 / (point.error * min(point.tested, held_out.tested) + 0.5)

    *smaller, largest = points
    logs, reference = np.zeros(_SAMPLES), gap(largest)
    for point in (*smaller, held_out):
        mismatch = _MISMATCH**2 if point is held_out else 0.0
        logs -= 0.5 * (gap(point) - reference) ** 2 / (variance(point) + variance(largest) + mismatch)
    weights = np.exp(logs - logs.max())
    kept = random.choice(_SAMPLES, _KEPT, p=weights / weights.sum())
    return level[kept], limit[kept], exponent[kept]


def _class_recalls(
    held_out: Point,
    errors: tuple[Labels, Labels],
    posterior: tuple[Doubles, Doubles, Doubles],
    *,
    weight: float,
    times: float,
    random: np.random.Generator,
) -> Doubles:
    """Samples `[classes, 2, samples]` of recalls with `times` the images of the cross-validation and with twice those.

    `errors` are the wrong and the tested images `[classes]` of the cross-validation. All classes follow the curve of
    all, each from its own level and with an exponent of its own: measured by class, the curves of a class are noise.
    """
    wrong, tested = (weight * count[:, None] for count in errors)
    size, some = (len(wrong), _PER_CLASS), random.integers(0, _KEPT, _PER_CLASS)
    level, limit, exponent = (samples[some] for samples in posterior)
    levels = random.beta(wrong + 2 * held_out.error, tested - wrong + 2 * (1 - held_out.error), size)
    exponents = exponent * random.lognormal(0, 0.5, size)
    both = [_power_law(each, levels, levels * limit / level, exponents) for each in (times, 2 * times)]
    recalls: Doubles = np.where(tested[:, :, None] > 0, 1 - np.stack(both, axis=1), np.nan)
    return recalls
