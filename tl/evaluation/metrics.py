"""Compute metrics of predictions with confidence intervals, confusion matrices, and tests between classifiers.

Proportions have Wilson intervals, and balanced accuracy, their mean over classes, one that combines those. All other
metrics have bootstrap intervals: the images are resampled 1000 times. Each of those metrics is a function of sums over
images, in which an image counts as often as it was sampled. Images of a group are not independent of each other: whole
groups are resampled, and an image counts the less in a proportion, the more alike the answers within groups are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError
from tl.learning.calibration import BINS, Reliability, bins_of, reliability

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95% interval."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_TAIL = 0.025
_RESAMPLES = 1000
_AT_ONCE = 1 << 17  # images sampled in one step: counts of 1 MB stay in the processor's cache
_SMALLEST = float(np.finfo(np.float64).eps)  # smaller probabilities are clipped to this, as in scikit-learn


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Proportion(Estimate):
    """A fraction `value` of `count` images, with its 95% Wilson interval."""

    count: int


def proportion(hits: int, count: int, *, weight: float = 1.0) -> Proportion:
    """`hits` of `count`, with the 95% score interval (Wilson 1927), which is valid for few images and near 0 and 1.

    Each image counts as `weight` independent ones in the interval.
    """
    if count == 0:
        return Proportion(math.nan, 0.0, 1.0, 0)
    share, z2, size = hits / count, Z95**2, count * weight
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    reach = Z95 / (1 + z2 / size) * math.sqrt(share * (1 - share) / size + z2 / (4 * size**2))
    return Proportion(share, min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach)), count)


def fold_weight(folds: int) -> float:
    """How many independent images one image of a cross-validation with k folds counts as: 1 / (1 + k / (k - 1)).

    The heads of the folds share training images, so that their errors are not independent; the corrected variance of
    Nadeau and Bengio (2003) adds test to training images, 1 / (k - 1), to 1 / k. 95% intervals of this width cover the
    accuracy of the head fitted on all images in 94 to 99% of draws, Wilson's own in 71 to 96% (bench/few.py). 0 folds
    are images held out: each counts as one.
    """
    return 1.0 if folds < 2 else 1 / (1 + folds / (folds - 1))


def alike_in_groups(correct: NDArray[np.bool_], groups: Labels) -> float:
    """How alike the answers within groups are: their intraclass correlation, from 0 to 1; `groups` `[n]` are numbers.

    The estimate is that of the analysis of variance (Fleiss 1981), with one more group whose answers are all the same:
    without an error nothing is known, and groups count, not images. Intervals with it cover in 93 to 100% of cases from
    8 groups on, whatever the correlation (bench/few.py groups).
    """
    sizes = np.bincount(groups).astype(np.float64)
    hits = np.bincount(groups[correct], minlength=len(sizes))[sizes > 0]
    sizes = sizes[sizes > 0]
    count, number, share = sizes.sum(), len(sizes), hits.sum() / sizes.sum()
    known = min(int((hits > 0).sum()), int((hits < sizes).sum()))
    if not known or number < 2:
        return 1.0
    between = np.sum(sizes * (hits / sizes - share) ** 2) / (number - 1)
    within = np.sum(hits * (1 - hits / sizes)) / max(count - number, 1)
    typical = (count - np.sum(sizes**2) / count) / (number - 1)
    estimate = float((between - within) / max(between + (typical - 1) * within, 1e-12))
    return (known * min(max(estimate, 0.0), 1.0) + 1) / (known + 1)


def group_weights(groups: Labels, classes: Labels, number: int, alike: float) -> Floats:
    """How many independent images one image of each class `[number]` counts as (design effect: Kish 1965).

    `groups` `[n]` and `classes` `[n]` are those of the images, `alike` is as of `alike_in_groups`.
    """
    pairs, sizes = np.unique(classes * (groups.max() + 1) + groups, return_counts=True)
    owner = pairs // (groups.max() + 1)
    images, squares = (np.bincount(owner, weights=some, minlength=number) for some in (sizes, sizes**2))
    weights: Floats = 1 / (1 + (squares / np.maximum(images, 1) - 1).clip(0) * alike)
    return weights


def mean_proportion(hits: Labels, counts: Labels, *, weight: float | Floats = 1.0) -> Estimate:
    """The mean over classes of `hits` of `counts`, without classes that have no images, with its 95% interval.

    `weight` is that of `proportion`, for all classes or for each.

    Each class's distances to the ends of its Wilson interval stand for its variance (MOVER: Zou and Donner 2008), so
    that two correct images of a rare class promise no more than two images can. Wilson's ends are shifted towards 1/2,
    which does not cancel over many classes of few images: with 100 classes of two images, 60% of them correct, that
    alone covers in 82 of 100 cases. So no distance is shorter than the normal one at the interval's centre, nor the
    whole longer than with all classes at their ends at once: this covers in 94, and with two classes, one of them of
    two images, in 90 or more.
    """
    filled = counts > 0
    weights = np.broadcast_to(np.asarray(weight, np.float64), counts.shape)[filled]
    rows = zip(hits[filled].tolist(), counts[filled].tolist(), weights.tolist(), strict=True)
    ends = [proportion(hit, count, weight=each) for hit, count, each in rows]
    fractions, low, high = np.array([(one.value, one.low, one.high) for one in ends]).T
    sizes = counts[filled] * weights
    centres = (hits[filled] * weights + Z95**2 / 2) / (sizes + Z95**2)
    normal = Z95 * np.sqrt(centres * (1 - centres) / sizes)

    def reach(distances: Floats) -> float:
        combined = np.sqrt(np.sum(np.maximum(distances, normal) ** 2))
        return float(min(combined, distances.sum())) / len(distances)

    mean = float(fractions.mean())
    return Estimate(mean, max(0.0, mean - reach(fractions - low)), min(1.0, mean + reach(high - fractions)))


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class with `support` images: precision, recall, and their harmonic mean F1.

    NaN where no image has, or is predicted as, the class.
    """

    support: int
    precision: Proportion
    recall: Proportion
    f1: Estimate

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output; null where there is no value."""
        plain: dict[str, object] = {"support": self.support}
        for name in ("precision", "recall", "f1"):
            metric: Estimate = getattr(self, name)
            plain[name] = None if math.isnan(metric.value) else metric.value
            plain[f"{name}_interval"] = [metric.low, metric.high]
        return plain


@dataclass(frozen=True)
class Metrics:
    """Metrics of a classifier on `count` images; `top5` only with more than five classes.

    With `folds` they are of a cross-validation: each image was predicted by a head fitted without its fold. The images
    are of `groups` groups (0: each stands alone), for which one counts as `group_weight` independent ones.
    `log_loss` in nats; `brier` is summed over classes, 0 to 2 (Brier 1950); `calibration_error` is that of
    `reliability`. `balanced_accuracy` is the mean recall of classes with images, `macro_f1` the mean F1 of classes with
    images or predictions.
    """

    top1: Proportion
    top5: Proportion | None
    log_loss: float
    count: int
    log_loss_interval: tuple[float, float]
    brier: Estimate
    calibration_error: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    per_class: tuple[ClassMetrics, ...]
    reliability: Reliability
    folds: int = 0
    groups: int = 0
    group_weight: float = 1.0

    @property
    def weight(self) -> float:
        """How many independent images one counts as in intervals."""
        return self.group_weight * fold_weight(self.folds)

    @property
    def class_photos(self) -> tuple[int, int]:
        """The number of images of the smallest and of the largest class, without empty ones."""
        support = [one.support for one in self.per_class if one.support]
        return min(support), max(support)

    def as_dict(self) -> dict[str, object]:
        """The form of metrics.json."""
        plain: dict[str, object] = {}
        for name in ("top1", "top5", "log_loss", "brier", "calibration_error", "balanced_accuracy", "macro_f1"):
            value = getattr(self, name)
            if name == "log_loss":
                plain |= {name: value, "log_loss_interval": list(self.log_loss_interval), "count": self.count}
            elif value is not None:
                plain |= {name: value.value, f"{name}_interval": [value.low, value.high]}
        plain |= {"class_photos": list(self.class_photos)}
        plain |= {"folds": self.folds} if self.folds else {}
        return plain | ({"groups": {"count": self.groups, "weight": self.group_weight}} if self.groups else {})

    def details(self, class_names: Sequence[str]) -> dict[str, object]:
        """The metrics of each class by its name, and the reliability diagram."""
        per_class = {name: one.as_dict() for name, one in zip(class_names, self.per_class, strict=True)}
        return {"per_class": per_class, "reliability": self.reliability.as_dict()}


def compute_metrics(
    probabilities: NDArray[np.float32], labels: Labels, *, seed: int = 0, folds: int = 0, groups: Labels | None = None
) -> Metrics:
    """Metrics of probabilities `[n, classes]` and labels `[n]`; `seed` is the bootstrap's.

    `folds` is the number of folds of a cross-validation that they come from, 0 for none; `groups` `[n]` numbers the
    groups that the images are of. Raises DataError without images.
    """
    count, classes = probabilities.shape
    if not count:
        raise DataError("no images to evaluate: give a data set or a part that has some")
    ranks, predicted = _ranks(probabilities, labels), probabilities.argmax(axis=1)
    bounds = [math.inf, 2.0, *[1.0] * (2 + classes)]
    units = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    estimates = _bootstrap(probabilities, labels, predicted, units, seed=seed)
    log_loss, brier, error, macro, *f1 = (
        _stretch(each, fold_weight(folds), most) for each, most in zip(estimates, bounds, strict=True)
    )
    alike = 0.0 if groups is None else alike_in_groups(labels == predicted, units)
    [of_all] = group_weights(units, np.zeros_like(labels), 1, alike)
    weight = fold_weight(folds) * float(of_all)
    of_label, of_predicted = (
        fold_weight(folds) * group_weights(units, each, classes, alike) for each in (labels, predicted)
    )
    hits, support, predictions = (
        np.bincount(some, minlength=classes) for some in (labels[labels == predicted], labels, predicted)
    )
    balanced = mean_proportion(hits, support, weight=of_label)
    return Metrics(
        top1=proportion(int(np.sum(ranks < 1)), count, weight=weight),
        top5=proportion(int(np.sum(ranks < 5)), count, weight=weight) if classes > 5 else None,
        log_loss=log_loss.value,
        count=count,
        log_loss_interval=(log_loss.low, log_loss.high),
        brier=brier,
        calibration_error=_basic_interval(error),
        balanced_accuracy=balanced,
        macro_f1=balanced if macro.value in (0.0, 1.0) else macro,  # at the ends all resamples are equal
        per_class=tuple(map(_class_metrics, np.column_stack([hits, support, predictions]), f1, of_label, of_predicted)),
        reliability=reliability(probabilities, labels),
        folds=folds,
        groups=0 if groups is None else int(units.max()) + 1,
        group_weight=float(of_all),
    )


def _class_metrics(counts: Labels, f1: Estimate, of_label: float, of_predicted: float) -> ClassMetrics:
    """The metrics of a class from its hits, labels and predictions, whose images count as `of_label` and so on."""
    hits, support, predictions = counts.tolist()
    return ClassMetrics(
        support=support,
        precision=proportion(hits, predictions, weight=of_predicted),
        recall=proportion(hits, support, weight=of_label),
        f1=_widen(f1, max(support, predictions), of_label),
    )


def _ranks(probabilities: NDArray[np.float32], labels: Labels) -> Labels:
    """The number of classes ahead of the true one `[n]`; of equal ones the first is ahead, as for argmax."""
    of_label = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    ranks: Labels = np.sum((probabilities > of_label) | ((probabilities == of_label) & earlier), axis=1, dtype=np.int64)
    return ranks


def _bootstrap(
    probabilities: NDArray[np.float32], labels: Labels, predicted: Labels, units: Labels, *, seed: int
) -> list[Estimate]:
    """Log-loss, Brier score, calibration error, macro F1, and the F1 of each class, with percentile intervals.

    What is resampled are `units`: images with the same number `[n]` are taken together.
    """
    count, classes, number = *probabilities.shape, int(units.max()) + 1
    summands = _summands(probabilities, labels, predicted)
    values = _metrics_of(summands @ np.ones((count, 1)), classes)[:, 0]
    random = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // count)
    resampled = [
        _metrics_of(summands @ _resample(random, number, min(step, _RESAMPLES - done))[units], classes)
        for done in range(0, _RESAMPLES, step)
    ]
    ordered = np.sort(np.concatenate(resampled, axis=1), axis=1)  # NaN last: resamples without any image of a class
    last = np.maximum(np.sum(~np.isnan(ordered), axis=1) - 1, 0)
    rows = np.arange(len(ordered))
    low, high = ordered[rows, (_TAIL * last).astype(int)], ordered[rows, np.ceil((1 - _TAIL) * last).astype(int)]
    return [Estimate(float(a), float(b), float(c)) for a, b, c in zip(values, low, high, strict=True)]


def _summands(probabilities: NDArray[np.float32], labels: Labels, predicted: Labels) -> Any:
    """What each image adds to each sum, a sparse matrix `[2 + bins + 3 classes, n]`.

    The sums are log-loss, Brier score, the gaps in the reliability bins, and hits, labels and predictions by class.
    """
    from scipy.sparse import csr_array

    count, classes = probabilities.shape
    exact = probabilities.astype(np.float64)
    of_label, confidence, hit = exact[np.arange(count), labels], exact.max(axis=1), predicted == labels
    surprise = -np.log(np.maximum(of_label, _SMALLEST))
    brier = np.einsum("ij,ij->i", exact, exact) - 2 * of_label + 1
    zeros, ones, by_class = np.zeros(count, np.int64), np.ones(count), 2 + BINS
    values = [surprise, brier, confidence - hit, hit.astype(np.float64), ones, ones]
    rows = [zeros, zeros + 1, 2 + bins_of(confidence), by_class + labels, by_class + classes + labels]
    rows.append(by_class + 2 * classes + predicted)
    cells = np.concatenate(rows), np.tile(np.arange(count), len(rows))
    return csr_array((np.concatenate(values), cells), shape=(by_class + 3 * classes, count))


def _resample(random: np.random.Generator, count: int, resamples: int) -> Floats:
    """How often each of `count` units is sampled `[count, resamples]`."""
    taken = random.integers(0, count, (resamples, count), dtype=np.int32)
    taken += np.arange(resamples, dtype=np.int32)[:, None] * count
    return np.bincount(taken.ravel(), minlength=count * resamples).reshape(resamples, count).T.astype(np.float64)


def _metrics_of(sums: Floats, classes: int) -> Floats:
    """The metrics `[4 + classes, resamples]` of sums `[2 + bins + 3 classes, resamples]`; NaN without images."""
    hits, labels, predictions = sums[2 + BINS :].reshape(3, classes, -1)
    means = sums[: 2 + BINS] / labels.sum(axis=0)
    both = labels + predictions
    f1 = np.divide(2 * hits, both, out=np.full(hits.shape, np.nan), where=both > 0)
    present = ~np.isnan(f1)
    macro = f1.sum(axis=0, where=present) / present.sum(axis=0)
    return np.vstack([means[:2], np.abs(means[2:]).sum(axis=0), macro, f1])


def _basic_interval(error: Estimate) -> Estimate:
    """The calibration error with its basic bootstrap interval (Davison and Hinkley 1997, 5.2.1).

    Noise in the bins adds to this metric, and again in each resample, so that percentiles are too high: for a well
    calibrated network they miss the true error nearly always, this interval in 5 to 27% of cases.
    """
    low, high = 2 * error.value - error.high, 2 * error.value - error.low
    return Estimate(error.value, max(0.0, low), max(error.value, high))


def _stretch(estimate: Estimate, weight: float, most: float) -> Estimate:
    """A bootstrap interval as wide as images that count as `weight` independent ones make it, between 0 and `most`."""
    if weight == 1 or math.isnan(estimate.value):
        return estimate
    value, factor = estimate.value, 1 / math.sqrt(weight)
    low, high = value - (value - estimate.low) * factor, value + (estimate.high - value) * factor
    return Estimate(value, max(0.0, low), min(most, high))


def _widen(estimate: Estimate, count: int, weight: float) -> Estimate:
    """With all images correct, or none, all resamples are equal: use Wilson's interval there."""
    if math.isnan(estimate.value):
        return Estimate(math.nan, 0.0, 1.0)
    if estimate.value in (0.0, 1.0):
        wilson = proportion(round(estimate.value * count), count, weight=weight)
        return Estimate(estimate.value, wilson.low, wilson.high)
    return estimate


@dataclass(frozen=True)
class ConfusedClasses:
    """`count` images of class `truth` were predicted as `predicted`: a `fraction` of all images of that class."""

    truth: int
    predicted: int
    count: int
    fraction: float


def confusion(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """The confusion matrix `[classes, classes]` of counts: a row for each true class, a column for each prediction."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def most_confused(matrix: NDArray[np.int64], limit: int = 10) -> list[ConfusedClasses]:
    """At most `limit` pairs of classes, by the number of images, then by the fraction of their class, descending."""
    wrong = matrix - np.diag(np.diag(matrix))
    truths, predicted = np.nonzero(wrong)
    counts = wrong[truths, predicted]
    fractions = counts / matrix.sum(axis=1)[truths]
    order = np.lexsort((predicted, truths, -fractions, -counts))[:limit]
    return [ConfusedClasses(int(truths[at]), int(predicted[at]), int(counts[at]), float(fractions[at])) for at in order]
