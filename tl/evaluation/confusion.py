"""Labels and answers become a confusion matrix and the pairs most often confused."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


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
