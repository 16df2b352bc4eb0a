"""Features of the training photos become a measure of how unlike all of them a photo is, with a line to draw.

The measure is the mean distance to the five nearest training photos, after every feature vector is scaled to length 1
(nearest neighbours: Sun et al. 2022; their mean: Angiulli and Pizzuti 2002). Of the methods in bench/unknown.py it
tells CIFAR-100 from cats and dogs best: at full size, where Mahalanobis distance does as well, and with all shrunk to
32 pixels, where it does not. The line is a conformal quantile: each training photo is measured against the others, as
a new one would be, and so many of them stay below the line that new photos of their kind do so as often as promised.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tl.errors import UsageError

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_NEIGHBOURS = 5  # three to eight do equally well
_REFERENCES = 512  # 4 MB of ResNet50's features; as good as thousands where photos are of another kind altogether
_PER_CLASS = 2  # at least, with very many classes
_MEASURED = 5000  # photos that the line is drawn from: fifty beyond it at one in a hundred
_SAME = 2e-3  # float32 cannot tell closer vectors apart: the photo itself, or its copy
_ROWS = 2048  # photos measured at a time: 20 MB
_WORTH = 0.05  # a false alarm for one photo in twenty is the most that few photos may come to without being asked for


@dataclass(frozen=True)
class Unknown:
    """Training photos to compare with: `references` float32 `[m, features]` of length 1, the `threshold` that marks the
    unknown (infinite: none is), and the false-alarm `rate` that it stands for (0: none is).
    """

    references: Floats
    threshold: float
    rate: float

    @property
    def sentence(self) -> str:
        """What is promised, in words."""
        if not self.rate:
            return f"off: too few training photos to promise less than 1 false alarm in {1 / _WORTH:.0f}"
        return f"at most {100 * self.rate:.2g} % of photos like the training photos are called unknown"

    def as_dict(self) -> dict[str, object]:
        """The form of the JSON output; a threshold that nothing reaches is null."""
        threshold = self.threshold if math.isfinite(self.threshold) else None
        return {"rate": self.rate, "threshold": threshold, "sentence": self.sentence}

    def score(self, features: Floats) -> Floats:
        """How unlike the training photos `[n]` features `[n, features]` are: 0 to 2."""
        scores = np.empty(len(features), np.float32)
        for start in range(0, len(features), _ROWS):
            distances = _distances(_scaled(features[start : start + _ROWS]), self.references, self._squares)
            scores[start : start + _ROWS] = _nearest(distances)
        return scores

    @cached_property
    def _squares(self) -> Floats:
        return _squares(self.references)

    def is_unknown(self, features: Floats) -> NDArray[np.bool_]:
        """Whether each of features `[n, features]` is unlike all training photos `[n]`."""
        unknown: NDArray[np.bool_] = ~(self.score(features) <= self.threshold)  # what is no number is unknown, too
        return unknown


def fit(features: Floats, labels: Labels, classes: int, *, rate: float = 0.01, seed: int = 0) -> Unknown:
    """The measure for training features `[n, features]` and labels `[n]` in `range(classes)`.

    At most `rate` of new photos of the same kind are called unknown. n photos can promise 1 in n + 1 at best: with
    fewer than a rate needs, the rate is that, or, beyond 1 in 20, no photo is called unknown. Raises UsageError for a
    rate that is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--unknown-rate {rate:g}: the share of false alarms lies between 0 and 1, such as 0.01")
    order = np.random.default_rng(seed).permutation(len(features))
    references = _scaled(features[_even(labels, order, most_references(classes))])
    scores = _held_out(features[np.sort(order[:_MEASURED])], references)
    threshold, promised = _line(scores, rate)
    return Unknown(references, threshold, promised)


def most_references(classes: int) -> int:
    """How many photos are compared with at most."""
    return max(_REFERENCES, _PER_CLASS * classes)


def _even(labels: Labels, order: Labels, most: int) -> Labels:
    """Places of at most `most` photos, as many of each class as there are, in a shuffled order."""
    turn = np.empty(len(labels), np.int64)
    seen: dict[int, int] = {}
    for at in order.tolist():
        turn[at] = seen[int(labels[at])] = seen.get(int(labels[at]), -1) + 1
    return np.sort(order[np.argsort(turn[order], kind="stable")][:most])


def _held_out(features: Floats, references: Floats) -> Floats:
    """The score of each training photo against the references but itself and its copies; infinite with too many."""
    parts = [np.zeros(0, np.float32)]
    squares = _squares(references)
    for start in range(0, len(features), _ROWS):
        distances = _distances(_scaled(features[start : start + _ROWS]), references, squares)
        distances[distances < _SAME] = np.inf
        parts.append(_nearest(distances))
    return np.concatenate(parts)


def _line(scores: Floats, rate: float) -> tuple[float, float]:
    """The threshold and the rate that it promises (split conformal prediction: Vovk et al. 2005, Lei et al. 2018)."""
    scores = np.sort(scores[np.isfinite(scores)])
    least = 1 / (len(scores) + 1)
    promised = max(rate, least)
    if promised > max(rate, _WORTH):
        return math.inf, 0.0
    below = max(1, math.ceil((len(scores) + 1) * (1 - promised) - 1e-9))
    return float(scores[below - 1]), promised


def _scaled(features: Floats) -> Floats:
    """Vectors of length 1; one of zeros stays so."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = (features / np.maximum(lengths, np.float32(1e-12))).astype(np.float32)
    return scaled


def _squares(rows: Floats) -> Floats:
    squares: Floats = np.sum(rows**2, axis=1)
    return squares


def _distances(features: Floats, references: Floats, squares: Floats) -> Floats:
    """Euclidean distances `[n, m]` of vectors of length 1 (or 0); `squares` are those of the references' lengths."""
    both = _squares(features)[:, None] + squares
    distances: Floats = np.sqrt(np.maximum(both - 2 * (features @ references.T), 0))
    return distances


def _nearest(distances: Floats) -> Floats:
    """The mean `[n]` of each row's least distances; with few references of one less, as each of them has others."""
    count = max(1, min(_NEIGHBOURS, distances.shape[1] - 1))
    means: Floats = np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1)
    return means
