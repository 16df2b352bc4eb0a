"""Fit a head to features: softmax regression, with L2 regularisation chosen on held-out training images.

A linear probe as in Kornblith et al. 2019 and Radford et al. 2021: L-BFGS along a path of L2, from strong to weak, each
fit starting from the one before. Features are standardised first; with fewer images than features, the problem is
solved in the space that the images span, which is a rotation: the same solution, much faster.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.learning.calibration import fit_temperature, log_loss, softmax
from tl.linalg import OneThread
from tl.progress import Progress

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

# The best L2 for 40 images as for 50,000 lies between 1 (almost ignores the images) and 1e-4 (separates any few
# thousand of them); steps of sqrt(10) are fine enough, as the loss is flat around its minimum.
_L2_PATH = tuple(10 ** (-step / 2) for step in range(9))
_FOLDS = 5
_ROUGH, _FINE = 1e-4, 1e-6  # gradient tolerances: 1e-4 ranks the L2 as 1e-6 does, in half the time


@dataclass(frozen=True)
class Head:
    """`kernel` float32 `[features, classes]`, `bias` float32 `[classes]`, and the temperature of the logits."""

    kernel: Floats
    bias: Floats
    temperature: float

    def logits(self, features: Floats) -> Floats:
        """Logits `[n, classes]` of features `[n, features]`."""
        scores: Floats = features @ self.kernel + self.bias
        return scores

    def probabilities(self, features: Floats) -> Floats:
        """Calibrated class probabilities `[n, classes]`."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: Floats) -> Floats:
        """Calibrated class probabilities of logits `[n, classes]`."""
        return softmax(logits / np.float32(self.temperature))


@dataclass(frozen=True)
class Trial:
    """One L2 of the path, with the log-loss and the accuracy on held-out training images."""

    l2: float
    log_loss: float
    top1: float


@dataclass(frozen=True)
class HeadFit:
    """A fitted head, the L2 chosen for it, the trials it was chosen from, and the number of held-out folds."""

    head: Head
    l2: float
    trials: tuple[Trial, ...]
    folds: int


def fit_head(
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    fingerprints: Sequence[bytes],
    seed: int = 0,
    progress: Progress | None = None,
) -> HeadFit:
    """Fit a head to features `[n, features]` and labels `[n]` in `range(classes)`.

    The L2 is the one with the smallest log-loss on training images held out from its fit; images with the same
    fingerprint are in the same fold. The temperature is fitted on the same held-out logits.
    """
    # A single hold-out of few images is noisy: five folds below 2,000; above, a fifth held out once decides as well.
    few = len(features) < 2000
    # Warm-started along the path, 30 iterations per L2 come within 0.1 points of the converged solution.
    iterations = 100 if few else 30
    # Matrices of a thousand images are too small to share: a second BLAS thread doubles the processor time.
    one_thread = len(features) < 1000
    folds = assign_folds(labels, fingerprints, _FOLDS, seed)
    held_out = range(_FOLDS if few else 1)
    progress = progress or Progress()
    with OneThread(now=one_thread), progress.task("fitting the head", len(held_out) + 1, "fits") as task:
        logits: list[list[Floats]] = [[] for _ in _L2_PATH]
        for fold in held_out:
            train = folds != fold
            problem = _Problem(features[train], labels[train], classes, iterations)
            standard = problem.standardise(features[~train])
            for at, weights in enumerate(problem.path(_L2_PATH, _ROUGH)):
                logits[at].append(standard @ weights[:-1] + weights[-1])
            task.advance()
        truth = np.concatenate([labels[folds == fold] for fold in held_out])
        scores = [np.concatenate(parts) for parts in logits]
        trials = tuple(
            Trial(l2, log_loss(part, truth), float(np.mean(part.argmax(axis=1) == truth)))
            for l2, part in zip(_L2_PATH, scores, strict=True)
        )
        best = min(range(len(trials)), key=lambda at: trials[at].log_loss)
        problem = _Problem(features, labels, classes, iterations)
        kernel, bias = problem.as_head(list(problem.path(_L2_PATH[: best + 1], _FINE))[-1])
        task.advance()
    head = Head(kernel, bias, fit_temperature(scores[best], truth))
    return HeadFit(head, trials[best].l2, trials, len(held_out))


