"""Probabilities and labels become figures, each with the interval that says how sure it is.

Proportions have Wilson's interval, and balanced accuracy, their mean over classes, one that is put together from those.
All others have a bootstrap interval: the photos are drawn again, 1000 times, and each figure is computed for each draw.
Every such figure is a function of sums over photos, in which each photo counts as often as it was drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError
from tl.learning.calibration import BINS, Reliability, bins_of, reliability

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Proportion:
    """`value` of `count` photos, with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def proportion(hits: int, count: int) -> Proportion:
    """`hits` of `count`, with the 95 % score interval (Wilson 1927), which holds for few photos and near 0 and 1."""
    if count == 0:
        return Proportion(math.nan, 0.0, 1.0, 0)
    share, z2 = hits / count, Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return Proportion(share, min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach)), count)


def mean_proportion(hits: Labels, counts: Labels) -> Estimate:
    """The mean over classes of `hits` of `counts`, those without photos left out, with its 95 % interval.

    Each class's distances from its share to the ends of its Wilson interval stand for its variance (MOVER: Zou and
    Donner 2008), so that two photos of a rare class that are both right promise no more than two photos can. Wilson's
    ends lie towards 1/2, which does not cancel over many classes of few photos: with 100 classes of two photos, 60 % of
    them right, that alone holds in 82 of 100 cases. So no distance is shorter than the normal one at the interval's
    centre, nor the whole longer than if all classes were at their ends at once: this holds in 94, with two classes, one
    of them of two photos, in 90 or more.
    """
    held = counts > 0
    ends = [proportion(int(hit), int(count)) for hit, count in zip(hits[held], counts[held], strict=True)]
    shares, low, high = np.array([(one.value, one.low, one.high) for one in ends]).T
    centres = (hits[held] + Z95**2 / 2) / (counts[held] + Z95**2)
    plain = Z95 * np.sqrt(centres * (1 - centres) / counts[held])

    def reach(distances: Floats) -> float:
        together = np.sqrt(np.sum(np.maximum(distances, plain) ** 2))
        return float(min(together, distances.sum())) / len(distances)

    mean = float(shares.mean())
    return Estimate(mean, max(0.0, mean - reach(shares - low)), min(1.0, mean + reach(high - shares)))


_TAIL = 0.025
_DRAWS = 1000
_AT_ONCE = 1 << 17  # photos drawn in one step: counts of 1 MB stay in the processor
_LEAST = float(np.finfo(np.float64).eps)  # probabilities below count as this, as in scikit-learn


@dataclass(frozen=True)
class ClassFigures:
    """How good a classifier is at one class with `support` photos: `precision` of the photos answered so, `recall` of
    the photos that are so, and their harmonic mean `f1`. NaN where there are no such photos.
    """

    support: int
    precision: Proportion
    recall: Proportion
    f1: Estimate

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output; null where there is no value."""
        figures: dict[str, Proportion | Estimate] = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        told: dict[str, object] = {"support": self.support}
        for name, figure in figures.items():
            told[name] = None if math.isnan(figure.value) else figure.value
            told[f"{name}_interval"] = [figure.low, figure.high]
        return told


@dataclass(frozen=True)
class Metrics:
    """How good a classifier is on `count` photos; `top5` only where there are more than five classes.

    `log_loss` in nats; `brier` is summed over classes, 0 to 2 (Brier 1950); `calibration_error` that of `reliability`.
    `balanced_accuracy` is the mean recall of classes that have photos, `macro_f1` the mean F1 of classes that have
    photos or answers.
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
    per_class: tuple[ClassFigures, ...]
    reliability: Reliability

    @property
    def class_photos(self) -> tuple[int, int]:
        """How many photos the smallest and the largest class have, of those that have any."""
        support = [figures.support for figures in self.per_class if figures.support]
        return min(support), max(support)

    def as_dict(self) -> dict[str, object]:
        """The form of metrics.json."""
        figures: dict[str, object] = {"top1": self.top1.value, "top1_interval": [self.top1.low, self.top1.high]}
        if self.top5 is not None:
            figures |= {"top5": self.top5.value, "top5_interval": [self.top5.low, self.top5.high]}
        figures |= {"log_loss": self.log_loss, "log_loss_interval": list(self.log_loss_interval), "count": self.count}
        for name in ("brier", "calibration_error", "balanced_accuracy", "macro_f1"):
            estimate: Estimate = getattr(self, name)
            figures |= {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}
        return figures | {"class_photos": list(self.class_photos)}

    def details(self, classes: Sequence[str]) -> dict[str, object]:
        """The figures of each class, by its name, and the reliability diagram."""
        per_class = {name: figures.as_dict() for name, figures in zip(classes, self.per_class, strict=True)}
        return {"per_class": per_class, "reliability": self.reliability.as_dict()}


