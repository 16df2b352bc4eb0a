"""The rules: of a data set's size alone, within what the options allow, and gentle with what is uneven."""

import dataclasses
import inspect

import pytest

from tl.learning import rules
from tl.learning.augment import LEVELS
from tl.learning.rules import class_weights, head_rule, tuning_rule, unfreeze_rule
from tl.runs.options import OPTIMIZERS, UNFREEZE, Options

SIZES = [2, 10, 40, 199, 200, 500, 1999, 2000, 19_999, 20_000, 50_000, 10**7]


@pytest.mark.parametrize("photos", SIZES)
@pytest.mark.parametrize("unfreeze", ["last", "half", "all"])
def test_a_rule_is_one_that_the_options_could_have_given(photos, unfreeze):
    rule = tuning_rule(photos, unfreeze)
    assert rule == tuning_rule(photos, unfreeze)
    Options(
        data="",
        unfreeze=unfreeze,
        optimizer=rule.optimizer,
        lr=str(rule.learning_rate),
        weight_decay=rule.weight_decay,
        label_smoothing=rule.label_smoothing,
        batch=rule.batch,
        epochs=rule.epochs,
        augment=rule.augment,
        views=rule.views,
    ).check()
    assert rule.optimizer in OPTIMIZERS
    assert rule.augment in LEVELS
    assert 0 < rule.stage_decay <= 1
    assert 0 < rule.ema < 1
    assert 0 <= rule.warmup < 0.5
    assert 0 <= rule.monitor < 0.5
    assert rule.patience >= 1


def test_rules_are_frozen():
    for rule in (tuning_rule(100, "last"), head_rule(100)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            rule.batch = 1


def test_the_rules_need_nothing_but_numbers():
    source = inspect.getsource(rules)
    imports = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    assert imports == ["from dataclasses import dataclass"]


def test_more_photos_are_seen_fewer_times():
    epochs = [tuning_rule(photos, "last").epochs for photos in SIZES]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1]


def test_few_photos_are_all_trained_on():
    assert tuning_rule(40, "last").monitor == 0
    assert tuning_rule(1000, "last").monitor > 0


def test_the_whole_network_moves_less_than_its_last_stage_and_stores_nothing():
    for photos in SIZES:
        assert tuning_rule(photos, "all").learning_rate <= tuning_rule(photos, "last").learning_rate
        assert tuning_rule(photos, "all").views == 1


@pytest.mark.parametrize(
    ("photos", "classes", "gpu", "expected"),
    [
        (19, 2, False, "none"),
        (20, 2, False, "last"),
        (20, 2, True, "last"),
        (50_000, 100, False, "last"),
        (50_000, 100, True, "all"),
        (999, 100, True, "none"),
        (1999, 2, True, "last"),
        (2000, 2, True, "all"),
    ],
)
def test_how_much_is_trained(photos, classes, gpu, expected):
    assert unfreeze_rule(photos, classes, gpu=gpu) == expected
    assert expected in UNFREEZE


@pytest.mark.parametrize("photos", SIZES)
def test_strengths_run_from_strong_to_weak(photos):
    rule = head_rule(photos)
    assert list(rule.strengths) == sorted(rule.strengths, reverse=True)
    assert rule.fine < rule.rough
    assert rule.every_fold == (photos < 2000)


@pytest.mark.parametrize("counts", [(10, 10), (10, 15), (1, 1, 1), (100, 120, 150)])
def test_even_classes_have_no_weights(counts):
    assert class_weights(counts) is None


@pytest.mark.parametrize("counts", [(10, 16), (5, 500), (1, 2, 3, 400), (7, 7, 70)])
def test_weights_of_photos_are_one_in_the_mean(counts):
    weights = class_weights(counts)
    assert sum(weight * count for weight, count in zip(weights, counts, strict=True)) == pytest.approx(sum(counts))
    # the rarer, the heavier, but by the square root
    for weight, count in zip(weights, counts, strict=True):
        assert weight / weights[0] == pytest.approx((counts[0] / count) ** 0.5)
