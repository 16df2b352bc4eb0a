"""Fit a head to features: linear members judged by cross-validation and mixed by their log-loss.

The members are shrunken linear discriminant analysis on normalised features and on features as they are, and softmax
regression; `tl.learning.hyperparameters.head_rule` says which for how many images. Every image gets logits from members
that were fitted without it. The weights of the members, at least 0, minimise the log-loss of these logits, with a
normal prior: stacking (Wolpert 1992) of logits (a logarithmic opinion pool) and temperature scaling at once. The head
is the weighted sum of the members fitted on all images, so that it predicts as fast as one of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tl.errors import DataError
from tl.learning.calibration import log_loss
from tl.learning.head import Head, normalized
from tl.learning.hyperparameters import HEAD_MEMBERS, HeadRule, head_rule
from tl.learning.lda import ROWS, covariances
from tl.learning.softmax_regression import SoftmaxRegression
from tl.linalg import OneThread
from tl.progress import Progress
from tl.text import count

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Candidate = tuple[str, float]  # a member, with its shrinkage or its L2

HEADS = ("auto", "softmax", "lda", "mean")
_MEMBERS = {
    "auto": HEAD_MEMBERS,
    "softmax": ("softmax",),
    "lda": ("normalized", "lda"),
    "mean": ("normalized",),
    "linear": ("lda", "softmax"),  # of features as they are: what a network can be trained on from
}
_NAMES = {"normalized": "LDA on normalized features", "lda": "LDA", "softmax": "softmax regression"}
_JUDGES = 5000  # images for the weights of the members, which are few numbers
_MOST_LOGITS = 20_000_000  # of a candidate; with more only one shrinkage is tried
_TOLERANCE = 1e-4  # of the gradient of softmax regression


@dataclass(frozen=True)
class Trial:
    """A candidate for the head, with the log-loss and the accuracy on images it was not fitted on."""

    name: str
    log_loss: float
    top1: float


@dataclass(frozen=True)
class HeadFit:
    """A head and how it was chosen.

    `logits` `[n, classes]` are calibrated and come from members fitted without the image, where `judged` `[n]`; `folds`
    is the number of folds (0: too few images). `weights` are those of the members, `shrinkage` and `l2` theirs.
    """

    head: Head
    weights: dict[str, float]
    shrinkage: float | None
    l2: float | None
    folds: int
    logits: Floats
    judged: NDArray[np.bool_]
    trials: tuple[Trial, ...]

    @property
    def sentence(self) -> str:
        """What the head is."""
        names = [name for name, weight in self.weights.items() if weight > 0]
        if self.shrinkage == 1:
            kinds = {"normalized": "nearest class mean on normalized features", "lda": "nearest class mean"}
        else:
            kinds = {"normalized": _NAMES["normalized"], "lda": _NAMES["lda"]}
        words = [kinds.get(name, _NAMES[name]) for name in names] or ["constant: nothing predicts held-out images"]
        numbers = [] if self.shrinkage in (None, 1) else [f"shrinkage {self.shrinkage:g}"]
        numbers += [f"L2 {self.l2:.2g}"] if self.l2 is not None and "softmax" in names else []
        judged = f"{self.folds}-fold cross-validation" if self.folds else "too few images for cross-validation"
        return f"{' + '.join(words)} ({', '.join([*numbers, judged])})"


def fit_head(
    features: Floats,
    labels: Labels,
    classes: int,
    *,
    fingerprints: Sequence[bytes],
    imagenet: Floats | None = None,
    kind: str = "auto",
    class_weights: Sequence[float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> HeadFit:
    """Fit a head to features `[n, features]` and labels `[n]` in `range(classes)`.

    Images with the same fingerprint are in the same fold, except that all are trained on and none judged where a class
    would have no others. `imagenet` `[features, 1000]` is the kernel of the backbone's
    ImageNet classifier, `kind` one of `HEADS`, or "linear" for one without normalised features. `class_weights`
    `[classes]` weigh the images of each class in the losses of softmax regression and of the mixture; LDA knows class
    means, which all count the same. Raises DataError for features that are not finite.
    """
    if not np.isfinite(features).all():
        broken = int((~np.isfinite(features).all(axis=1)).sum())
        images = count(broken, "image")
        raise DataError(f"the backbone computes features that are not finite for {images}: try other weights")
    distinct, present = len(set(zip(labels.tolist(), fingerprints, strict=True))), len(np.unique(labels))
    rule, of_all = head_rule(distinct, present, kind), head_rule(len(labels), present, kind)
    # Copies and groups say no more than one image each, but they take as long.
    rule = replace(
        rule, folds=min(rule.folds, of_all.folds), iterations=of_all.iterations, starts_from_lda=of_all.starts_from_lda
    )
    members = [name for name in _MEMBERS[kind] if name in rule.weights]
    folds = assign_folds(labels, fingerprints, rule.folds, seed) if rule.folds else np.full(len(labels), -1, np.int64)
    folds[irreplaceable(labels, fingerprints)] = -1  # never held out
    progress = progress or Progress()
    # Products of few rows are too small to share: with 2,000 a second BLAS thread takes 3.5 times the processor time.
    with OneThread(now=len(features) < 2500), progress.task("fitting the head", len(members), "members") as task:
        candidates = _Candidates(features, labels, classes, folds, imagenet, rule)
        if class_weights is not None:
            candidates.weights = np.array(class_weights, np.float32)[labels]
        for name in members:
            candidates.fit(name)
            task.advance()
    return _mixed(candidates, members, rule, imagenet, seed)


class _Candidates:
    """Members at each shrinkage or L2: kernel and bias fitted on all images, and logits of those held out in turn."""

    def __init__(
        self, features: Floats, labels: Labels, classes: int, folds: Labels, imagenet: Floats | None, rule: HeadRule
    ) -> None:
        self.features, self.labels, self.classes, self.folds, self.rule = features, labels, classes, folds, rule
        self.fitted: dict[Candidate, tuple[Floats, Floats]] = {}
        self.logits: dict[Candidate, Floats] = {}
        self._starts: dict[int, tuple[Floats, Floats]] = {}
        self.weights: Floats | None = None  # of the images in every loss, 1 on average
        self._imagenet = imagenet
        self._width = features.shape[1] + (0 if imagenet is None else imagenet.shape[1])
        self._normalized = normalized(features, imagenet) if len(features) < ROWS else None
        many = len(features) * classes > _MOST_LOGITS
        self.shrinkages = rule.shrinkages[len(rule.shrinkages) // 2 :][:1] if many else rule.shrinkages
        self.judged = np.zeros(len(labels), bool)
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            in_training = np.bincount(labels[~out], minlength=classes) > 0
            self.judged |= out & in_training[labels]

    def fit(self, name: str) -> None:
        """Fit a member on all images and, for each fold, on the others."""
        if name == "softmax":
            self._fit_softmax()
        else:
            self._fit_lda(name)

    def spread(self, candidate: Candidate) -> float:
        """The standard deviation of a candidate's logits over judged images, each image's mean taken off."""
        if self.judged.any():
            logits = self.logits[candidate][self.judged]
        else:
            kernel, bias = self.fitted[candidate]
            some = np.arange(min(len(self.labels), 500))
            logits = self._rows(candidate[0], some) @ kernel + bias
            # With one image a class each is its own class mean: that much farther away than a new one.
            logits = (logits - logits.mean(axis=1, keepdims=True)) * np.float32(1 - 1 / self.classes)
        return max(float(np.std(logits)), 1e-12)

    def _rows(self, name: str, at: Labels) -> Floats:
        if name != "normalized":
            return self.features[at]
        return normalized(self.features[at], self._imagenet) if self._normalized is None else self._normalized[at]

    def _fit_lda(self, name: str) -> None:
        shape = (len(self.labels), self.classes)
        self.logits |= {(name, shrinkage): np.zeros(shape, np.float32) for shrinkage in self.shrinkages}
        width = self._width if name == "normalized" else self.features.shape[1]
        for fold, covariance in covariances(
            lambda at: self._rows(name, at), width, self.labels, self.classes, self.folds
        ):
            solved = {shrinkage: covariance.weights(shrinkage) for shrinkage in self.shrinkages}
            if name == "lda":
                self._starts[fold] = solved[self.shrinkages[-1]]
            if fold < 0:
                self.fitted |= {(name, shrinkage): weights for shrinkage, weights in solved.items()}
                continue
            members = np.flatnonzero(self.folds == fold)
            for start in range(0, len(members), ROWS):
                some = members[start : start + ROWS]
                rows = self._rows(name, some)
                for shrinkage, (kernel, bias) in solved.items():
                    self._keep((name, shrinkage), some, rows @ kernel + bias, covariance.seen)

    def _fit_softmax(self) -> None:
        shape = (len(self.labels), self.classes)
        self.logits |= {("softmax", l2): np.zeros(shape, np.float32) for l2 in self.rule.l2_path}
        for fold in (*range(int(self.folds.max()) + 1), -1):
            train = np.flatnonzero(self.folds != fold) if fold >= 0 else np.arange(len(self.labels))
            rows, labels = (self.features, self.labels) if fold < 0 else (self.features[train], self.labels[train])
            start = self._start(fold, rows)
            weights = None if self.weights is None else self.weights[train]
            problem = SoftmaxRegression(rows, labels, self.classes, self.rule.iterations, weights=weights)
            for l2, (kernel, bias) in zip(
                self.rule.l2_path, problem.path(self.rule.l2_path, _TOLERANCE, start), strict=True
            ):
                if fold < 0:
                    self.fitted["softmax", l2] = kernel, bias
                else:
                    held_out = np.flatnonzero(self.folds == fold)
                    seen = np.bincount(labels, minlength=self.classes) > 0
                    self._keep(("softmax", l2), held_out, self.features[held_out] @ kernel + bias, seen)

    def _start(self, fold: int, rows: Floats) -> tuple[Floats, Floats] | None:
        """Where softmax regression starts with many images: LDA, its logits as far apart as those will be."""
        if fold not in self._starts or not self.rule.starts_from_lda:
            return None
        kernel, bias = self._starts[fold]
        logits = rows[:2000] @ kernel + bias
        scale = np.float32(2.7 / max(float((logits - logits.mean(axis=1, keepdims=True)).std()), 1e-6))
        return kernel * scale, bias * scale

    def _keep(self, candidate: Candidate, at: Labels, logits: Floats, seen: NDArray[np.bool_]) -> None:
        """Keep logits less their mean; a class without images outside of the fold is as unlikely as the last."""
        if not seen.all():
            logits[:, ~seen] = logits[:, seen].min(axis=1, keepdims=True)
        self.logits[candidate][at] = logits - logits.mean(axis=1, keepdims=True)


def _mixed(
    candidates: _Candidates, members: Sequence[str], rule: HeadRule, imagenet: Floats | None, seed: int
) -> HeadFit:
    judged = np.flatnonzero(candidates.judged)
    judges = np.sort(np.random.default_rng(seed).permutation(judged)[:_JUDGES])
    labels, prior = candidates.labels[judges], np.array([rule.weights[name] for name in members])
    spreads = {candidate: candidates.spread(candidate) for candidate in candidates.fitted}
    scaled = {each: candidates.logits[each][judges] / np.float32(spreads[each]) for each in candidates.logits}
    trials, best = [], None
    image_weights = None if candidates.weights is None else candidates.weights[judges]
    for candidate, logits in scaled.items() if len(judges) else ():
        weight, _ = mixture_weights([logits], labels, np.array([prior.sum()]), image_weights)
        parameter = f"L2 {candidate[1]:.2g}" if candidate[0] == "softmax" else f"shrinkage {candidate[1]:g}"
        trials.append(_trial(f"{_NAMES[candidate[0]]}, {parameter}", logits * np.float32(weight[0]), labels))
    for chosen in _choices(members, candidates.shrinkages, rule.l2_path):
        weights, loss = (
            mixture_weights([scaled[each] for each in chosen], labels, prior, image_weights)
            if len(judges)
            else (prior, 0.0)
        )
        if best is None or loss < best[0]:
            best = loss, weights, chosen
    if best is None:
        raise ValueError("no members to mix")
    _, weights, chosen = best
    parts = {each: np.float32(weight / spreads[each]) for each, weight in zip(chosen, weights, strict=True)}
    logits = np.zeros((len(candidates.labels), candidates.classes), np.float32)
    for each, part in parts.items():
        logits += candidates.logits[each] * part
    if len(judges) and len(members) > 1:
        trials.append(_trial("the mixture", logits[judges], labels))
    parameters = dict(chosen)
    return HeadFit(
        head=_sum_of(candidates, parts, imagenet),
        weights={name: round(float(weight), 4) for name, weight in zip(members, weights, strict=True)},
        shrinkage=next((value for name, value in parameters.items() if name != "softmax"), None),
        l2=parameters.get("softmax"),
        folds=rule.folds if len(judges) else 0,
        logits=logits,
        judged=candidates.judged,
        trials=tuple(trials),
    )


def _choices(
    members: Sequence[str], shrinkages: Sequence[float], l2_path: Sequence[float]
) -> Iterable[tuple[Candidate, ...]]:
    """A candidate of each member, for each shrinkage and L2; all LDAs have the same shrinkage."""
    for shrinkage in shrinkages if set(members) != {"softmax"} else shrinkages[:1]:
        for l2 in l2_path if "softmax" in members else l2_path[:1]:
            yield tuple((name, l2 if name == "softmax" else shrinkage) for name in members)


def _trial(name: str, logits: Floats, labels: Labels) -> Trial:
    return Trial(name, log_loss(logits, labels), float(np.mean(logits.argmax(axis=1) == labels)))


def _sum_of(candidates: _Candidates, parts: dict[Candidate, np.float32], imagenet: Floats | None) -> Head:
    width = candidates.features.shape[1]
    kernel, bias = np.zeros((width, candidates.classes), np.float32), np.zeros(candidates.classes, np.float32)
    on_normalized: Floats | None = None
    for (name, parameter), part in parts.items():
        if part <= 0:
            continue
        own_kernel, own_bias = candidates.fitted[name, parameter]
        bias += part * own_bias
        if name == "normalized":
            on_normalized = part * own_kernel
        else:
            kernel += part * own_kernel
    return Head(kernel, bias, 1.0, on_normalized, imagenet if on_normalized is not None else None)


def mixture_weights(
    logits: Sequence[Floats], labels: Labels, prior: NDArray[np.float64], image_weights: Floats | None = None
) -> tuple[NDArray[np.float64], float]:
    """The weights `[members]` of logits `[n, classes]` that are most probable, and their penalised log-loss.

    Their prior is normal around `prior` `[members]` with a standard deviation of 1, and none is negative.
    `image_weights` `[n]` are those of the images in the log-loss.
    """
    from scipy.optimize import minimize

    rows, penalty = np.arange(len(labels)), 1 / len(labels)
    shares = np.ones(len(labels)) if image_weights is None else image_weights.astype(np.float64)
    shares /= shares.sum()
    of_label = [float(shares @ each[rows, labels]) for each in logits]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.zeros_like(logits[0])
        for weight, each in zip(weights, logits, strict=True):
            mixed += np.float32(weight) * each
        mixed -= mixed.max(axis=1, keepdims=True)
        truth = mixed[rows, labels].astype(np.float64)
        probabilities = np.exp(mixed, out=mixed)
        total = probabilities.sum(axis=1, keepdims=True)
        value = float(shares @ (np.log(total[:, 0].astype(np.float64)) - truth))
        probabilities /= total
        expected = [float(shares @ np.einsum("ij,ij->i", probabilities, each)) for each in logits]
        slope = np.array(expected) - of_label + penalty * (weights - prior)
        return value + 0.5 * penalty * float(((weights - prior) ** 2).sum()), slope

    found = minimize(loss, prior, jac=True, bounds=[(0, None)] * len(prior), method="L-BFGS-B")
    return found.x, float(found.fun)


def assign_folds(labels: Labels, fingerprints: Sequence[bytes], folds: int, seed: int) -> Labels:
    """The fold `[n]` of each image, by content: equally many per class, the same on any machine and in any order.

    Images with the same fingerprint are in the same fold. The largest such groups are placed first, each where its
    classes have the fewest images.
    """
    salt = seed.to_bytes(8, "big", signed=True)
    groups: dict[bytes, Counter[int]] = {}
    for label, fingerprint in zip(labels.tolist(), fingerprints, strict=True):
        groups.setdefault(fingerprint, Counter())[label] += 1
    order = sorted(groups, key=lambda one: (-groups[one].total(), hashlib.sha256(salt + one).digest()))
    held: dict[int, list[int]] = {label: [0] * folds for label in set(labels.tolist())}
    placed: dict[bytes, int] = {}
    for fingerprint in order:
        own, first = groups[fingerprint], min(groups[fingerprint])
        turns = [(first + turn) % folds for turn in range(folds)]
        placed[fingerprint] = min(turns, key=lambda fold: sum(n * held[label][fold] for label, n in own.items()))
        for label, images in own.items():
            held[label][placed[fingerprint]] += images
    return np.array([placed[fingerprint] for fingerprint in fingerprints], np.int64)


def irreplaceable(labels: Labels, fingerprints: Sequence[bytes]) -> NDArray[np.bool_]:
    """Whether each image `[n]` is of a group that alone has a class: held out, it would leave none to learn from."""
    pairs = set(zip(labels.tolist(), fingerprints, strict=True))
    groups_of = Counter(label for label, _ in pairs)
    alone = {fingerprint for label, fingerprint in pairs if groups_of[label] == 1}
    return np.array([fingerprint in alone for fingerprint in fingerprints], np.bool_)
