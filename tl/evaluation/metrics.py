"""Probabilities and labels become figures, each with the interval that says how sure it is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Proportion:
    """`value` of `count` photos, with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Evaluation:
    """How good a classifier is on `count` photos; `top5` only where there are more than five classes."""

    top1: Proportion
    top5: Proportion | None
    log_loss: float
    count: int

    def as_dict(self) -> dict[str, object]:
        """The form of metrics.json."""
        figures: dict[str, object] = {"top1": self.top1.value, "top1_interval": [self.top1.low, self.top1.high]}
        if self.top5 is not None:
            figures |= {"top5": self.top5.value, "top5_interval": [self.top5.low, self.top5.high]}
        return figures | {"log_loss": self.log_loss, "count": self.count}


def evaluate(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Evaluation:
    """The figures for probabilities `[n, classes]` and labels `[n]`."""
    count, classes = probabilities.shape
    of_truth = probabilities[np.arange(count), labels].astype(np.float64)
    top1 = proportion(int(np.sum(probabilities.argmax(axis=1) == labels)), count)
    top5 = None
    if classes > 5:
        five = np.argpartition(probabilities, -5, axis=1)[:, -5:]
        top5 = proportion(int(np.sum(five == labels[:, None])), count)
    return Evaluation(top1, top5, float(-np.mean(np.log(np.maximum(of_truth, 1e-12)))), count)


def proportion(hits: int, count: int) -> Proportion:
    """`hits` of `count`, with the 95 % score interval (Wilson 1927), which holds for few photos and near 0 and 1."""
    if count == 0:
        return Proportion(math.nan, 0.0, 1.0, 0)
    share, z2 = hits / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return Proportion(share, max(0.0, centre - reach), min(1.0, centre + reach), count)
