"""Temperatures that are known beforehand, small and perfectly separated sets, and bins against scikit-learn's."""

import json
import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss

from tl.learning.calibration import BINS, calibration, log_loss, reliability, softmax, temperature


def drawn(count: int, classes: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and those logits times `scale`: their temperature is `scale`."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, classes)) * 2
    gumbel = draw.gumbel(size=logits.shape)
    return (logits * scale).astype(np.float32), (logits + gumbel).argmax(axis=1)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 30])
def test_the_temperature_is_found(scale, classes):
    logits, labels = drawn(20_000, classes, scale)
    assert temperature(logits, labels) == pytest.approx(scale, rel=0.05)


def test_scaling_lowers_log_loss_and_calibration_error_of_unseen_photos():
    logits, labels = drawn(5000, 10, 4.0)
    unseen, truth = drawn(5000, 10, 4.0, seed=1)
    found = calibration(unseen, truth, temperature(logits, labels))
    assert found.log_loss_after < found.log_loss_before
    assert found.before.error > 0.1
    assert found.after.error < 0.03
    assert found.log_loss_before == pytest.approx(log_loss(unseen, truth))


def test_the_answers_stay():
    logits, labels = drawn(500, 10, 4.0)
    scaled = logits / np.float32(temperature(logits, labels))
    assert np.array_equal(softmax(logits).argmax(axis=1), softmax(scaled).argmax(axis=1))


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_few_photos_all_right_or_all_wrong_move_it_little(count, sign):
    labels = np.arange(count) % 2
    logits = np.float32(sign) * np.eye(2, dtype=np.float32)[labels] * 3
    assert 0.3 < temperature(logits, labels) < 5


def test_many_photos_perfectly_separated_stay_within_the_bounds():
    labels = np.arange(3000) % 3
    logits = np.eye(3, dtype=np.float32)[labels]
    assert 1 / 32 <= temperature(logits, labels) < 0.5
    assert temperature(-logits, labels) == pytest.approx(32, rel=1e-3)


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e4, 1e30])
def test_any_size_of_logits(size):
    labels = np.array([0, 1, 0, 1])
    logits = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32) * np.float32(size)
    found = temperature(logits, labels)
    assert 1 / 32 <= found <= 32 * (1 + 1e-9)
    assert softmax(logits / np.float32(found)).sum(axis=1) == pytest.approx(np.ones(4))


def test_no_photos():
    none, empty = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    assert temperature(none, empty) == 1.0
    assert math.isnan(reliability(none, empty).error)


def test_log_loss_is_scikit_learns():
    logits, labels = drawn(300, 7, 2.0)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    assert log_loss(logits, labels) == pytest.approx(sklearn_log_loss(labels, shares, labels=range(7)), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 10])
def test_the_bins_are_scikit_learns(classes):
    logits, labels = drawn(2000, classes, 2.0)
    shares = softmax(logits)
    found = reliability(shares, labels)
    sure, right = shares.max(axis=1).astype(np.float64), shares.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, sure, n_bins=BINS)
    held = found.counts > 0
    assert found.accuracy[held] == pytest.approx(accuracy, abs=1e-12)
    assert found.confidence[held] == pytest.approx(confidence, abs=1e-12)
    assert found.counts.sum() == 2000
    assert len(found.edges) == BINS + 1


def test_the_error_by_hand():
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.0, 1.0]], np.float32)
    found = reliability(shares, np.array([0, 1, 0, 1]))
    # 0.9 twice: half right, gap 0.4; 0.65: right, gap 0.35; 1.0: right, no gap
    assert found.error == pytest.approx((2 * 0.4 + 0.35) / 4, abs=1e-7)
    assert found.counts.tolist() == [0] * 9 + [1, 0, 0, 0, 2, 1]  # 0.9 is below the edge 14/15, 1 in the last bin


def test_an_edge_belongs_to_the_bin_below():
    found = reliability(np.array([[0.6, 0.4]]), np.array([0]))
    assert found.counts[8] == 1  # 8/15 to 9/15


def test_the_dictionary_is_json():
    shares = np.array([[0.9, 0.1]], np.float32)
    told = json.loads(json.dumps(reliability(shares, np.array([0])).as_dict(), allow_nan=False))
    assert told["counts"][13] == 1
    assert told["accuracy"][13] == 1.0
    assert told["accuracy"][0] is None
