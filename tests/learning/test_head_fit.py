"""Tests of the fitted head: honest cross-validation, calibrated mixture, few and odd images."""

import hashlib

import numpy as np
import pytest

from tl.errors import DataError
from tl.learning.calibration import log_loss, reliability, softmax
from tl.learning.head_fit import HEADS, assign_folds, fit_head, irreplaceable, mixture_weights


def clouds(images, features=60, classes=3, *, spread=0.35, seed=0):
    centres = np.random.default_rng(99).normal(size=(classes, features)) * spread
    labels = np.arange(images) % classes
    values = np.abs(1 + centres[labels] + 0.6 * np.random.default_rng(seed).normal(size=(images, features)))
    return values.astype(np.float32), labels.astype(np.int64), prints(images)


def prints(images):
    return [hashlib.sha256(str(at).encode()).digest() for at in range(images)]


@pytest.mark.parametrize("kind", [*HEADS, "linear"])
def test_fit_head_learns_classes(kind):
    values, labels, fingerprints = clouds(90)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints, kind=kind)
    new, truth, _ = clouds(600, seed=1)
    accuracy = np.mean(fitted.head.logits(new).argmax(axis=1) == truth)
    assert accuracy > 0.85
    assert abs(np.mean(fitted.logits.argmax(axis=1) == labels) - accuracy) < 0.12
    assert (fitted.head.normalized_kernel is None) == (kind in ("softmax", "linear"))
    assert fitted.folds == 10


@pytest.mark.parametrize("kind", HEADS)
def test_held_out_logits_know_nothing_of_their_label(kind):
    values, labels, fingerprints = clouds(90)
    shuffled = np.random.default_rng(1).permutation(labels)
    fitted = fit_head(values, shuffled, 3, fingerprints=fingerprints, kind=kind)
    assert np.mean(fitted.logits.argmax(axis=1) == shuffled) < 0.5
    assert log_loss(fitted.logits, shuffled) > 1.0  # chance is log 3 = 1.0986
    assert np.mean(fitted.head.logits(values).argmax(axis=1) == shuffled) > 0.6  # what it was fitted on


def test_copies_are_judged_by_heads_without_them():
    values, labels, fingerprints = clouds(60, spread=0.0)  # nothing to learn but the images themselves
    twice = np.concatenate([values, values])
    honest = fit_head(twice, np.tile(labels, 2), 3, fingerprints=fingerprints * 2)
    leaky = fit_head(twice, np.tile(labels, 2), 3, fingerprints=prints(120))
    accuracies = [np.mean(fitted.logits.argmax(axis=1) == np.tile(labels, 2)) for fitted in (honest, leaky)]
    assert accuracies[0] < 0.5
    assert accuracies[1] > 0.7


@pytest.mark.parametrize("images", [30, 300])
def test_probabilities_are_calibrated(images):
    values, labels, fingerprints = clouds(images, spread=0.15)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    new, truth, _ = clouds(3000, spread=0.15, seed=1)
    assert reliability(softmax(fitted.head.logits(new)), truth).error < 0.1


def test_mixture_is_as_good_as_its_best_member():
    values, labels, fingerprints = clouds(300, spread=0.15)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    assert fitted.trials[-1].name == "the mixture"
    assert fitted.trials[-1].log_loss <= min(trial.log_loss for trial in fitted.trials) + 0.005
    assert len(fitted.trials) == 10  # four shrinkages of two members, one softmax regression


def test_imagenet_classifier_helps_where_it_knows_the_classes():
    random = np.random.default_rng(0)
    imagenet = np.zeros((60, 1000), np.float32)
    imagenet[:5] = random.normal(size=(5, 1000))  # it knows which five of sixty features matter
    labels = np.arange(400) % 2
    values = np.abs(random.normal(size=(400, 60))).astype(np.float32)
    values[:, :5] += random.uniform(0, 1.5, (2, 5))[labels]
    accuracies = []
    for top in (None, imagenet):
        fitted = fit_head(values[:8], labels[:8], 2, fingerprints=prints(8), imagenet=top)
        assert (fitted.head.imagenet is None) == (top is None)
        accuracies.append(np.mean(fitted.head.logits(values[8:]).argmax(axis=1) == labels[8:]))
    assert accuracies[1] > accuracies[0] + 0.03


@pytest.mark.parametrize(("per_class", "folds", "shrinkage"), [(1, 0, 1.0), (2, 2, 1.0), (3, 3, 0.8), (4, 4, 0.8)])
def test_few_images_have_few_folds(per_class, folds, shrinkage):
    values, labels, fingerprints = clouds(3 * per_class)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    assert (fitted.folds, fitted.shrinkage) == (folds, shrinkage)
    assert fitted.judged.all() == (folds > 0)
    assert np.isfinite(fitted.head.probabilities(values)).all()
    assert (fitted.head.logits(values).argmax(axis=1) == labels).all()
    assert ("too few images" in fitted.sentence) == (folds == 0)


def test_class_of_one_image_is_trained_but_not_judged():
    values, labels, fingerprints = clouds(60)
    keep = np.flatnonzero((labels < 2) | (np.arange(60) == 2))
    fitted = fit_head(values[keep], labels[keep], 3, fingerprints=[fingerprints[at] for at in keep])
    assert (fitted.judged == (labels[keep] < 2)).all()
    assert fitted.head.logits(values[2:3]).argmax() == 2


@pytest.mark.parametrize("change", ["constant", "zeros", "one constant"])
def test_odd_features_give_a_finite_head(change):
    values, labels, fingerprints = clouds(60)
    if change == "one constant":
        values[:, 3] = 7
    else:
        values[:] = 1 if change == "constant" else 0
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    assert np.isfinite(fitted.head.probabilities(values)).all()
    assert np.isfinite(fitted.logits).all()


