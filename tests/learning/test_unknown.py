"""Tests of the unknown check: known distributions, promised rates, degenerate features."""

import math

import numpy as np
import pytest

from tl.errors import UsageError
from tl.learning.unknown import fit_unknown


def training_images(count, classes=2, features=64, seed=0):
    """Features as of training_images: positive, each class around a centre that is the same for every seed."""
    centres = np.random.default_rng(1000).gamma(1, size=(classes, features))
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = centres[labels] * draw.lognormal(0, 0.5, (count, features))
    return values.astype(np.float32), labels


def foreign_images(count, features=64):
    return np.random.default_rng(7).gamma(1, size=(count, features)).astype(np.float32)


def test_unknown_separates_images_of_another_kind():
    unknown = fit_unknown(*training_images(400), 2)
    own, foreign = unknown.score(training_images(300, seed=1)[0]), unknown.score(foreign_images(300))
    assert np.mean(own[:, None] < foreign) > 0.999
    assert unknown.is_unknown(foreign_images(300)).mean() > 0.95
    assert unknown.rate == 0.01


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("count", [100, 3000])  # all are references, and most are not
def test_unknown_keeps_to_its_false_alarm_rate(rate, count):
    alarms = [
        fit_unknown(*training_images(count, 4, seed=seed), 4, rate=rate, seed=seed)
        .is_unknown(training_images(2000, 4, seed=900 + seed)[0])
        .mean()
        for seed in range(8)
    ]
    assert np.mean(alarms) < rate * 1.25
    assert np.mean(alarms) > rate * 0.4  # and no rarer: that would let foreign_images through


def test_score_is_the_mean_distance_to_the_five_nearest():
    values, labels = training_images(50)
    seen = training_images(20, seed=1)[0]
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (values, seen))
    by_hand = np.sort(np.linalg.norm(other[:, None] - unit, axis=2), axis=1)[:, :5].mean(axis=1)
    unknown = fit_unknown(values, labels, 2)
    assert unknown.score(seen) == pytest.approx(by_hand, abs=1e-5)
    assert unknown.score(seen * 1000) == pytest.approx(by_hand, abs=1e-5)  # the length is ignored
    assert unknown.score(np.tile(seen, (150, 1)))[-20:] == pytest.approx(by_hand, abs=1e-5)  # as is the batch
    assert unknown.score(seen[:0]).shape == (0,)


@pytest.mark.parametrize(("count", "rate"), [(30, 1 / 31), (19, 0.05), (98, 1 / 99), (99, 0.01)])
def test_fit_unknown_with_few_images_raises_the_rate(count, rate):
    unknown = fit_unknown(*training_images(count), 2, rate=0.01)
    assert unknown.rate == pytest.approx(rate)
    assert math.isfinite(unknown.threshold)
    assert f"{100 * rate:.2g}%" in unknown.sentence


def test_fit_unknown_with_fewer_than_19_images_is_off_unless_the_rate_is_high():
    unknown = fit_unknown(*training_images(18), 2, rate=0.01)
    assert (unknown.threshold, unknown.rate) == (math.inf, 0.0)
    assert not unknown.is_unknown(foreign_images(50)).any()
    assert unknown.sentence.startswith("off: too few")
    raised = fit_unknown(*training_images(18), 2, rate=0.2)
    assert raised.rate == 0.2
    assert raised.is_unknown(foreign_images(50)).mean() > 0.9


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.999999999999])
def test_fit_unknown_works_with_very_few_images(count, rate):
    unknown = fit_unknown(*training_images(count), 2, rate=rate)
    assert np.isfinite(unknown.score(foreign_images(3))).all()
    assert unknown.is_unknown(foreign_images(3)).shape == (3,)
    if rate == 0.01:
        assert not unknown.is_unknown(foreign_images(3)).any()


def test_copies_do_not_lower_the_threshold():
    values, labels = training_images(200)
    copies = np.concatenate([values] * 6) * (1 + 1e-6 * np.random.default_rng(0).normal(size=(1200, 1)))
    unknown = fit_unknown(copies.astype(np.float32), np.tile(labels, 6), 2, rate=0.05)
    assert unknown.is_unknown(training_images(1000, seed=1)[0]).mean() < 0.15


def test_degenerate_features():
    values, labels = training_images(40, features=512)
    values[:, 100:] = 3.0
    values[7] = 0
    unknown = fit_unknown(values, labels, 2)
    assert np.isfinite(unknown.score(values)).all()
    assert not unknown.is_unknown(values[:5]).any()
    assert unknown.is_unknown(np.full((1, 512), np.nan, np.float32)).all()
    same = fit_unknown(np.ones((40, 8), np.float32), labels, 2)
    assert same.rate == 0.0
    assert not same.is_unknown(np.ones((3, 8), np.float32)).any()


def test_references_include_rare_classes():
    values, labels = training_images(5000)
    rare = foreign_images(1)[0] * np.random.default_rng(3).lognormal(0, 0.3, (12, 64)).astype(np.float32)
    unknown = fit_unknown(np.concatenate([values, rare]), np.concatenate([labels, np.full(12, 2)]), 3)
    assert len(unknown.references) == 512
    assert unknown.is_unknown(rare).sum() <= 1


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, math.nan])
def test_fit_unknown_refuses_an_impossible_rate(rate):
    with pytest.raises(UsageError, match="--unknown-rate"):
        fit_unknown(*training_images(10), 2, rate=rate)
