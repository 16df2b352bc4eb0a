"""A head and features become what a run says of the photos it was not trained on, and how good and how sure that is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.load import Dataset
from tl.data.splits import Split
from tl.evaluation.metrics import Evaluation, evaluate
from tl.learning.calibration import Calibration, calibration
from tl.learning.head import Head
from tl.learning.unknown import Unknown

HELD_OUT, VALIDATION = "training photos held out from the head", "the validation photos"


@dataclass(frozen=True)
class Answers:
    """What a head says of n photos: `shares` are probabilities `[n, classes]`, `strange` `[n]` tells which photos are
    unlike all training photos; `scores` by part. `calibration` is that of the first part, None without photos;
    `fitted_on` says what photos the head's temperature comes from.
    """

    head: Head
    shares: NDArray[np.float32]
    strange: NDArray[np.bool_]
    scores: dict[str, Evaluation]
    calibration: Calibration | None
    unknown: Unknown | None
    fitted_on: str

    def metrics(self) -> dict[str, Any]:
        """The headline figures by part, as the manifest has them."""
        return {part: score.as_dict() for part, score in self.scores.items()}

    def details(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """All figures, as metrics.json has them: those of each class, reliability, calibration, the unknown."""
        told: dict[str, Any] = {part: score.as_dict() | score.details(classes) for part, score in self.scores.items()}
        if self.calibration is not None:
            part, score = next(iter(self.scores.items()))
            about = {"part": part, "count": score.count, "fitted_on": self.fitted_on}
            told["calibration"] = about | self.calibration.as_dict()
        if self.unknown is not None:
            told["unknown"] = self.unknown.as_dict() | {
                "count": int(self.strange.sum()),
                "photos": len(self.strange),
            }
        return told


def answer(
    head: Head,
    values: NDArray[np.float32],
    labels: NDArray[np.int64],
    parts: dict[str, NDArray[np.int64]],
    unknown: Unknown | None,
    fitted_on: str = HELD_OUT,
) -> Answers:
    """What a head says of features `[n, features]` with labels `[n]`; `parts` are places in them, by name."""
    logits = head.logits(values)
    shares = head.calibrated(logits)
    scores = {name: evaluate(shares[places], labels[places]) for name, places in parts.items() if len(places)}
    first = next((parts[name] for name in scores), None)
    told = None if first is None else calibration(logits[first], labels[first], head.temperature)
    strange = np.zeros(len(values), np.bool_) if unknown is None else unknown.is_unknown(values)
    return Answers(head, shares, strange, scores, told, unknown, fitted_on)


def answer_held_out(
    head: Head,
    values: NDArray[np.float32],
    dataset: Dataset,
    split: Split,
    unknown: Unknown | None,
    fitted_on: str = HELD_OUT,
) -> Answers:
    """The same for the features of the photos of a split that were not trained on, in the data set's order."""
    places = held_out(split)
    parts = {
        name: np.searchsorted(places, np.sort(indices))
        for name, indices in (("validation", split.validation), ("test", split.test))
    }
    return answer(head, values, dataset.labels[places], parts, unknown, fitted_on)


def held_out(split: Split) -> NDArray[np.int64]:
    """The places of the photos that were not trained on, in order."""
    return np.sort(np.concatenate([split.validation, split.test]))


def nothing(head: Head, classes: int) -> Answers:
    """The answers of a head that nothing was asked yet."""
    return Answers(head, np.zeros((0, classes), np.float32), np.zeros(0, np.bool_), {}, None, None, HELD_OUT)
