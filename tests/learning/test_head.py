"""The head against scikit-style ground truth: a convex problem has one solution, whoever finds it."""

import hashlib

import numpy as np
import pytest

from tl.learning.calibration import log_loss, softmax
from tl.learning.head import fit, folds_of


def clouds(photos: int, features: int, classes: int, *, spread: float = 1.0, seed: int = 0):
    draw = np.random.default_rng(seed)
    labels = np.arange(photos) % classes
    centres = draw.normal(size=(classes, features)) * spread
    values = (centres[labels] + draw.normal(size=(photos, features))).astype(np.float32)
    return values, labels.astype(np.int64), [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(photos)]


@pytest.mark.parametrize(("photos", "features"), [(60, 200), (200, 20)])
def test_the_gradient_of_the_whole_objective_is_zero_at_the_solution(photos, features):
    values, labels, prints = clouds(photos, features, 3)
    fitted = fit(values, labels, 3, fingerprints=prints)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    standard = (values - mean) / spread
    kernel = fitted.head.kernel * spread[:, None]
    residual = softmax(fitted.head.logits(values)) - np.eye(3)[labels]
    gradient = standard.T @ residual / photos + fitted.strength * kernel
    assert np.abs(gradient).max() < 2e-3 * max(1.0, np.abs(kernel).max())
    assert np.abs(residual.mean(axis=0)).max() < 1e-3  # the bias is not regularised


def test_it_learns_what_can_be_learned_and_not_what_cannot():
    values, labels, prints = clouds(300, 50, 3, spread=0.6)
    fitted = fit(values[:240], labels[:240], 3, fingerprints=prints[:240])
    assert (fitted.head.logits(values[240:]).argmax(axis=1) == labels[240:]).mean() > 0.9
    shuffled = np.random.default_rng(1).permutation(labels)
    lost = fit(values, shuffled, 3, fingerprints=prints)
    assert min(trial.log_loss for trial in lost.trials) > 0.95  # chance is log 3 = 1.0986
    assert lost.strength > fitted.strength


def test_the_strength_is_the_one_with_the_least_held_out_loss():
    values, labels, prints = clouds(100, 40, 2, spread=0.3)
    fitted = fit(values, labels, 2, fingerprints=prints)
    assert fitted.strength == min(fitted.trials, key=lambda trial: trial.log_loss).strength
    assert len(fitted.trials) > 5


def test_the_temperature_calibrates_held_out_logits():
    values, labels, prints = clouds(400, 300, 2, spread=0.12)
    fitted = fit(values[:200], labels[:200], 2, fingerprints=prints[:200])
    logits = fitted.head.logits(values[200:])
    assert 0.25 <= fitted.head.temperature <= 4
    assert log_loss(logits / np.float32(fitted.head.temperature), labels[200:]) <= log_loss(logits, labels[200:]) + 0.02


def test_constant_features_do_no_harm():
    values, labels, prints = clouds(80, 10, 2)
    values[:, 3] = 7.0
    head = fit(values, labels, 2, fingerprints=prints).head
    assert np.isfinite(head.kernel).all()
    assert not head.kernel[3].any()


@pytest.mark.parametrize("photos", [2, 3, 5])
def test_a_handful_of_photos_is_enough_to_run(photos):
    values, labels, prints = clouds(photos, 30, 2, spread=3)
    head = fit(values, labels, 2, fingerprints=prints).head
    assert np.isfinite(head.probabilities(values)).all()


def test_copies_are_held_out_together_andfolds_of_do_not_depend_on_the_order():
    _, labels, prints = clouds(50, 2, 2)
    doubled, twice = np.concatenate([labels, labels]), [*prints, *prints]
    folds = folds_of(doubled, twice, 5, seed=3)
    assert (folds[:50] == folds[50:]).all()
    assert sorted(np.bincount(folds[:50])) == [10, 10, 10, 10, 10]
    order = np.random.default_rng(0).permutation(50)
    assert (folds_of(labels[order], [prints[at] for at in order], 5, seed=3) == folds[:50][order]).all()


def test_the_same_input_gives_the_same_head():
    values, labels, prints = clouds(60, 100, 3)
    first, second = (fit(values, labels, 3, fingerprints=prints).head for _ in range(2))
    assert (first.kernel == second.kernel).all()
