"""Tests of calibration: known temperatures, separated classes, and scikit-learn."""

import json
import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss

from tl.learning.calibration import BINS, calibration, fit_temperature, log_loss, reliability, softmax


def sample(count, classes, scale, seed=0):
    """Labels sample from the softmax of logits, and those logits times `scale`: their temperature is `scale`."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, classes)) * 2
    gumbel = draw.gumbel(size=logits.shape)
    return (logits * scale).astype(np.float32), (logits + gumbel).argmax(axis=1)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 30])
def test_fit_temperature_recovers_a_known_temperature(scale, classes):
    logits, labels = sample(20_000, classes, scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)


def test_calibration_lowers_log_loss_and_error_on_unseen_images():
    logits, labels = sample(5000, 10, 4.0)
    unseen, truth = sample(5000, 10, 4.0, seed=1)
    result = calibration(unseen, truth, fit_temperature(logits, labels))
    assert result.log_loss_after < result.log_loss_before
    assert result.before.error > 0.1
    assert result.after.error < 0.03
    assert result.log_loss_before == pytest.approx(log_loss(unseen, truth))


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_fit_temperature_stays_near_1_for_few_images(count, sign):
    labels = np.arange(count) % 2
    logits = np.float32(sign) * np.eye(2, dtype=np.float32)[labels] * 3
    assert 0.3 < fit_temperature(logits, labels) < 5


def test_fit_temperature_stays_within_its_bounds_and_is_1_without_images():
    labels = np.arange(3000) % 3
    logits = np.eye(3, dtype=np.float32)[labels]
    assert 1 / 32 <= fit_temperature(logits, labels) < 0.5
    assert fit_temperature(-logits, labels) == pytest.approx(32, rel=1e-3)
    for size in (0.0, 1e-20, 1e4, 1e30):
        assert 1 / 32 <= fit_temperature(logits[[0, 1, 2, 1]] * np.float32(size), labels[:4]) <= 32 * (1 + 1e-9)
    none, empty = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    assert fit_temperature(none, empty) == 1.0
    assert math.isnan(reliability(none, empty).error)


@pytest.mark.parametrize("classes", [2, 10])
def test_log_loss_and_reliability_agree_with_scikit_learn(classes):
    logits, labels = sample(2000, classes, 2.0)
    probabilities = softmax(logits.astype(np.float64))
    assert log_loss(logits, labels) == pytest.approx(sklearn_log_loss(labels, probabilities), abs=1e-6)
    result = reliability(probabilities, labels)
    confidence_of, correct = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(correct, confidence_of, n_bins=BINS)
    filled = result.counts > 0
    assert result.accuracy[filled] == pytest.approx(accuracy, abs=1e-12)
    assert result.confidence[filled] == pytest.approx(confidence, abs=1e-12)
    assert result.counts.sum() == 2000
    assert len(result.edges) == BINS + 1


def test_reliability_error_by_hand_and_as_json():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.0, 1.0]], np.float32)
    result = reliability(probabilities, np.array([0, 1, 0, 1]))
    # 0.9 twice: half correct, gap 0.4; 0.65: correct, gap 0.35; 1.0: correct, no gap
    assert result.error == pytest.approx((2 * 0.4 + 0.35) / 4, abs=1e-7)
    assert result.counts.tolist() == [0] * 9 + [1, 0, 0, 0, 2, 1]  # 0.9 is below the edge 14/15, 1 in the last bin
    assert reliability(np.array([[0.6, 0.4]]), np.array([0])).counts[8] == 1  # 8/15 to 9/15, the upper edge included
    probabilities = np.array([[0.9, 0.1]], np.float32)
    plain = json.loads(json.dumps(reliability(probabilities, np.array([0])).as_dict(), allow_nan=False))
    assert (plain["counts"][13], plain["accuracy"][13]) == (1, 1.0)
    assert plain["accuracy"][0] is None
