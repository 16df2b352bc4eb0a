"""What a head says of features, with the figures that metrics.json has."""

import json

import numpy as np
import pytest

from tl.learning.head import Head
from tl.learning.unknown import fit as fit_unknown
from tl.prediction.held_out import answer, nothing


def _told_apart(count: int = 60, temperature: float = 2.0):
    """Features of two classes, one direction each, with some noise; a head that tells them apart."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    features = np.zeros((count, 8), np.float32)
    features[np.arange(count), labels] = 1
    features += draw.normal(0, 0.1, features.shape).astype(np.float32)
    kernel = np.zeros((8, 2), np.float32)
    kernel[0, 0] = kernel[1, 1] = 3
    return features, labels, Head(kernel, np.zeros(2, np.float32), temperature)


def test_parts_are_scored_by_themselves():
    features, labels, head = _told_apart()
    labels = labels.copy()
    labels[40:] = 1 - labels[40:]
    made = answer(head, features, labels, {"validation": np.arange(40), "test": np.arange(40, 60)}, None)
    assert made.scores["validation"].top1.value == 1
    assert made.scores["test"].top1.value == 0
    assert (made.scores["validation"].count, made.scores["test"].count) == (40, 20)


def test_an_empty_part_has_no_scores():
    features, labels, head = _told_apart()
    made = answer(head, features, labels, {"validation": np.arange(60), "test": np.arange(0)}, None)
    assert list(made.scores) == ["validation"]


def test_calibration_is_that_of_the_first_part_with_the_temperature_of_the_head():
    features, labels, head = _told_apart(temperature=2.0)
    made = answer(head, features, labels, {"validation": np.arange(60)}, None)
    assert made.calibration is not None
    assert made.calibration.temperature == 2.0
    # sharper logits are better here, where all are right: dividing them by 2 costs likelihood
    assert made.calibration.log_loss_before < made.calibration.log_loss_after
    assert made.calibration.log_loss_after == pytest.approx(made.scores["validation"].log_loss, rel=1e-5)


def test_strange_photos_are_marked():
    features, labels, head = _told_apart(200)
    unknown = fit_unknown(features, labels, 2, rate=0.05)
    strange = np.zeros((3, 8), np.float32)
    strange[:, 7] = 5
    asked = np.concatenate([features[:10], strange])
    made = answer(head, asked, np.zeros(13, np.int64), {"evaluation": np.arange(13)}, unknown)
    assert made.strange[10:].all()
    assert made.strange[:10].sum() <= 2
    told = made.details(("a", "b"))["unknown"]
    assert (told["count"], told["photos"], told["rate"]) == (int(made.strange.sum()), 13, 0.05)


def test_details_are_plain_json_with_every_class():
    features, labels, head = _told_apart()
    made = answer(head, features, labels, {"validation": np.arange(60)}, fit_unknown(features, labels, 2, rate=0.05))
    told = json.loads(json.dumps(made.details(("a", "b")), allow_nan=False))
    assert set(told["validation"]["per_class"]) == {"a", "b"}
    assert len(told["validation"]["reliability"]["counts"]) == 15
    assert told["calibration"]["part"] == "validation"
    assert told["calibration"]["count"] == 60
    assert "per_class" not in made.metrics()["validation"]


def test_no_answers_yet():
    made = nothing(Head(np.zeros((8, 2), np.float32), np.zeros(2, np.float32), 1.0), 2)
    assert made.details(("a", "b")) == {}
    assert made.shares.shape == (0, 2)
