"""Right and wrong answers become a verdict: whether chance alone parts two classifiers, or one from knowing nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError

_LEVEL = 0.05
_LITTLE = 0.2  # of the way from knowing nothing to all right: what learns gets further, and 100 photos can tell it


@dataclass(frozen=True)
class Comparison:
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


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> Comparison:
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
    return Comparison(gained, lost, _two_sided(gained, lost), len(first))


def learned(low: float, high: float, largest: float) -> bool | None:
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