def compute_metrics(probabilities: NDArray[np.float32], labels: Labels, *, seed: int = 0) -> Metrics:
    """The figures for probabilities `[n, classes]` and labels `[n]`; `seed` draws the photos of the bootstrap.

    Raises DataError when there are no photos.
    """
    count, classes = probabilities.shape
    if not count:
        raise DataError("no photos to evaluate: give a data set or a split that has some")
    ranks = _ranks(probabilities, labels)
    answers = probabilities.argmax(axis=1)
    log_loss, brier, error, macro, *f1 = _estimates(probabilities, labels, answers, seed)
    hits, support = np.bincount(labels[labels == answers], minlength=classes), np.bincount(labels, minlength=classes)
    balanced = mean_proportion(hits, support)
    return Metrics(
        top1=proportion(int(np.sum(ranks < 1)), count),
        top5=proportion(int(np.sum(ranks < 5)), count) if classes > 5 else None,
        log_loss=log_loss.value,
        count=count,
        log_loss_interval=(log_loss.low, log_loss.high),
        brier=brier,
        calibration_error=_pivoted(error),
        balanced_accuracy=balanced,
        macro_f1=balanced if macro.value in (0.0, 1.0) else macro,  # where every draw says the same
        per_class=_per_class(labels, answers, f1),
        reliability=reliability(probabilities, labels),
    )


def _ranks(probabilities: NDArray[np.float32], labels: Labels) -> Labels:
    """How many classes come before the true one `[n]`; of equals the first, as argmax has it."""
    of_truth = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > of_truth) | ((probabilities == of_truth) & earlier)
    ranks: Labels = np.sum(ahead, axis=1, dtype=np.int64)
    return ranks


def _per_class(labels: Labels, answers: Labels, f1: Sequence[Estimate]) -> tuple[ClassFigures, ...]:
    classes = len(f1)
    support, answered = np.bincount(labels, minlength=classes), np.bincount(answers, minlength=classes)
    hits = np.bincount(labels[labels == answers], minlength=classes)
    return tuple(
        ClassFigures(
            support=int(support[at]),
            precision=proportion(int(hits[at]), int(answered[at])),
            recall=proportion(int(hits[at]), int(support[at])),
            f1=_widened(f1[at], max(int(support[at]), int(answered[at]))),
        )
        for at in range(classes)
    )


def _estimates(probabilities: NDArray[np.float32], labels: Labels, answers: Labels, seed: int) -> list[Estimate]:
    """Log-loss, Brier, calibration error, macro F1, each class's F1; percentile intervals."""
    count, classes = probabilities.shape
    table = _Contributions(probabilities, labels, answers)
    values = _figures(table.summed(np.ones((1, count))), count, classes)[:, 0]
    draw = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // count)
    drawn = [
        _figures(table.summed(_weights(draw, count, min(step, _DRAWS - done))), count, classes)
        for done in range(0, _DRAWS, step)
    ]
    ordered = np.sort(np.concatenate(drawn, axis=1), axis=1)  # NaN last: draws without any photo of a class
    last = np.maximum(np.sum(~np.isnan(ordered), axis=1) - 1, 0)
    every = np.arange(len(ordered))
    low, high = ordered[every, (_TAIL * last).astype(int)], ordered[every, np.ceil((1 - _TAIL) * last).astype(int)]
    return [Estimate(float(a), float(b), float(c)) for a, b, c in zip(values, low, high, strict=True)]


