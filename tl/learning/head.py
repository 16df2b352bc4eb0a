"""Features and labels become a head: L2-regularised softmax regression, its strength chosen on held-out training data.

Linear evaluation as in Kornblith et al. 2019 and Radford et al. 2021: L-BFGS along a path of strengths, from strong to
weak, each starting where the one before it ended. Features are standardised first; with fewer photos than features the
same problem is solved in the space that the photos span (a rotation: the same solution, in a blink).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.blas import OneThread
from tl.learning.calibration import log_loss, softmax, temperature
from tl.learning.rules import HeadRule, head_rule
from tl.progress import Progress

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """`kernel` float32 `[features, classes]`, `bias` float32 `[classes]`, and the temperature of their logits."""

    kernel: Floats
    bias: Floats
    temperature: float

    def logits(self, features: Floats) -> Floats:
        """Raw scores `[n, classes]` of features `[n, features]`."""
        scores: Floats = features @ self.kernel + self.bias
        return scores

    def probabilities(self, features: Floats) -> Floats:
        """Calibrated class probabilities `[n, classes]`."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: Floats) -> Floats:
        """The class probabilities that raw scores `[n, classes]` stand for."""
        return softmax(logits / np.float32(self.temperature))


@dataclass(frozen=True)
class Trial:
    """One strength of the path: L2 `strength`, and how the held-out training photos came out."""

    strength: float
    log_loss: float
    top1: float


@dataclass(frozen=True)
class Fit:
    """A fitted head, the strength it was given and the trials that led to it."""

    head: Head
    strength: float
    trials: tuple[Trial, ...]
    folds: int


def fit(
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    fingerprints: Sequence[bytes],
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """The head for features `[n, features]` and labels `[n]` in `range(classes)`.

    The strength is the one with the least log-loss on training photos that were held out from its fit; photos of
    the same fingerprint are held out together. The temperature is fitted on the same held-out logits.
    """
    rule = head_rule(len(features))
    with OneThread(now=rule.one_thread):
        return _fit(features, labels, classes, rule, fingerprints, seed, progress or Progress())


def _fit(
    features: Floats,
    labels: Labels,
    classes: int,
    rule: HeadRule,
    fingerprints: Sequence[bytes],
    seed: int,
    progress: Progress,
) -> Fit:
    folds = folds_of(labels, fingerprints, rule.folds, seed)
    rounds = list(range(rule.folds if rule.every_fold else 1))
    with progress.task("fitting the head", len(rounds) + 1, "fits") as task:
        held_out: list[list[Floats]] = [[] for _ in rule.strengths]
        truth: list[Labels] = []
        for fold in rounds:
            inside = folds != fold
            for place, logits in enumerate(_tried(features, labels, classes, rule, inside)):
                held_out[place].append(logits)
            truth.append(labels[~inside])
            task.advance()
        trials, judged, known = _judged(rule, held_out, np.concatenate(truth))
        best = min(range(len(trials)), key=lambda place: trials[place].log_loss)
        problem = _Problem(features, labels, classes, rule)
        kernel, bias = problem.as_head(list(problem.path(rule.strengths[: best + 1], rule.fine))[-1])
        task.advance()
    head = Head(kernel, bias, temperature(judged[best], known))
    return Fit(head, trials[best].strength, tuple(trials), len(rounds))


def _tried(
    features: Floats, labels: Labels, classes: int, rule: HeadRule, inside: NDArray[np.bool_]
) -> Iterator[Floats]:
    """Logits of the photos that are not inside, from the others, at each strength."""
    problem = _Problem(features[inside], labels[inside], classes, rule)
    seen = problem.standardised(features[~inside])
    for weights in problem.path(rule.strengths, rule.rough):
        yield seen @ weights[:-1] + weights[-1]


class _Problem:
    """Softmax regression on standardised features, in the smaller of the photos' and the features' space."""

    def __init__(self, features: Floats, labels: Labels, classes: int, rule: HeadRule) -> None:
        mean, spread = _moments(features)
        self._mean = mean.astype(np.float32)
        useful = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)  # a constant feature tells nothing
        self._scale = np.where(useful, 1 / np.where(useful, spread, 1), 0).astype(np.float32)
        self._back: Floats | None = None
        self._standard = self.standardised(features)
        if self._standard.shape[0] < self._standard.shape[1]:
            self._standard, self._back = _rotated(self._standard)
        self._labels, self._classes, self._rule = labels, classes, rule

    def standardised(self, features: Floats) -> Floats:
        """Features `[n, features]` in the space of the problem."""
        standard: Floats = features - self._mean
        standard *= self._scale  # in place: with 50,000 photos each copy is 400 MB
        return standard if self._back is None else standard @ self._back

    def path(self, strengths: Sequence[float], tolerance: float) -> Iterator[Floats]:
        """Weights `[space + 1, classes]`, the bias last, at each strength in turn."""
        from scipy.optimize import minimize

        start = np.zeros((self._standard.shape[1] + 1) * self._classes)
        for strength in strengths:
            solved = minimize(
                self._loss,
                start,
                args=(strength,),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": self._rule.iterations, "maxcor": 10, "gtol": tolerance, "ftol": tolerance * 1e-3},
            )
            start = solved.x
            yield start.reshape(-1, self._classes).astype(np.float32)

    def as_head(self, weights: Floats) -> tuple[Floats, Floats]:
        """Kernel `[features, classes]` and bias `[classes]` for features as they come."""
        kernel, bias = weights[:-1].astype(np.float64), weights[-1].astype(np.float64)
        if self._back is not None:
            kernel = self._back.astype(np.float64) @ kernel
        kernel = kernel * self._scale[:, None]
        return kernel.astype(np.float32), (bias - self._mean.astype(np.float64) @ kernel).astype(np.float32)

    def _loss(self, flat: NDArray[np.float64], strength: float) -> tuple[float, NDArray[np.float64]]:
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
        slope = np.vstack([self._standard.T @ residual + strength * kernel, residual.sum(axis=0)])
        penalty = 0.5 * strength * float(np.sum(kernel.astype(np.float64) ** 2))
        return loss + penalty, slope.ravel().astype(np.float64)


def _moments(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature, in double precision, without a copy of all of them in it."""
    mean = features.mean(axis=0, dtype=np.float64)
    squares = np.zeros(features.shape[1])
    for start in range(0, len(features), 1024):
        squares += np.square(features[start : start + 1024] - mean).sum(axis=0)
    return mean, np.sqrt(squares / len(features))


def _rotated(standard: Floats) -> tuple[Floats, Floats]:
    """Coordinates `[n, rank]` of the rows and the orthonormal map `[features, rank]` back, from the Gram matrix."""
    values, vectors = np.linalg.eigh((standard @ standard.T).astype(np.float64))
    real = values > max(float(values[-1]), 0.0) * 1e-6  # below that, float32 noise
    lengths = np.sqrt(values[real])
    back: Floats = standard.T @ (vectors[:, real] / lengths).astype(np.float32)
    return (vectors[:, real] * lengths).astype(np.float32), back


def folds_of(labels: Labels, fingerprints: Sequence[bytes], folds: int, seed: int) -> Labels:
    """A fold for every photo, even within each class, by content: the same on any machine and in any order."""
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


def _judged(rule: HeadRule, held_out: list[list[Floats]], known: Labels) -> tuple[list[Trial], list[Floats], Labels]:
    logits = [np.concatenate(parts) for parts in held_out]
    trials = [
        Trial(strength, log_loss(scores, known), float(np.mean(scores.argmax(axis=1) == known)))
        for strength, scores in zip(rule.strengths, logits, strict=True)
    ]
    return trials, logits, known
