"""What a head predicts for labelled images, with the metrics, the calibration and the images called unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.evaluation.metrics import Metrics, compute_metrics
from tl.evaluation.selective import HeldOutAnswers
from tl.learning.calibration import Calibration, calibration
from tl.learning.head import Head
from tl.learning.head_fit import HeadFit
from tl.learning.unknown import Unknown

CROSS_VALIDATED = "images held out in turn"
HELD_OUT, VALIDATION = "training images held out from the head", "the validation images"


@dataclass(frozen=True)
class Predictions:
    """Predictions for n images of `dataset`, at `indices` `[n]` in it; `parts` names the part that each belongs to.

    `probabilities` `[n, classes]` are calibrated; `is_unknown` `[n]` marks images unlike the training images.
    `metrics` has an entry for each part; `calibration` is that of the first part, None without images. `fitted_on`
    says which images the head's temperature was fitted on.
    """

    dataset: Dataset
    indices: NDArray[np.int64]
    parts: tuple[str, ...]
    probabilities: NDArray[np.float32]
    is_unknown: NDArray[np.bool_]
    metrics: dict[str, Metrics]
    calibration: Calibration | None
    head: Head
    unknown: Unknown | None
    fitted_on: str

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true classes `[n]`."""
        return self.dataset.labels[self.indices]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which images are classified correctly `[n]`."""
        correct: NDArray[np.bool_] = np.equal(self.probabilities.argmax(axis=1), self.labels)
        return correct

    def of_part(self, name: str) -> NDArray[np.int64]:
        """The rows of the images of a part, ascending."""
        return np.flatnonzero([part == name for part in self.parts])

    def _answers(self) -> HeldOutAnswers:
        rows = self.of_part("validation")
        confidence, weight = self.probabilities[rows].max(axis=1), self.metrics["validation"].group_weight
        return HeldOutAnswers(confidence, self.correct[rows], self.is_unknown[rows], weight=weight)

    def summary(self) -> dict[str, Any]:
        """The main metrics of each part, as the manifest has them."""
        return {part: metrics.as_dict() for part, metrics in self.metrics.items()}

    def as_dict(self) -> dict[str, Any]:
        """All metrics, as metrics.json has them: by class, reliability, calibration, unknown images."""
        names = self.dataset.class_names
        whole: dict[str, Any] = {part: one.as_dict() | one.details(names) for part, one in self.metrics.items()}
        if self.calibration is not None:
            part, first = next(iter(self.metrics.items()))
            about = {"part": part, "count": first.count, "fitted_on": self.fitted_on}
            whole["calibration"] = about | self.calibration.as_dict()
        if "validation" in self.metrics:
            whole["selective"] = self._answers().as_dict()
        if self.unknown is not None:
            counts = {"count": int(self.is_unknown.sum()), "photos": len(self.is_unknown)}
            whole["unknown"] = self.unknown.as_dict() | counts
        return whole


def predict(
    head: Head,
    features: NDArray[np.float32],
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    parts: Sequence[str],
    unknown: Unknown | None,
    fitted_on: str = HELD_OUT,
) -> Predictions:
    """Predict the images at `indices` `[n]` from their features `[n, features]`, and compute the metrics of each part.

    `parts` names the part of each image; metrics are in the order of validation, test, others.
    """
    logits, is_unknown = head.logits(features), np.zeros(len(features), np.bool_)
    if unknown is not None:
        is_unknown = unknown.is_unknown(features, head.calibrated(logits))
    return from_logits(
        head, logits, dataset, indices, parts=parts, is_unknown=is_unknown, unknown=unknown, fitted_on=fitted_on
    )


def from_logits(
    head: Head,
    logits: NDArray[np.float32],
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    parts: Sequence[str],
    is_unknown: NDArray[np.bool_],
    unknown: Unknown | None,
    fitted_on: str = HELD_OUT,
    folds: int = 0,
) -> Predictions:
    """Predictions from logits `[n, classes]`; `folds`: all but those of a test part are cross-validated."""
    labels, probabilities = dataset.labels[indices], head.calibrated(logits)
    rows = {name: np.flatnonzero([part == name for part in parts]) for name in sorted(set(parts), reverse=True)}
    metrics = {
        name: compute_metrics(
            probabilities[at], labels[at], folds=0 if name == "test" else folds, groups=_groups(dataset, indices[at])
        )
        for name, at in rows.items()
    }
    first = next(iter(rows.values()), None)
    return Predictions(
        dataset=dataset,
        indices=indices,
        parts=tuple(parts),
        probabilities=probabilities,
        is_unknown=is_unknown,
        metrics=metrics,
        calibration=None if first is None else calibration(logits[first], labels[first], head.temperature),
        head=head,
        unknown=unknown,
        fitted_on=fitted_on,
    )


def _groups(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Numbers of the groups of images `[n]`, of one alone in it for an image of none; None without groups."""
    if not any(dataset.groups):
        return None
    names = [dataset.groups[at] or at for at in indices.tolist()]
    number = {name: each for each, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], np.int64)


def predict_held_out(
    fitted: HeadFit, features: NDArray[np.float32], dataset: Dataset, split: Split, unknown: Unknown | None
) -> Predictions:
    """Predictions for the validation and test images of a split from the features `[images, features]` of all.

    Without validation images those of the training images stand for them, each by heads fitted without it.
    """
    indices, parts = held_out_images(split)
    if len(split.validation) or not fitted.judged.any():
        return predict(fitted.head, features[indices], dataset, indices, parts=parts, unknown=unknown)
    judged, head = split.train[fitted.judged], fitted.head
    logits = [fitted.logits[fitted.judged], head.logits(features[indices])]
    unlike = [np.zeros(len(each), np.bool_) for each in logits]
    if unknown is not None:
        first, second = map(head.calibrated, logits)
        unlike = [unknown.is_unknown_held_out(features[judged], first), unknown.is_unknown(features[indices], second)]
    return from_logits(
        head,
        np.concatenate(logits),
        dataset,
        np.concatenate([judged, indices]),
        parts=["validation"] * len(judged) + parts,
        is_unknown=np.concatenate(unlike),
        unknown=unknown,
        fitted_on=CROSS_VALIDATED,
        folds=fitted.folds,
    )


def held_out_images(split: Split) -> tuple[NDArray[np.int64], list[str]]:
    """The indices of the images that were not trained on, ascending, and the part of each."""
    indices = np.sort(np.concatenate([split.validation, split.test]))
    return indices, ["validation" if is_validation else "test" for is_validation in np.isin(indices, split.validation)]