class _Contributions:
    """Each photo's part in each sum: log-loss, Brier, the bins' gaps; hits, truths and answers of each class."""

    def __init__(self, probabilities: NDArray[np.float32], labels: Labels, answers: Labels) -> None:
        count, classes = probabilities.shape
        exact = probabilities.astype(np.float64)
        of_truth, sure = exact[np.arange(count), labels], exact.max(axis=1)
        surprise = -np.log(np.maximum(of_truth, _LEAST))
        brier = np.einsum("ij,ij->i", exact, exact) - 2 * of_truth + 1
        gap = sure - (answers == labels)
        cells = labels * classes + answers
        order = np.argsort(cells)  # photos are drawn alike: in this order most groups lie together already
        self._means = np.stack([surprise, brier])[:, order]
        self._bins = _Grouped(bins_of(sure)[order], BINS)
        self._gap = gap[order]
        present, cells = np.unique(cells, return_inverse=True)
        self._cells = _Grouped(cells[order], len(present))
        of_label, of_answer = np.divmod(present, classes)
        self._hits, self._right = np.flatnonzero(of_label == of_answer), of_label[of_label == of_answer]
        self._truths, self._answers = _Grouped(of_label, classes), _Grouped(of_answer, classes)
        self._classes = classes

    def summed(self, weights: Floats) -> Floats:
        """The sums `[2 + bins + 3 classes, draws]` of photos that count so often each `[draws, n]`."""
        cells = self._cells.summed(weights)
        hits = np.zeros((len(weights), self._classes))
        hits[:, self._right] = cells[:, self._hits]
        parts = [weights @ self._means.T, self._bins.summed(weights * self._gap), hits]
        return np.hstack([*parts, self._truths.summed(cells), self._answers.summed(cells)]).T


class _Grouped:
    """Sums over groups `[n]`, of which there are `count`: sorted once, so that each draw adds up neighbours.

    A sparse product does the same in the same time; importing one takes longer than all draws.
    """

    def __init__(self, groups: Labels, count: int) -> None:
        order = np.argsort(groups, kind="stable")
        self._order = None if np.array_equal(order, np.arange(len(order))) else order
        self._present, self._starts = np.unique(groups[order], return_index=True)
        self._count = count

    def summed(self, values: Floats) -> Floats:
        """The sums `[draws, groups]` of values `[draws, n]`."""
        sums = np.zeros((len(values), self._count))
        ordered = values if self._order is None else values[:, self._order]
        sums[:, self._present] = np.add.reduceat(ordered, self._starts, axis=1)
        return sums


def _weights(draw: np.random.Generator, count: int, draws: int) -> Floats:
    """How often each photo is drawn `[draws, n]`."""
    taken = draw.integers(0, count, (draws, count), dtype=np.int32)
    taken += np.arange(draws, dtype=np.int32)[:, None] * count
    return np.bincount(taken.ravel(), minlength=count * draws).reshape(draws, count).astype(np.float64)


def _figures(sums: Floats, count: int, classes: int) -> Floats:
    """The figures `[4 + classes, draws]` of sums `[2 + bins + 3 classes, draws]`; NaN without photos."""
    means = sums[: 2 + BINS] / count
    hits, truths, answers = sums[2 + BINS :].reshape(3, classes, -1)
    whole = truths + answers
    f1 = np.divide(2 * hits, whole, out=np.full(hits.shape, np.nan), where=whole > 0)
    error = np.abs(means[2:]).sum(axis=0)
    return np.vstack([means[:2], error, _mean(f1), f1])


def _mean(values: Floats) -> Floats:
    """The mean over classes that have a value."""
    held = ~np.isnan(values)
    mean: Floats = values.sum(axis=0, where=held) / held.sum(axis=0)
    return mean


def _pivoted(error: Estimate) -> Estimate:
    """The calibration error with its basic bootstrap interval (Davison and Hinkley 1997, 5.2.1).

    Noise in the bins adds to this figure, in each draw once more, so that percentiles lie too high: for a well
    calibrated network they miss the true error in nearly all cases, this interval in 5 to 27 %.
    """
    low, high = 2 * error.value - error.high, 2 * error.value - error.low
    return Estimate(error.value, max(0.0, low), max(error.value, high))


