"""A classification head: class probabilities from an image's features.

Its logits are linear in the features x as they are and in their normalised form: the signed square root of x, scaled to
length 1 (power normalisation: Perronnin et al. 2010), beside what the backbone's own ImageNet classifier says of the
image, scaled to length 1 as well: its logits less their mean and half a standard deviation, negative ones zero. What a
network trained on a million labelled images already knows of dogs and cats decides where photos are few.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.learning.calibration import softmax
from tl.linalg import unit

Floats = NDArray[np.float32]

IMAGENET_WEIGHT = 0.7  # of the ImageNet part beside the square roots: 1 is better for one image a class, 0.5 for twenty
IMAGENET_LEVEL = 0.5  # standard deviations: 0, 1 and 2 are worse for one image a class or for twenty
_ROWS = 4096  # images at a time


@dataclass(frozen=True)
class Head:
    """Logits `x @ kernel + normalized(x) @ normalized_kernel + bias` of features x `[n, features]`.

    `kernel` is float32 `[features, classes]`, `bias` `[classes]`, `normalized_kernel` `[features (+ 1000), classes]` or
    None, `imagenet` `[features, 1000]` the kernel of the backbone's ImageNet classifier, None where it has none.
    """

    kernel: Floats
    bias: Floats
    temperature: float
    normalized_kernel: Floats | None = None
    imagenet: Floats | None = None

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""
        extra = 0 if self.normalized_kernel is None else self.normalized_kernel.size
        return self.kernel.size + self.bias.size + extra

    def logits(self, features: Floats) -> Floats:
        """Logits `[n, classes]` of features `[n, features]`."""
        scores: Floats = features @ self.kernel + self.bias
        if self.normalized_kernel is not None:
            for start in range(0, len(features), _ROWS):
                some = slice(start, start + _ROWS)
                scores[some] += normalized(features[some], self.imagenet) @ self.normalized_kernel
        return scores

    def probabilities(self, features: Floats) -> Floats:
        """Calibrated class probabilities `[n, classes]`."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: Floats) -> Floats:
        """Calibrated class probabilities of logits `[n, classes]`."""
        return softmax(logits / np.float32(self.temperature))

    def gradient(self, features: Floats, label: int) -> Floats:
        """The gradient `[features]` of a class's logit at the features `[features]` of one image."""
        slope = self.kernel[:, label].astype(np.float64)
        if self.normalized_kernel is None:
            return slope.astype(np.float32)
        x, outer = features.astype(np.float64), self.normalized_kernel[:, label].astype(np.float64)
        size = np.sqrt(np.maximum(np.abs(x), 1e-6))
        slope = slope + _through_unit(np.sign(x) * size, outer[: len(x)]) / (2 * size)
        if self.imagenet is not None:
            logits = x @ self.imagenet
            centred = logits - logits.mean()
            spread = max(float(centred.std()), 1e-12)
            kept = np.maximum(centred - IMAGENET_LEVEL * spread, 0)
            inner = IMAGENET_WEIGHT * _through_unit(kept, outer[len(x) :]) * (kept > 0)
            inner = inner - inner.sum() * IMAGENET_LEVEL * centred / (len(centred) * spread)
            slope += self.imagenet @ (inner - inner.mean())
        gradient: Floats = slope.astype(np.float32)
        return gradient


def normalized(features: Floats, imagenet: Floats | None) -> Floats:
    """The normalised form `[n, features (+ 1000)]` of features `[n, features]`; see the module."""
    roots = unit(np.sign(features) * np.sqrt(np.abs(features)))
    if imagenet is None:
        return roots
    logits = features @ imagenet
    logits -= logits.mean(axis=1, keepdims=True)
    logits -= np.float32(IMAGENET_LEVEL) * logits.std(axis=1, keepdims=True)
    both: Floats = np.hstack([roots, np.float32(IMAGENET_WEIGHT) * unit(np.maximum(logits, 0, out=logits))])
    return both


def _through_unit(vector: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient with respect to a vector of `slope @ vector` after the vector is scaled to length 1."""
    length = max(float(np.linalg.norm(vector)), 1e-12)
    direction = vector / length
    across: NDArray[np.float64] = (slope - direction * (direction @ slope)) / length
    return across
