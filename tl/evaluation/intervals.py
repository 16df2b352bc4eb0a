"""Counts of right answers become shares with the 95 % intervals that so many photos allow."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


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
