"""Test whether a difference of accuracies is more than chance: McNemar's test, and the majority-class baseline."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError
from tl.text import count as counted

_SIGNIFICANCE = 0.05
_HARDLY = 0.2  # of the way from the majority-class baseline to 1; whatever learns gets further


@dataclass(frozen=True)
class McNemar:
    """McNemar's test on `count` images: the second classifier `gained` those that only it classifies correctly.

    It `lost` those that only the first classifies correctly. `p_value`: how often two equally good classifiers differ
    at least as much by chance.
    """

    gained: int
    lost: int
    p_value: float
    count: int

    @property
    def difference(self) -> float:
        """The accuracy of the second minus that of the first, -1 to 1."""
        return (self.gained - self.lost) / self.count if self.count else 0.0

    def sentence(self, first: str = "the first", second: str = "the second") -> str:
        """The result in words, for two classifiers of these names."""
        images = counted(self.count, "image")
        if not self.gained and not self.lost:
            return f"on {images}, {second} and {first} are always both correct or both wrong: no difference"
        verdict = f"{second if self.gained > self.lost else first} is better"
        verdict = verdict if self.p_value < _SIGNIFICANCE else "this may well be chance"
        p_value = "< 0.001" if self.p_value < 0.001 else f"= {self.p_value:.2g}"
        alone = f"of {images}, {second} alone classifies {self.gained:,} correctly, {first} alone {self.lost:,}"
        return f"{alone}: {verdict} (McNemar's exact test, p {p_value})"

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output."""
        return vars(self) | {"difference": self.difference}


def mcnemar(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact two-sided test of two classifiers on the same images `[n]` in the same order.

    Under the null hypothesis, each image that only one classifies correctly is either's with probability 1/2 (McNemar
    1947). Raises DataError for different numbers of images.
    """
    from scipy.special import bdtr  # loads four times as fast as scipy.stats, which has `binomtest`

    first, second = np.asarray(first_correct, bool), np.asarray(second_correct, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(
            f"predictions for {first.size:,} and {second.size:,} images: two runs are compared on the same images only"
        )
    gained, lost = int(np.sum(second & ~first)), int(np.sum(first & ~second))
    p_value = 1.0 if gained == lost else min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    return McNemar(gained, lost, p_value, len(first))


def beats_majority(low: float, high: float, majority: float) -> bool | None:
    """Whether an accuracy with this 95% interval is better than `majority`, the fraction of the largest class.

    True if the whole interval is above it; False if even its upper end is less than a fifth of the way from there to 1;
    else None: too few images to tell whether the classifier is good or has learned nothing.
    """
    if low > majority:
        return True
    return False if high < majority + _HARDLY * (1 - majority) else None
