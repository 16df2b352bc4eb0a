"""Predictions of a head, with the metrics that metrics.json has."""

import json
from pathlib import Path

import numpy as np
import pytest

from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.evaluation.predictions import held_out_images, predict
from tl.learning.head import Head
from tl.learning.unknown import fit_unknown


def _features(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two classes, one direction each, with some noise; and their labels."""
    labels = np.arange(count) % 2
    features = np.zeros((count, 8), np.float32)
    features[np.arange(count), labels] = 1
    return features + np.random.default_rng(seed).normal(0, 0.1, features.shape).astype(np.float32), labels


def _predict(features, labels, parts, *, unknown=None, temperature=2.0):
    kernel = np.zeros((8, 2), np.float32)
    kernel[0, 0] = kernel[1, 1] = 3
    names = tuple(f"{at}.png" for at in range(len(labels)))
    dataset = Dataset("x", None, ("a", "b"), tuple(map(Path, names)), names, labels, (None,) * len(labels))
    head = Head(kernel, np.zeros(2, np.float32), temperature)
    return predict(head, features, dataset, np.arange(len(labels)), parts=parts, unknown=unknown)


def test_predict_computes_metrics_of_each_part():
    features, labels = _features(60)
    labels[40:] = 1 - labels[40:]
    predictions = _predict(features, labels, ["validation"] * 40 + ["test"] * 20)
    assert list(predictions.metrics) == ["validation", "test"]
    assert [(one.top1.value, one.count) for one in predictions.metrics.values()] == [(1, 40), (0, 20)]
    assert predictions.correct.tolist() == [True] * 40 + [False] * 20
    assert predictions.of_part("test").tolist() == list(range(40, 60))


def test_predict_without_images_has_no_metrics():
    predictions = _predict(np.zeros((0, 8), np.float32), np.zeros(0, np.int64), [])
    assert (predictions.as_dict(), predictions.summary(), predictions.calibration) == ({}, {}, None)
    assert predictions.probabilities.shape == (0, 2)


def test_predict_calibrates_the_first_part_with_the_temperature_of_the_head():
    predictions = _predict(*_features(60), ["validation"] * 60)
    assert predictions.calibration.temperature == 2.0
    # sharper logits are better here, where all are correct: dividing them by 2 costs likelihood
    assert predictions.calibration.log_loss_before < predictions.calibration.log_loss_after
    log_loss = predictions.metrics["validation"].log_loss
    assert predictions.calibration.log_loss_after == pytest.approx(log_loss, rel=1e-5)


def test_predict_marks_unknown_images():
    features, labels = _features(200)
    unknown = fit_unknown(features, labels, 2, probabilities=np.full((200, 2), 0.5, np.float32), rate=0.05)
    foreign = np.zeros((3, 8), np.float32)
    foreign[:, 7] = 5
    mixed = np.concatenate([features[:10], foreign])
    predictions = _predict(mixed, np.zeros(13, np.int64), ["evaluation"] * 13, unknown=unknown)
    assert predictions.is_unknown[10:].all()
    assert predictions.is_unknown[:10].sum() <= 2
    about = predictions.as_dict()["unknown"]
    assert (about["count"], about["photos"], about["rate"]) == (int(predictions.is_unknown.sum()), 13, 0.05)


def test_as_dict_is_plain_json_with_every_class():
    features, labels = _features(60)
    unknown = fit_unknown(features, labels, 2, probabilities=np.full((60, 2), 0.5, np.float32), rate=0.05)
    predictions = _predict(features, labels, ["validation"] * 60, unknown=unknown)
    whole = json.loads(json.dumps(predictions.as_dict(), allow_nan=False))
    assert set(whole["validation"]["per_class"]) == {"a", "b"}
    assert len(whole["validation"]["reliability"]["counts"]) == 15
    assert (whole["calibration"]["part"], whole["calibration"]["count"]) == ("validation", 60)
    assert "per_class" not in predictions.summary()["validation"]
    answered = {one["max_error"]: one["answered"] for one in whole["selective"]["curve"]}
    assert (whole["selective"]["count"], answered[0.03], answered[0.05]) == (60, None, 1.0)  # all are correct


def test_held_out_images_are_those_of_validation_and_test_in_order():
    indices, parts = held_out_images(Split(np.array([0, 2]), np.array([1, 5]), np.array([3, 4]), (), 0))
    assert indices.tolist() == [1, 3, 4, 5]
    assert parts == ["validation", "test", "test", "validation"]