def _widened(share: Estimate, count: int) -> Estimate:
    """Where all photos are right, or none, every draw says the same: then Wilson's interval tells what they can."""
    if math.isnan(share.value):
        return Estimate(math.nan, 0.0, 1.0)
    if share.value in (0.0, 1.0):
        wilson = proportion(round(share.value * count), count)
        return Estimate(share.value, wilson.low, wilson.high)
    return share


@dataclass(frozen=True)
class Pair:
    """`count` photos of class `truth` were answered `answer`: a `share`, 0 to 1, of all photos of that class."""

    truth: int
    answer: int
    count: int
    share: float


def confusion(labels: Labels, answers: Labels, classes: int) -> NDArray[np.int64]:
    """The matrix `[classes, classes]` of counts: a row for each true class, a column for each answer."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(answers, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def most_confused(matrix: NDArray[np.int64], limit: int = 10) -> list[Pair]:
    """At most `limit` pairs of a confusion matrix, the most photos first, then the largest share of their class."""
    wrong = matrix - np.diag(np.diag(matrix))
    truths, answers = np.nonzero(wrong)
    counts = wrong[truths, answers]
    shares = counts / matrix.sum(axis=1)[truths]
    order = np.lexsort((answers, truths, -shares, -counts))[:limit]
    return [Pair(int(truths[at]), int(answers[at]), int(counts[at]), float(shares[at])) for at in order]


_LEVEL = 0.05
_LITTLE = 0.2  # of the way from knowing nothing to all right: what learns gets further, and 100 photos can tell it


@dataclass(frozen=True)
class McNemar:
    """Of `count` photos the second classifier `gained` some (the first was wrong there) and `lost` others.

    `p_value`: how often two equally good classifiers part at least as far by chance.
    """

    gained: int
    lost: int
    p_value: float
    count: int

    @property
    def difference(self) -> float:
        """Top-1 accuracy of the second less that of the first, -1 to 1."""
        return (self.gained - self.lost) / self.count if self.count else 0.0

    @property
    def significant(self) -> bool:
        """Whether chance gives such a difference in fewer than 5 % of cases."""
        return self.p_value < _LEVEL

    def sentence(self, first: str = "the first", second: str = "the second") -> str:
        """The outcome in words, for two runs of these names."""
        photos = "1 photo" if self.count == 1 else f"{self.count:,} photos"
        if not self.gained and not self.lost:
            return f"{second} and {first} are right and wrong on the same of {photos}: no difference"
        counts = f"of {photos}, {second} gets {self.gained:,} right that {first} gets wrong"
        other = f"and {self.lost:,} wrong that {first} gets right"
        return f"{counts}, {other}: {self._verdict(first, second)} (McNemar's exact test, p {_shown(self.p_value)})"

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output."""
        return {
            "gained": self.gained,
            "lost": self.lost,
            "p_value": self.p_value,
            "difference": self.difference,
            "count": self.count,
        }

    def _verdict(self, first: str, second: str) -> str:
        if not self.significant:
            return "this may well be chance"
        return f"{second if self.gained > self.lost else first} is better"


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test, two-sided, of right (True) and wrong `[n]` on the same photos in the same order.

    Under the null hypothesis each photo on which the two part goes to either with probability 1/2 (McNemar 1947).
    Raises DataError when the two are not about the same number of photos.
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(
            f"answers to {first.size:,} and to {second.size:,} photos: two runs can be compared on the same photos only"
        )
    gained, lost = int(np.sum(second & ~first)), int(np.sum(first & ~second))
    return McNemar(gained, lost, _two_sided(gained, lost), len(first))


def beats_majority(low: float, high: float, largest: float) -> bool | None:
    """Whether a top-1 accuracy with this 95 % interval is more than the share of the largest class; None: not told.

    It is where the whole interval is above that share, and is not where even its upper end gets no more than a fifth of
    the way from there to 1. Else the photos are too few to tell: a network may be good, or have learned nothing.
    """
    if low > largest:
        return True
    return False if high < largest + _LITTLE * (1 - largest) else None


def _two_sided(gained: int, lost: int) -> float:
    from scipy.special import bdtr  # a quarter of the loading time of scipy.stats, which has it as `binomtest`

    if gained == lost:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def _shown(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"
