"""Tests of the hyperparameter rules."""

import pytest

from tl.learning.augment import LEVELS
from tl.learning.hyperparameters import class_weights, tuning_rule, unfreeze_rule
from tl.options import check
from tl.runs.finetune_options import OPTIMIZERS, UNFREEZE, FinetuneOptions

SIZES = [2, 10, 40, 199, 200, 500, 1999, 2000, 19_999, 20_000, 50_000, 10**7]


@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("unfreeze", ["last", "half", "all"])
def test_tuning_rule_is_within_the_options_bounds(images, unfreeze):
    rule = tuning_rule(images, unfreeze)
    names = ("optimizer", "weight_decay", "label_smoothing", "batch", "epochs", "augment")
    values = {name: getattr(rule, name) for name in names}
    check(FinetuneOptions(unfreeze=unfreeze, lr=str(rule.learning_rate), **values))
    assert rule.optimizer in OPTIMIZERS
    assert rule.augment in LEVELS
    assert 0 < rule.stage_decay <= 1
    assert 0 < rule.ema < 1
    assert 0 <= rule.warmup < 0.5
    assert 0 <= rule.monitor < 0.5
    assert rule.patience >= 1


def test_tuning_rule_trains_fewer_epochs_on_more_images():
    epochs = [tuning_rule(images, "last").epochs for images in SIZES]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1]


def test_tuning_rule_for_all_has_a_lower_rate_and_stores_nothing():
    for images in SIZES:
        assert tuning_rule(images, "all").learning_rate <= tuning_rule(images, "last").learning_rate
        assert tuning_rule(images, "all").views == 1
    assert tuning_rule(40, "last").monitor == 0 < tuning_rule(1000, "last").monitor


@pytest.mark.parametrize(("images", "classes", "gpu", "expected"), [
    (19, 2, False, "none"),
    (20, 2, False, "last"),
    (20, 2, True, "last"),
    (50_000, 100, False, "last"),
    (50_000, 100, True, "all"),
    (999, 100, True, "none"),
    (1999, 2, True, "last"),
    (2000, 2, True, "all"),
])  # fmt: skip
def test_unfreeze_rule(images, classes, gpu, expected):
    assert unfreeze_rule(images, classes, gpu=gpu) == expected
    assert expected in UNFREEZE


@pytest.mark.parametrize("counts", [(10, 10), (10, 15), (1, 1, 1), (100, 120, 150)])
def test_class_weights_of_even_classes_are_none(counts):
    assert class_weights(counts) is None


@pytest.mark.parametrize(("equal", "power"), [(False, 0.5), (True, 1.0)])
@pytest.mark.parametrize("counts", [(10, 16), (5, 500), (1, 2, 3, 400), (7, 7, 70)])
def test_class_weights_have_a_mean_of_1_per_image(counts, equal, power):
    weights = class_weights(counts, equal=equal)
    assert sum(weight * count for weight, count in zip(weights, counts, strict=True)) == pytest.approx(sum(counts))
    # the rarer, the heavier, by the square root unless all classes are to be equal
    for weight, count in zip(weights, counts, strict=True):
        assert weight / weights[0] == pytest.approx((counts[0] / count) ** power)