def test_features_that_are_not_finite_are_refused():
    values, labels, fingerprints = clouds(60)
    values[7, 3] = np.nan
    with pytest.raises(DataError, match="not finite for 1 image"):
        fit_head(values, labels, 3, fingerprints=fingerprints)


def test_many_images_start_softmax_regression_from_lda_and_agree_with_few():
    values, labels, fingerprints = clouds(12_000, features=10, spread=0.15)
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    assert fitted.folds == 5
    new, truth, _ = clouds(3000, features=10, spread=0.15, seed=1)
    small = fit_head(values[:900], labels[:900], 3, fingerprints=fingerprints[:900])
    losses = [log_loss(each.head.logits(new), truth) for each in (fitted, small)]
    assert losses[0] < losses[1] + 0.01


def test_mixture_weights_minimise_the_penalised_log_loss():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 3
    good = random.normal(size=(40, 3)).astype(np.float32) + 2 * np.eye(3, dtype=np.float32)[labels]
    noise = random.normal(size=(40, 3)).astype(np.float32)
    prior = np.array([1.0, 1.0])
    weights, loss = mixture_weights([good, noise], labels, prior)
    assert (weights >= 0).all()

    def objective(first, second):
        return log_loss(first * good + second * noise, labels) + ((first - 1) ** 2 + (second - 1) ** 2) / 80

    grid = [(a, b) for a in np.linspace(0, 3, 31) for b in np.linspace(0, 3, 31)]
    assert loss == pytest.approx(objective(*weights), abs=1e-5)
    assert loss <= min(objective(np.float32(a), np.float32(b)) for a, b in grid) + 1e-4


def test_assign_folds_keeps_copies_together_and_ignores_the_order():
    _, labels, fingerprints = clouds(50, classes=2)
    doubled, twice = np.concatenate([labels, labels]), [*fingerprints, *fingerprints]
    folds = assign_folds(doubled, twice, 5, seed=3)
    assert (folds[:50] == folds[50:]).all()
    assert sorted(np.bincount(folds[:50])) == [10, 10, 10, 10, 10]
    order = np.random.default_rng(0).permutation(50)
    assert (assign_folds(labels[order], [fingerprints[at] for at in order], 5, seed=3) == folds[:50][order]).all()


def test_assign_folds_balances_groups_of_several_classes():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), draw.integers(5, 40, 20))
    labels = draw.integers(0, 3, len(groups))
    folds = assign_folds(labels, [bytes([group]) for group in groups], 5, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(20))
    for label in range(3):
        held = np.bincount(folds[labels == label], minlength=5)
        assert held.max() < 1.5 * held.min()


@pytest.mark.parametrize("images", [60, 5000])  # solved in the space of the images, and of 20 features
def test_only_group_of_a_class_is_trained_on_in_every_fold_and_never_judged(images):
    values, labels, fingerprints = clouds(images, 20, 3, spread=0.1)
    fingerprints = [bytes([2]) if label == 2 else own for label, own in zip(labels, fingerprints, strict=True)]
    assert (irreplaceable(labels, fingerprints) == (labels == 2)).all()
    fitted = fit_head(values, labels, 3, fingerprints=fingerprints)
    assert (fitted.judged == (labels != 2)).all()
    alone = fit_head(values[labels < 2], labels[labels < 2], 2, fingerprints=fingerprints[: (labels < 2).sum()])
    confused = fitted.logits[labels != 2].argmax(axis=1) == 2  # by heads that know the third class
    assert 0 < confused.mean() < 0.5
    others = fitted.logits[labels != 2]
    assert np.isclose(others[:, 2], others[:, :2].min(axis=1), atol=1e-6).mean() < 0.02  # as where it is not known
    assert alone.folds > 1


def test_groups_that_hold_a_class_each_leave_nothing_to_judge():
    values, labels, _ = clouds(60, 20, 3)
    fitted = fit_head(values, labels, 3, fingerprints=[bytes([label]) for label in labels])
    assert (fitted.folds, fitted.judged.any()) == (0, False)


def test_grouped_images_do_not_look_predictable_when_only_their_groups_are():
    draw = np.random.default_rng(1)
    groups = np.arange(200) % 20
    values = (draw.normal(size=(20, 50))[groups] + 0.1 * draw.normal(size=(200, 50))).astype(np.float32)
    labels = (groups % 2).astype(np.int64)
    own = [bytes([at]) for at in range(200)]
    accuracy = [
        (fit_head(values, labels, 2, fingerprints=fingerprints).logits.argmax(axis=1) == labels).mean()
        for fingerprints in (own, [bytes([group]) for group in groups])
    ]
    assert accuracy[0] > 0.95
    assert accuracy[1] < 0.75


@pytest.mark.parametrize("kind", ["auto", "softmax"])
def test_class_weights_raise_the_recall_of_small_classes(kind):
    values, labels, fingerprints = clouds(300, spread=0.15)
    keep = np.concatenate([np.flatnonzero(labels == label)[:n] for label, n in enumerate((80, 20, 6))])
    test = np.setdiff1d(np.arange(300), keep)
    recalls = []
    for weights in (None, (0.5, 1.9, 4.0)):
        fitted = fit_head(
            values[keep],
            labels[keep],
            3,
            fingerprints=[fingerprints[at] for at in keep],
            kind=kind,
            class_weights=weights,
        )
        predicted = fitted.head.logits(values[test]).argmax(axis=1)
        recalls.append([np.mean(predicted[labels[test] == label] == label) for label in range(3)])
    assert recalls[1][2] > recalls[0][2]
