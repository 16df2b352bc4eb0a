"""Tests of shrunken linear discriminant analysis, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tl.learning.lda import SharedCovariance, covariances


def clouds(per_class, features, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(per_class)), per_class)
    centres = random.normal(size=(len(per_class), features))
    mixing = random.normal(size=(features, features)) / features**0.5
    values = centres[labels] + random.normal(size=(len(labels), features)) @ mixing * 2
    return values.astype(np.float32), labels


def fit(values, labels, classes, folds=None):
    folds = np.full(len(labels), -1) if folds is None else folds
    return dict(covariances(lambda at: values[at], values.shape[1], labels, classes, folds))


@pytest.mark.parametrize("images", [15, 100])  # fewer and more than features
@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 0.9])
def test_weights_predict_as_scikit_learn(images, shrinkage):
    values, labels = clouds([images] * 3, 60)
    kernel, bias = fit(values, labels, 3)[-1].weights(shrinkage)
    new, _ = clouds([200] * 3, 60, seed=1)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3).fit(values, labels)
    assert np.mean((new @ kernel + bias).argmax(axis=1) == peer.predict(new)) > 0.995


def test_weights_are_those_of_the_nearest_mean_when_shrunk_entirely():
    values, labels = clouds([20] * 3, 10)
    kernel, bias = fit(values, labels, 3)[-1].weights(1.0)
    means = np.stack([values[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(values[:, None] - means, axis=2).argmin(axis=1)
    assert ((values @ kernel + bias).argmax(axis=1) == nearest).all()


@pytest.mark.parametrize("per_class", [[30, 30], [4, 80]])
def test_weights_from_rows_are_those_from_products(per_class):
    values, labels = clouds(per_class, 40)
    count = np.bincount(labels).astype(float)
    sums = np.stack([values[labels == label].sum(axis=0, dtype=float) for label in range(2)])
    by_rows = SharedCovariance(count, sums, rows=(values, labels)).weights(0.3)
    by_products = SharedCovariance(count, sums, products=values.T @ values).weights(0.3)
    assert by_rows[0] == pytest.approx(by_products[0], abs=1e-3)
    if per_class == [30, 30]:  # with uneven classes rows are left out one by one, products are not
        assert by_rows[1] == pytest.approx(by_products[1], abs=1e-3)


@pytest.mark.parametrize("images", [20, 100])
def test_covariances_leave_each_fold_out(images):
    values, labels = clouds([images] * 2, 60)
    folds = np.arange(2 * images) % 4
    fitted = fit(values, labels, 2, folds)
    assert list(fitted) == [0, 1, 2, 3, -1]
    for fold in range(4):
        rest = folds != fold
        alone = fit(values[rest], labels[rest], 2)[-1].weights(0.5)
        assert fitted[fold].weights(0.5)[0] == pytest.approx(alone[0], abs=2e-3)
    whole = fit(values, labels, 2)[-1].weights(0.5)
    assert fitted[-1].weights(0.5)[0] == pytest.approx(whole[0], abs=1e-3)


def test_logits_of_few_and_of_many_images_have_one_scale():
    new, _ = clouds([100, 100], 50, seed=1)
    spreads = []
    for images in (4, 400):
        kernel, bias = fit(*clouds([images] * 2, 50), 2)[-1].weights(0.8)
        logits = new @ kernel + bias
        spreads.append(np.abs(logits[:, 0] - logits[:, 1]).mean())
    assert 0.5 < spreads[0] / spreads[1] < 2


def test_small_class_is_not_drowned_by_a_large_one():
    recalls = []
    for seed in range(10):
        values, labels = clouds([1, 40], 100, seed=seed)
        random = np.random.default_rng(seed)
        means = np.stack([values[labels == label].mean(axis=0) for label in range(2)])
        kernel, bias = fit(values, labels, 2)[-1].weights(0.8)
        new = values[0] + random.normal(size=(200, 100)) * 1.4
        recalls.append(np.mean((new @ kernel + bias).argmax(axis=1) == 0))
        assert np.isfinite(means).all()
    assert np.mean(recalls) > 0.7


def test_class_without_images_and_equal_images_are_finite():
    values, labels = clouds([5, 5], 20)
    for rows, classes in ((values, 3), (np.ones_like(values), 2), (np.zeros_like(values), 2)):
        covariance = fit(rows, labels, classes)[-1]
        kernel, bias = covariance.weights(0.5)
        assert np.isfinite(kernel).all()
        assert np.isfinite(bias).all()
        assert covariance.seen.tolist() == [True, True, False][:classes]
