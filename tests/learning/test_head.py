"""Tests of the head: the problem is convex, so the solution is known."""

import hashlib

import numpy as np
import pytest

from tl.learning.calibration import log_loss, softmax
from tl.learning.head_fit import assign_folds, fit_head


def clouds(images, features, classes, *, spread=1.0, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = draw.normal(size=(classes, features)) * spread
    values = (centres[labels] + draw.normal(size=(images, features))).astype(np.float32)
    return values, labels.astype(np.int64), [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(images)]


@pytest.mark.parametrize(("images", "features"), [(60, 200), (200, 20)])
def test_fit_head_makes_the_gradient_of_the_objective_zero(images, features):
    values, labels, fingerprints = clouds(images, features, 3)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    standard = (values - mean) / spread
    kernel = fitted.head.kernel * spread[:, None]
    assert (fit_head(values, labels, 3, fingerprints=fingerprints).head.kernel == fitted.head.kernel).all()
    residual = softmax(fitted.head.logits(values)) - np.eye(3)[labels]
    gradient = standard.T @ residual / images + fitted.l2 * kernel
    assert np.abs(gradient).max() < 2e-3 * max(1.0, np.abs(kernel).max())
    assert np.abs(residual.mean(axis=0)).max() < 1e-3  # the bias is not regularised


def test_fit_head_learns_separable_classes_and_not_shuffled_labels():
    values, labels, fingerprints = clouds(300, 50, 3, spread=0.6)
    fitted = fit_head(values[:240], labels[:240], 3, fingerprints=fingerprints[:240])
    assert (fitted.head.logits(values[240:]).argmax(axis=1) == labels[240:]).mean() > 0.9
    shuffled = np.random.default_rng(1).permutation(labels)
    lost = fit_head(values, shuffled, 3, fingerprints=fingerprints)
    assert min(trial.log_loss for trial in lost.trials) > 0.95  # chance is log 3 = 1.0986
    assert lost.l2 > fitted.l2
    assert fitted.l2 == min(fitted.trials, key=lambda trial: trial.log_loss).l2


def test_fit_head_temperature_calibrates_held_out_logits():
    values, labels, fingerprints = clouds(400, 300, 2, spread=0.12)
    fitted = fit_head(values[:200], labels[:200], 2, fingerprints=fingerprints[:200])
    logits = fitted.head.logits(values[200:])
    assert 0.25 <= fitted.head.temperature <= 4
    assert log_loss(logits / np.float32(fitted.head.temperature), labels[200:]) <= log_loss(logits, labels[200:]) + 0.02


@pytest.mark.parametrize("images", [2, 3, 5, 80])
def test_fit_head_takes_few_images_and_ignores_constant_features(images):
    values, labels, fingerprints = clouds(images, 30, 2, spread=3)
    values[:, 3] = 7.0
    head = fit_head(values, labels, 2, fingerprints=fingerprints).head
    assert np.isfinite(head.probabilities(values)).all()
    assert not head.kernel[3].any()


def test_assign_folds_keeps_copies_together_and_ignores_the_order():
    _, labels, fingerprints = clouds(50, 2, 2)
    doubled, twice = np.concatenate([labels, labels]), [*fingerprints, *fingerprints]
    folds = assign_folds(doubled, twice, 5, seed=3)
    assert (folds[:50] == folds[50:]).all()
    assert sorted(np.bincount(folds[:50])) == [10, 10, 10, 10, 10]
    order = np.random.default_rng(0).permutation(50)
    assert (assign_folds(labels[order], [fingerprints[at] for at in order], 5, seed=3) == folds[:50][order]).all()
