"""Answer only when sure: the confidence from which at most a chosen fraction of the answers is wrong.

The promise holds with 90% confidence over the draw of the training images (Learn then Test: Angelopoulos et al. 2021).
Confidences are tried from the surest images down, in a sequence of steps that is fixed beforehand, as long as Clopper
and Pearson's bound of the fraction wrong among the answered is at most the chosen one; the first step that fails ends
it, so that many steps cost no confidence. A threshold at which the fraction itself, not its bound, is small enough
breaks the promise in up to half of the draws (bench/selective.py).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError
from tl.options import Spec
from tl.text import count, percent

Mask = NDArray[np.bool_]

CONFIDENCE = 0.9
MAX_ERROR = Spec(
    "Answer only images of which at most this fraction is wrong, such as 1%; mark the others for review.",
    low=1e-4,
    high=0.5,
    fraction=True,
    metavar="RATE",
)
_STEPS = 40  # of all known images, the same for every error bound
_DECIMALS = 6  # of a confidence, as predictions.csv and every row have it
_TRIED = np.concatenate([np.arange(1, 20) / 1000, np.arange(4, 20) / 200, np.arange(10, 51) / 100])
CURVE = (0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)


@dataclass(frozen=True)
class Selection:
    """Which images are answered: known ones from the confidence `threshold` on, a fraction `answered` of all.

    At most a fraction `max_error` of the answers is wrong; the others are handed back for review.
    """

    max_error: float
    threshold: float
    answered: float

    @property
    def sentence(self) -> str:
        """The promise, and its price."""
        sure = f"with {percent(CONFIDENCE, 0)} confidence"
        promise = f"at most {rate_text(self.max_error)} wrong among the answered, {sure}"
        return f"{promise}: about {percent(self.answered, 0)} of images like the training images are answered"

    def needs_review(self, confidence: float, unknown: bool) -> bool:
        """Whether an image is handed back; an unknown one always."""
        return unknown or not round(confidence, _DECIMALS) >= self.threshold


class HeldOutAnswers:
    """How sure a classifier was of images it was not trained on, and whether it was right."""

    def __init__(
        self, confidence: NDArray[np.floating[Any]], correct: Mask, unknown: Mask, *, weight: float = 1.0
    ) -> None:
        """Confidence of the predicted class, whether it is correct, and which images are called unknown, each `[n]`.

        An image of a group counts as `weight` independent ones (`tl.evaluation.metrics.group_weights`).
        """
        self._weight = weight
        known = np.flatnonzero(~unknown)
        order = known[np.argsort(-confidence[known], kind="stable")]
        self.count = len(confidence)
        self._confidence = confidence[order].astype(np.float64).round(_DECIMALS)
        self._wrong = np.cumsum(~correct[order])

    def select(self, max_error: float) -> Selection | None:
        """What can be answered with a fraction `max_error` of wrong answers; None where that cannot be shown."""
        from scipy.special import betainc

        first, known = self._images_for(max_error), len(self._confidence)
        steps = np.unique([first, *np.linspace(0, known, _STEPS + 1).round().astype(int)])
        best = 0
        for step in steps[(first <= steps) & (steps <= known)].tolist():
            answered = int(np.searchsorted(-self._confidence, -self._confidence[step - 1], side="right"))
            mistakes = int(self._wrong[answered - 1])
            right, wrong = self._weight * (answered - mistakes), self._weight * mistakes
            # Clopper and Pearson's bound is at most the error where so few wrong answers would be this improbable.
            if not right or betainc(right, wrong + 1, 1 - max_error) > 1 - CONFIDENCE:
                break
            best = answered
        if not best:
            return None
        return Selection(max_error, float(self._confidence[best - 1]), best / self.count)

    def select_or_raise(self, max_error: float, name: str) -> Selection:
        """As `select` for the run `name`; UsageError says what it would take."""
        selection = self.select(max_error)
        if selection is not None:
            return selection
        asked, needed = f"--max-error {rate_text(max_error)}", self._images_for(max_error)
        possible = next((error for error in _TRIED.tolist() if error > max_error and self.select(error)), None)
        hint = "train with more images" + (f", or give {rate_text(possible)} or more" if possible else "")
        if self.count < needed:
            held_out = f"run {name} has {self.count:,}" if self.count else f"run {name} has none"
            raise UsageError(f"{asked} takes {count(needed, 'held-out image')}, {held_out}: {hint}")
        raise UsageError(f"{asked} cannot be shown even for the surest held-out images of run {name}: {hint}")

    def _images_for(self, max_error: float) -> int:
        return math.ceil(images_for(max_error) / self._weight)

    def as_dict(self) -> dict[str, object]:
        """The form of metrics.json: for each of many error bounds the threshold and the fraction answered, or null."""
        curve = [(error, self.select(error)) for error in CURVE]
        rows = [
            {"max_error": error, "threshold": one and one.threshold, "answered": one and one.answered}
            for error, one in curve
        ]
        return {"confidence": CONFIDENCE, "count": self.count, "curve": rows}


def images_for(max_error: float) -> int:
    """How many images it takes to show an error bound, all classified correctly: 230 for 1%, 114 for 2%, 45 for 5%."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-max_error))


def rate_text(rate: float) -> str:
    """A rate as 1% or 0.5%."""
    return f"{100 * rate:.3g}%"
