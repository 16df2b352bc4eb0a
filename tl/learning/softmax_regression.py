"""Softmax regression with an L2 penalty, on standardised features.

A linear probe as in Kornblith et al. 2019 and Radford et al. 2021: L-BFGS along a path of L2, from strong to weak, each
fit starting from the one before. With fewer images than features, the problem is solved in the space that the images
span, which is a rotation: the same solution, much faster.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class SoftmaxRegression:
    """The problem of features `[n, features]` and labels `[n]`, in the space of the features or of the images.

    `weights` `[n]` are those of the images in the loss, 1 on average.
    """

    def __init__(
        self, features: Floats, labels: Labels, classes: int, iterations: int, *, weights: Floats | None = None
    ) -> None:
        mean, spread = _moments(features)
        self._mean = mean.astype(np.float32)
        useful = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
        self._scale = np.where(useful, 1 / np.where(useful, spread, 1), 0).astype(np.float32)
        self._back: Floats | None = None
        self._standard: Floats = features - self._mean
        self._standard *= self._scale  # in place: with 50,000 images each copy takes 400 MB
        if self._standard.shape[0] < self._standard.shape[1]:
            self._standard, self._back = _rotated(self._standard)
        self._labels, self._classes, self._iterations, self._weights = labels, classes, iterations, weights

    def path(
        self, l2_path: Sequence[float], tolerance: float, start: tuple[Floats, Floats] | None = None
    ) -> Iterator[tuple[Floats, Floats]]:
        """Kernel `[features, classes]` and bias `[classes]` for each L2 in turn.

        `tolerance` is that of the gradient, `start` a kernel and bias to start from.
        """
        from scipy.optimize import minimize

        weights = np.zeros((self._standard.shape[1] + 1) * self._classes)
        if start is not None:
            weights = self._from_head(*start).ravel()
        for l2 in l2_path:
            limits: Any = {"maxiter": self._iterations, "maxcor": 10, "gtol": tolerance, "ftol": tolerance * 1e-3}
            weights = minimize(self._loss, weights, args=(l2,), jac=True, method="L-BFGS-B", options=limits).x
            yield self._as_head(weights.reshape(-1, self._classes))

    def _from_head(self, kernel: Floats, bias: Floats) -> NDArray[np.float64]:
        standard = kernel / np.where(self._scale > 0, self._scale, 1)[:, None]
        if self._back is not None:
            standard = self._back.T @ standard
        return np.vstack([standard, bias + self._mean @ kernel]).astype(np.float64)

    def _as_head(self, weights: NDArray[np.float64]) -> tuple[Floats, Floats]:
        kernel, bias = weights[:-1], weights[-1]
        if self._back is not None:
            kernel = self._back.astype(np.float64) @ kernel
        kernel = kernel * self._scale[:, None]
        return kernel.astype(np.float32), (bias - self._mean.astype(np.float64) @ kernel).astype(np.float32)

    def _loss(self, flat: NDArray[np.float64], l2: float) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(-1, self._classes).astype(np.float32)
        kernel, bias = weights[:-1], weights[-1]
        logits = self._standard @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        truth = np.arange(len(logits)), self._labels
        of_truth = logits[truth].astype(np.float64)
        residual = np.exp(logits, out=logits)
        total = residual.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0].astype(np.float64)) - of_truth
        residual /= total
        residual[truth] -= 1
        if self._weights is not None:
            losses *= self._weights
            residual *= self._weights[:, None]
        loss = float(np.mean(losses))
        residual /= len(logits)
        slope = np.vstack([self._standard.T @ residual + np.float32(l2) * kernel, residual.sum(axis=0)])
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