class _Problem:
    """Softmax regression on standardised features, in the space of the features or, if smaller, of the images."""

    def __init__(self, features: Floats, labels: Labels, classes: int, iterations: int) -> None:
        mean, spread = _moments(features)
        self._mean = mean.astype(np.float32)
        useful = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
        self._scale = np.where(useful, 1 / np.where(useful, spread, 1), 0).astype(np.float32)
        self._back: Floats | None = None
        self._standard = self.standardise(features)
        if self._standard.shape[0] < self._standard.shape[1]:
            self._standard, self._back = _rotated(self._standard)
        self._labels, self._classes, self._iterations = labels, classes, iterations

    def standardise(self, features: Floats) -> Floats:
        """Map features `[n, features]` into the space of the problem."""
        standard: Floats = features - self._mean
        standard *= self._scale  # in place: with 50,000 images each copy takes 400 MB
        return standard if self._back is None else standard @ self._back

    def path(self, l2_path: Sequence[float], tolerance: float) -> Iterator[Floats]:
        """Weights `[space + 1, classes]`, the bias last, for each L2 in turn."""
        from scipy.optimize import minimize

        start = np.zeros((self._standard.shape[1] + 1) * self._classes)
        for l2 in l2_path:
            limits: Any = {"maxiter": self._iterations, "maxcor": 10, "gtol": tolerance, "ftol": tolerance * 1e-3}
            start = minimize(self._loss, start, args=(l2,), jac=True, method="L-BFGS-B", options=limits).x
            yield start.reshape(-1, self._classes).astype(np.float32)

    def as_head(self, weights: Floats) -> tuple[Floats, Floats]:
        """Kernel `[features, classes]` and bias `[classes]` for features as they are."""
        kernel, bias = weights[:-1].astype(np.float64), weights[-1].astype(np.float64)
        if self._back is not None:
            kernel = self._back.astype(np.float64) @ kernel
        kernel = kernel * self._scale[:, None]
        return kernel.astype(np.float32), (bias - self._mean.astype(np.float64) @ kernel).astype(np.float32)

    def _loss(self, flat: NDArray[np.float64], l2: float) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(-1, self._classes).astype(np.float32)
        kernel, bias = weights[:-1], weights[-1]
        logits = self._standard @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        of_truth = logits[np.arange(len(logits)), self._labels].astype(np.float64)
        residual = np.exp(logits)
        total = residual.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0].astype(np.float64)) - of_truth))
        residual /= total
        residual[np.arange(len(logits)), self._labels] -= 1
        residual /= len(logits)
        slope = np.vstack([self._standard.T @ residual + l2 * kernel, residual.sum(axis=0)])
        penalty = 0.5 * l2 * float(np.sum(kernel.astype(np.float64) ** 2))
        return loss + penalty, slope.ravel().astype(np.float64)


def _moments(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature in float64, without a float64 copy of all features."""
    mean = features.mean(axis=0, dtype=np.float64)
    squares = np.zeros(features.shape[1])
    for start in range(0, len(features), 1024):
        squares += np.square(features[start : start + 1024] - mean).sum(axis=0)
    return mean, np.sqrt(squares / len(features))


def _rotated(standard: Floats) -> tuple[Floats, Floats]:
    """Coordinates `[n, rank]` of the rows and the orthonormal map `[features, rank]` back, from the Gram matrix."""
    values, vectors = np.linalg.eigh((standard @ standard.T).astype(np.float64))
    nonzero = values > max(float(values[-1]), 0.0) * 1e-6  # below that is float32 noise
    lengths = np.sqrt(values[nonzero])
    back: Floats = standard.T @ (vectors[:, nonzero] / lengths).astype(np.float32)
    return (vectors[:, nonzero] * lengths).astype(np.float32), back


def assign_folds(labels: Labels, fingerprints: Sequence[bytes], folds: int, seed: int) -> Labels:
    """The fold `[n]` of each image, by content: equally many per class, the same on any machine and in any order."""
    salt = seed.to_bytes(8, "big", signed=True)
    order = sorted(range(len(labels)), key=lambda at: hashlib.sha256(salt + fingerprints[at]).digest())
    placed: dict[bytes, int] = {}
    count: dict[int, int] = {}
    for at in order:
        label = int(labels[at])
        if fingerprints[at] not in placed:
            placed[fingerprints[at]] = (count.get(label, 0) + label) % folds
            count[label] = count.get(label, 0) + 1
    return np.array([placed[fingerprint] for fingerprint in fingerprints], np.int64)
