"""Tests of the unknown check: known distributions, promised rates, degenerate features."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tl.errors import UsageError
from tl.learning.unknown import distances_to, fit_unknown


def training_images(count, classes=2, features=64, seed=0):
    """Features as of training_images: positive, each class around a centre that is the same for every seed."""
    centres = np.random.default_rng(1000).gamma(1, size=(classes, features))
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = centres[labels] * draw.lognormal(0, 0.5, (count, features))
    return values.astype(np.float32), labels


def foreign_images(count, features=64):
    return np.random.default_rng(7).gamma(1, size=(count, features)).astype(np.float32)


def sure(count, classes=2, confidence=0.9):
    """Probabilities of a head that is equally sure of all images, so that only the distance decides."""
    rest = (1 - confidence) / (classes - 1)
    return np.full((count, classes), rest, np.float32) + np.eye(classes, dtype=np.float32)[0] * (confidence - rest)


def fit(values, labels, classes=2, **options):
    return fit_unknown(values, labels, classes, **{"probabilities": sure(len(values), classes), **options})


def alarms(unknown, values, classes=2):
    return unknown.is_unknown(values, sure(len(values), classes))


def test_unknown_separates_images_of_another_kind():
    unknown = fit(*training_images(400))
    own, foreign = (unknown.score(each, sure(300)) for each in (training_images(300, seed=1)[0], foreign_images(300)))
    assert np.mean(own[:, None] < foreign) > 0.999
    assert alarms(unknown, foreign_images(300)).mean() > 0.95
    assert unknown.rate == 0.01


@pytest.mark.parametrize(
    ("count", "rate"), [(100, 0.05), (60, 0.05), (700, 0.02)]
)  # of the last, not all are references
def test_unknown_keeps_its_promise_in_nine_of_ten_draws(count, rate):
    rates = []
    for seed in range(60):
        unknown = fit(*training_images(count, 4, seed=seed), 4, rate=rate, seed=seed)
        assert unknown.rate == rate
        rates.append(alarms(unknown, training_images(2000, 4, seed=900 + seed)[0], 4).mean())
    assert np.mean(np.array(rates) > rate) <= 0.15  # the quantile that keeps to the rate on average: half of the draws
    assert np.mean(rates) > rate * 0.2  # and no rarer: that would let foreign images through


@pytest.mark.parametrize(("count", "flagged"), [(230, 0), (387, 0), (388, 1)])
def test_threshold_is_the_smallest_score_that_holds_the_rate(count, flagged):
    values, labels = training_images(count)
    unknown = fit(values, labels, rate=0.01)
    assert unknown.rate == 0.01
    assert unknown.is_unknown_held_out(values, sure(count)).sum() == flagged


def entropy(probabilities):
    return -np.sum(probabilities * np.log(probabilities), axis=1)


def test_score_adds_the_doubt_of_the_head_to_an_unusual_distance():
    values, labels = training_images(200)
    random = np.random.default_rng(5)
    confidence = random.uniform(0.5, 1, 200).astype(np.float32)
    held_out = np.stack([confidence, 1 - confidence], axis=1)
    unknown = fit(values, labels, probabilities=held_out)
    seen = training_images(30, seed=1)[0]
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (values, seen))
    distance = np.sort(np.linalg.norm(other[:, None] - unit, axis=2), axis=1)[:, :5].mean(axis=1)
    (middle, deviation), (usual, spread) = unknown.scales
    assert (usual, spread) == pytest.approx((np.median(entropy(held_out)), 0.19), abs=0.02)
    far = (distance - middle) / deviation
    far = np.sign(far) * np.maximum(np.abs(far) - 0.75, 0) ** 2
    by_hand = far + 0.75 * (1 - 1.5 / 2) * (entropy(np.array([[0.6, 0.4]])) - usual) / spread
    assert unknown.score(seen, sure(30, confidence=0.6)) == pytest.approx(by_hand, abs=1e-3)
    assert unknown.score(seen * 1000, sure(30, confidence=0.6)) == pytest.approx(by_hand, abs=1e-3)  # of any length
    assert unknown.score(np.tile(seen, (150, 1)), sure(4500, confidence=0.6))[-30:] == pytest.approx(by_hand, abs=1e-3)
    assert unknown.score(seen[:0], sure(0)).shape == (0,)
    many = np.full((30, 100), 0.01, np.float32)
    most = 0.75 * (1 - 1.5 / 100) * 3  # deviations
    assert unknown.score(seen, many) == pytest.approx(far + most, abs=1e-3)


def imagenet_probabilities(values, classifier):
    logits = values @ classifier
    powers = np.exp(2 * (logits - logits.max(axis=1, keepdims=True)) / logits.std(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_score_adds_the_divergence_from_what_imagenet_says_of_the_nearest_class():
    values, labels = training_images(200)
    classifier = np.random.default_rng(3).normal(size=(values.shape[1], 1000)).astype(np.float32)
    unknown, plain = fit(values, labels, imagenet=classifier), fit(values, labels)
    training, at = imagenet_probabilities(values, classifier), np.arange(200)
    profiles = np.stack([training[labels == label].mean(axis=0) for label in (0, 1)])
    assert unknown.profiles == pytest.approx(profiles)

    def divergence(probabilities, means):
        return np.sum(probabilities * (np.log(probabilities) - np.log(means + 1e-3)), axis=2).min(axis=0)

    own = np.stack([training[(labels == labels[image]) & (at != image)].mean(axis=0) for image in at])
    (_, _), (_, _), (middle, deviation) = unknown.scales
    assert middle == pytest.approx(np.median(divergence(training, np.stack([own, profiles[1 - labels]]))), abs=1e-3)
    seen = training_images(5000, seed=1)[0]  # more than one block
    of_seen = divergence(imagenet_probabilities(seen, classifier), profiles[:, None])
    added = 0.75 * (1 - 1.5 / 2) * np.minimum(0.5 * (of_seen - middle) / deviation, 3)
    assert added.std() > 0.05
    assert unknown.score(seen, sure(5000)) - plain.score(seen, sure(5000)) == pytest.approx(added, abs=1e-3)


def test_score_of_old_runs_is_the_distance():
    unknown = fit(*training_images(50))
    seen = training_images(20, seed=1)[0]
    old = replace(unknown, scales=None)
    assert old.score(seen, sure(20)) == pytest.approx(distances_to(unknown.references, seen))
    assert old.score(seen, sure(20, confidence=0.5)) == pytest.approx(distances_to(unknown.references, seen))
    assert old.sentence.startswith("on average at most")


@pytest.mark.parametrize(("count", "rate"), [(45, 0.0499), (100, 0.0228), (229, 0.01001), (230, 0.01)])
def test_fit_unknown_with_few_images_raises_the_rate(count, rate):
    unknown = fit(*training_images(count), rate=0.01)
    assert unknown.rate == pytest.approx(rate, rel=0.01)
    assert math.isfinite(unknown.threshold)
    assert f"with 90% confidence at most {100 * rate:.2g}%" in unknown.sentence


def test_fit_unknown_with_fewer_than_45_images_is_off_unless_the_rate_is_high():
    unknown = fit(*training_images(44), rate=0.01)
    assert (unknown.threshold, unknown.rate) == (math.inf, 0.0)
    assert not alarms(unknown, foreign_images(50)).any()
    assert unknown.sentence.startswith("off: too few")
    raised = fit(*training_images(18), rate=0.2)
    assert raised.rate == 0.2
    assert alarms(raised, foreign_images(50)).mean() > 0.9


def test_images_without_held_out_probabilities_are_not_scored():
    values, labels = training_images(100)
    probabilities = sure(100)
    probabilities[:56] = np.nan
    assert fit(values, labels, probabilities=probabilities).rate == 0
    probabilities[55] = 0.5
    assert fit(values, labels, probabilities=probabilities).rate == pytest.approx(0.05, abs=0.001)


def test_held_out_images_set_the_threshold_of_a_trained_network():
    values, labels = training_images(300)
    held_out = training_images(60, seed=1)[0]
    unknown = fit(values, labels, held_out=held_out, probabilities=sure(60), rate=0.05)
    assert unknown.threshold == unknown.score(held_out, sure(60)).max()
    assert len(unknown.references) == 300


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("rate", [0.01, 0.5, 0.999999999999])
def test_fit_unknown_works_with_very_few_images(count, rate):
    unknown = fit(*training_images(count), rate=rate)
    assert np.isfinite(unknown.score(foreign_images(3), sure(3))).all()
    if rate == 0.01:
        assert not alarms(unknown, foreign_images(3)).any()


def test_copies_do_not_lower_the_threshold():
    values, labels = training_images(200)
    copies = np.concatenate([values] * 6) * (1 + 1e-6 * np.random.default_rng(0).normal(size=(1200, 1)))
    unknown = fit(copies.astype(np.float32), np.tile(labels, 6), rate=0.05)
    assert alarms(unknown, training_images(1000, seed=1)[0]).mean() < 0.15


def test_degenerate_features():
    values, labels = training_images(60, features=512)
    values[:, 100:] = 3.0
    values[7] = 0
    unknown = fit(values, labels)
    assert np.isfinite(unknown.score(values, sure(60))).all()
    assert not alarms(unknown, values[:5]).any()
    assert alarms(unknown, np.full((1, 512), np.nan, np.float32)).all()
    same = fit(np.ones((60, 8), np.float32), labels)
    assert same.rate == 0.0
    assert not alarms(same, np.ones((3, 8), np.float32)).any()


def test_references_include_rare_classes():
    values, labels = training_images(5000)
    rare = foreign_images(1)[0] * np.random.default_rng(3).lognormal(0, 0.3, (12, 64)).astype(np.float32)
    unknown = fit(np.concatenate([values, rare]), np.concatenate([labels, np.full(12, 2)]), 3)
    assert len(unknown.references) == 512
    assert alarms(unknown, rare, 3).sum() <= 1


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, math.nan])
def test_fit_unknown_refuses_an_impossible_rate(rate):
    with pytest.raises(UsageError, match="--unknown-rate"):
        fit(*training_images(10), rate=rate)
