"""Linear discriminant analysis with one covariance for all classes, shrunk towards a multiple of the identity.

The shrunk covariance is (1 - s) S + s tr(S)/d I, S being the pooled scatter of the images around the mean of their
class (Friedman 1989, Ledoit & Wolf 2004). With s = 1 it is nearest class mean. Fewer images than features are solved in
the space of the images, which gives the same solution; more from sums of products, those of a fold subtracted from the
whole.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

ROWS = 4096  # images at a time
_FEW = 1.5  # times as many images as features are still solved in the space of the images
_UNEVEN = 1.5  # class sizes that differ by more get the correction for class means of few images


class SharedCovariance:
    """Class means and within-class scatter of n images with d features.

    From `rows`, features `[n, d]` and labels `[n]`, or from `products` `[d, d]`, the sum of their outer products.
    `count` `[classes]` and `sums` `[classes, d]` are over the images of each class.
    """

    def __init__(
        self,
        count: Doubles,
        sums: Doubles,
        *,
        rows: tuple[Floats, Labels] | None = None,
        products: Floats | None = None,
    ) -> None:
        self.count, self.seen = count, count > 0
        images, classes = int(count.sum()), int(self.seen.sum())
        self.means = sums / np.maximum(count, 1)[:, None]
        self.centre = self.means[self.seen].mean(axis=0)
        self.means[~self.seen] = self.centre
        self._offsets = (self.means - self.centre).astype(np.float32)
        self._freedom = max(images - classes, 1)
        self._residuals: Floats | None = None
        if rows is not None:
            values, self._labels = rows
            self._residuals = (values - self.means[self._labels]).astype(np.float32)
            self._scatter = self._residuals @ self._residuals.T / np.float32(self._freedom)
            self._cross = self._residuals @ self._offsets.T
        elif products is not None:
            scaled = (self.means * np.sqrt(count)[:, None]).astype(np.float32)
            self._scatter = (products - scaled.T @ scaled) / np.float32(self._freedom)
        variance = float(np.trace(self._scatter))
        sizes = count[self.seen]
        self._uneven = bool(sizes.max() > _UNEVEN * sizes.min()) and images > classes
        if images == classes or variance < 1e-12:  # one image a class: as far apart as the class means
            variance = max(float((self._offsets**2).sum()) / max(classes - 1, 1), 1e-12)
        self._level = variance / sums.shape[1]

    def weights(self, shrinkage: float) -> tuple[Floats, Floats]:
        """Kernel `[d, classes]` and bias `[classes]`, scaled so that class means lie at a mean distance of 1.

        The scale makes logits of different numbers of images comparable, as those of a fold and of the whole.
        """
        from scipy.linalg import cho_factor, cho_solve

        part, ridge = np.float32(1 - shrinkage), np.float32(shrinkage * self._level)
        matrix = self._scatter * part
        matrix[np.diag_indices_from(matrix)] += ridge
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        if self._residuals is None:
            kernel = cho_solve(factor, self._offsets.T, check_finite=False)
        else:  # the matrix inversion lemma
            inner = cho_solve(factor, self._cross, check_finite=False) * (part / np.float32(self._freedom))
            kernel = (self._offsets.T - self._residuals.T @ inner) / ridge
        squares = (self._offsets * kernel.T).sum(axis=1)
        scale = np.float32(1 / max(float(squares.sum()) / int(self.seen.sum()), 1e-12))
        if self._uneven:
            # The mean of few images is farther from everything, by its own scatter: an image's, over their number.
            within = self._distance_of_unseen(factor, float(part))
            squares = squares - np.where(self.seen, within / np.maximum(self.count, 1), 0).astype(np.float32)
        bias = -0.5 * squares - self.centre.astype(np.float32) @ kernel
        return (kernel * scale).astype(np.float32), (bias * scale).astype(np.float32)

    def _distance_of_unseen(self, factor: tuple[Floats, bool], part: float) -> float:
        """The mean squared Mahalanobis distance from its class mean of an image that the covariance has not seen."""
        from scipy.linalg import cho_solve

        if self._residuals is None:  # many images: those it has seen are as good
            return float(np.trace(cho_solve(factor, self._scatter, check_finite=False)))
        identity = np.eye(len(self._scatter), dtype=np.float32)
        inverse = cho_solve(factor, identity, check_finite=False)
        distances = np.einsum("ij,ji->i", self._scatter * np.float32(self._freedom), inverse)
        sizes = self.count[self._labels]
        several = sizes > 1
        grown = sizes[several] / (sizes[several] - 1)  # left out, the mean of its class moves away from it
        left_out = grown * distances[several]
        return float(np.mean(left_out / np.maximum(1 - part / self._freedom * left_out, 1e-3)))


def covariances(
    rows_at: Callable[[Labels], Floats], width: int, labels: Labels, classes: int, folds: Labels
) -> Iterator[tuple[int, SharedCovariance]]:
    """The covariance of the images outside of each fold in turn, then of all, numbered -1.

    `rows_at` returns the features `[m, width]` of images by index; `folds` `[n]` is -1 for images in none.
    """
    count = int(folds.max()) + 1
    if len(labels) < _FEW * width:
        rows = rows_at(np.arange(len(labels)))
        for fold in (*range(count), -1):
            train = np.flatnonzero(folds != fold) if fold >= 0 else np.arange(len(labels))
            yield fold, _of_rows(rows[train], labels[train], classes)
        return
    parts = count + 1  # the last one is of images in no fold
    products = np.zeros((parts, width, width), np.float32)
    sums, counts = np.zeros((parts, classes, width)), np.zeros((parts, classes))
    for part in range(parts):
        members = np.flatnonzero(folds == (part if part < count else -1))
        counts[part] = np.bincount(labels[members], minlength=classes)
        for start in range(0, len(members), ROWS):
            some = members[start : start + ROWS]
            rows = rows_at(some)
            products[part] += rows.T @ rows
            sums[part] += _sum_by_class(rows, labels[some], classes)
    product, total, images = products.sum(axis=0), sums.sum(axis=0), counts.sum(axis=0)
    for fold in range(count):
        own = SharedCovariance(images - counts[fold], total - sums[fold], products=product - products[fold])
        yield fold, own
    del products
    yield -1, SharedCovariance(images, total, products=product)


def _of_rows(rows: Floats, labels: Labels, classes: int) -> SharedCovariance:
    count = np.bincount(labels, minlength=classes).astype(np.float64)
    sums = _sum_by_class(rows, labels, classes)
    if len(rows) < _FEW * rows.shape[1]:
        return SharedCovariance(count, sums, rows=(rows, labels))
    return SharedCovariance(count, sums, products=rows.T @ rows)


def _sum_by_class(rows: Floats, labels: Labels, classes: int) -> Doubles:
    from scipy.sparse import csr_matrix

    ones = np.ones(len(rows), np.float32)
    members = csr_matrix((ones, (labels, np.arange(len(rows)))), shape=(classes, len(rows)))
    return np.asarray(members @ rows, np.float64)
