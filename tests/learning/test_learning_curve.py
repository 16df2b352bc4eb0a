"""Tests of predicting the accuracy with more images, on clouds whose true curve can be measured."""

import json

import numpy as np
import pytest

from tl.errors import DataError
from tl.evaluation.metrics import fold_weight
from tl.learning.head_fit import fit_head
from tl.learning.learning_curve import in_words, learning_curve


def clouds(images, *, classes=3, features=60, spread=0.22, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = random.normal(size=(classes, features)) * spread
    return (centres[labels] + random.normal(size=(images, features))).astype(np.float32), labels


def names(images):
    return [f"{at}".encode() for at in range(images)]


def curve_of(values, labels, *, fingerprints=None, kind="auto", seed=0):
    fingerprints = fingerprints or names(len(labels))
    fitted = fit_head(values, labels, int(labels.max()) + 1, fingerprints=fingerprints, kind=kind)
    weight = fold_weight(fitted.folds)
    return learning_curve(values, labels, fitted, fingerprints=fingerprints, weight=weight, seed=seed)


@pytest.mark.parametrize("kind", ["auto", "softmax"])
def test_accuracy_with_twice_the_images_is_within_the_interval(kind):
    inside, shift = 0, []
    for seed in range(8):
        values, labels = clouds(2400, seed=seed)
        low, median, high = curve_of(values[:180], labels[:180], kind=kind).accuracy(360)
        head = fit_head(values[:360], labels[:360], 3, fingerprints=names(360), kind=kind).head
        truth = float(np.mean(head.logits(values[360:]).argmax(axis=1) == labels[360:]))
        inside += low <= truth <= high
        shift.append(median - truth)
    assert inside >= 7
    assert abs(np.mean(shift)) < 0.04  # without a curve it is 0.08


def test_interval_is_narrower_with_more_images():
    values, labels = clouds(1200)
    widths = []
    for images in (60, 240, 1200):
        low, _, high = curve_of(values[:images], labels[:images]).accuracy(2 * images)
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_copies_are_on_one_side_of_every_draw():
    random = np.random.default_rng(3)
    values, labels = random.normal(size=(60, 200)).astype(np.float32), np.arange(60) % 2
    doubled = curve_of(np.tile(values, (2, 1)), np.tile(labels, 2), fingerprints=names(60) * 2)
    assert all(abs(point.error - 0.5) < 0.15 for point in doubled.points)  # a copy in the training tells the class
    assert [round(point.images) for point in doubled.points] == [16, 32, 60, 92]


@pytest.mark.parametrize("images", [3, 9, 11])
def test_fewer_than_four_different_images_a_class_are_refused(images):
    values, labels = clouds(images)
    with pytest.raises(DataError, match="that takes 4 different images a class"):
        curve_of(values, labels)
    several = np.tile(values, (4, 1)), np.tile(labels, 4)
    with pytest.raises(DataError, match="that takes 4 different images a class"):
        curve_of(*several, fingerprints=names(images) * 4)


def test_uneven_classes_and_a_class_of_one_image_have_a_curve():
    values, labels = clouds(80, classes=2)
    labels[0] = 2
    curve = curve_of(values, labels).as_dict(("a", "b", "c"))
    assert curve["points"]
    assert 0 < curve["predictions"][0]["accuracy"] < 1
    *known, (last, unknown) = curve["per_class"].items()
    assert (last, set(unknown.values())) == ("c", {None})  # what others gain says nothing about it
    assert all(0 < about["recall"] < 1 for _, about in known)
    assert "c" not in curve["gain_most"]
    json.dumps(curve, allow_nan=False)


def test_many_images_are_sampled(monkeypatch):
    monkeypatch.setattr("tl.learning.learning_curve._MOST", 160)
    values, labels = clouds(3000, seed=4)
    curve = curve_of(values[:1200], labels[:1200])
    assert [round(point.images) for point in curve.points] == [21, 42, 81, 123]
    low, _, high = curve.accuracy(2400)
    head = fit_head(values[:2400], labels[:2400], 3, fingerprints=names(2400)).head
    assert low <= np.mean(head.logits(values[2400:]).argmax(axis=1) == labels[2400:]) <= high


def test_metrics_have_predictions_and_the_class_that_gains_most():
    random = np.random.default_rng(0)
    labels = np.arange(400) % 4
    centres = random.normal(size=(4, 40))
    centres[3] = centres[2] + 0.05 * random.normal(size=40)  # the last two are alike
    values = (centres[labels] + random.normal(size=(400, 40))).astype(np.float32)
    curve = curve_of(values, labels)
    figures = curve.as_dict(("ant", "bee", "fly", "gnat"))
    assert json.loads(json.dumps(figures)) == figures
    twice, four = figures["predictions"]
    assert (twice["images"], four["images"]) == (800, 1600)
    assert twice["accuracy_interval"][0] < twice["accuracy"] <= four["accuracy"] <= four["accuracy_interval"][1]
    assert set(list(figures["per_class"])[:2]) == {"fly", "gnat"} == set(figures["gain_most"])
    assert figures["curve"][0]["images"] == figures["points"][0]["images"]
    assert figures["curve"][-1]["images"] == 1600
    for gain in figures["per_class"].values():
        assert gain["recall"] + gain["gain"] == pytest.approx(gain["recall_with_twice"], abs=2e-5)
    assert curve_of(values, labels).as_dict(("ant", "bee", "fly", "gnat")) == figures


@pytest.mark.parametrize(
    ("accuracy", "bounds", "words"),
    [
        (0.961, [0.938, 0.973], "about 96% (95% CI 94–97)"),
        (0.991, [0.974, 0.998], "about 99.1% (95% CI 97.4–99.8)"),
        (0.712, [0.706, 0.718], "about 71.2% (95% CI 70.6–71.8)"),
    ],
)
def test_prediction_in_words_has_no_more_digits_than_it_knows(accuracy, bounds, words):
    assert in_words({"accuracy": accuracy, "accuracy_interval": bounds}) == words
