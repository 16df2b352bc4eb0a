"""Tests of the training loop: schedule, range test, batch size."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from tl.engines.tensorflow import tensorflow
from tl.learning import loop
from tl.learning.hyperparameters import tuning_rule
from tl.learning.loop import HIGHEST, LOWEST, RangeTest, TrainingLoop, range_test, schedule


@pytest.mark.parametrize(("total", "warmup"), [(100, 0.1), (7, 0.5), (1000, 0.03), (20, 0.0)])
def test_schedule_warms_up_to_1_and_decays_to_0(total, warmup):
    fractions = [schedule(step, total, warmup) for step in range(total)]
    top = fractions.index(max(fractions))
    assert fractions[top] == pytest.approx(1)
    assert top == max(1, round(warmup * total)) - 1
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions[0] > 0  # the first step counts
    assert all(one < other for one, other in pairwise(fractions[: top + 1]))
    assert all(one > other for one, other in pairwise(fractions[top:]))
    assert fractions[-1] == pytest.approx(0, abs=1e-12)


def test_schedule_is_linear_then_a_cosine():
    assert [schedule(step, 100, 0.1) for step in range(10)] == pytest.approx([at / 10 for at in range(1, 11)])
    assert schedule(9 + 45, 100, 0.1) == pytest.approx(0.5)
    assert schedule(9 + 30, 100, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    for total in (1, 2, 3):
        assert schedule(0, total, 0.1) == 1
        assert schedule(total - 1, total, 0.1) in (pytest.approx(0), pytest.approx(1))
    assert schedule(150, 100, 0.1) == pytest.approx(0, abs=1e-12)


def test_range_test_chooses_a_tenth_of_the_best_rate():
    tried = []

    def loss_at(rate):
        tried.append(rate)
        return 1 + (math.log10(rate) + 3) ** 2 / 20  # least at 1e-3

    result = range_test(loss_at, 141)
    assert (tried[0], tried) == (pytest.approx(LOWEST), sorted(tried))
    assert tried[1] / tried[0] == pytest.approx(tried[-1] / tried[-2])  # equal steps in logarithms
    assert result.rates == tuple(tried[: len(result.rates)])
    assert len(result.rates) == len(result.losses)
    assert 1e-4 <= result.chosen <= 2e-4  # the smoothing lags behind a little


def test_range_test_tries_all_rates_while_the_loss_is_stable():
    result = range_test(lambda rate: 1.0, 40)
    assert len(result.rates) == 40
    assert result.rates[-1] == pytest.approx(HIGHEST)
    assert result.losses == pytest.approx([1.0] * 40)  # smoothing adds nothing of its own


@pytest.mark.parametrize("burst", [math.nan, math.inf, 1e9])
def test_range_test_ends_when_the_loss_explodes(burst):
    rates = []

    def loss_at(rate):
        rates.append(rate)
        return 1 - 0.01 * len(rates) if rate < 1e-2 else burst

    result = range_test(loss_at, 60)
    assert 1e-2 <= rates[-1] < 1.4e-2  # the first beyond
    assert all(map(math.isfinite, result.losses))
    assert 5e-4 < result.chosen < 1e-3  # a tenth of the last good one


def test_range_test_chooses_no_rate_where_none_helps():
    assert range_test(lambda rate: math.nan, 60) == RangeTest((), (), None)
    losses = iter(range(1, 1000))
    assert range_test(lambda rate: next(losses), 60).chosen is None
    assert range_test(lambda rate: 1.0, 60).chosen is None
    assert range_test(lambda rate: 0.5 * (rate > 1e-2), 60).chosen is None


def test_range_test_is_not_misled_by_batches_that_differ():
    """As those of a fitted head: most losses are small, and now and then one is large."""
    chosen = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        chosen.append(range_test(lambda rate, draw=draw: draw.exponential(0.3) + 10 * rate, 60).chosen)
    assert sum(rate is not None for rate in chosen) <= 4
    learning = [
        range_test(lambda rate, draw=draw: max(0.7, 2.3 - 60 * rate) + draw.normal(0, 0.1) + 20 * rate**2, 60).chosen
        for draw in map(np.random.default_rng, range(50))
    ]
    assert all(rate is not None and 1e-3 < rate < 3e-2 for rate in learning)


@pytest.mark.parametrize(
    ("images", "replicas", "batch"), [(100, 1, 32), (20, 1, 20), (100, 3, 33), (2, 4, 4), (1, 2, 2)]
)
def test_loop_gives_every_device_equally_many_images(images, replicas, batch):
    loop = object.__new__(TrainingLoop)  # without its network
    loop.job = SimpleNamespace(train=np.arange(images), seed=0, even_classes=False)
    loop.trainer, loop.rule = SimpleNamespace(replicas=replicas), tuning_rule(1000, "last")
    loop._plan_steps(32)
    assert loop.order.batch == loop.rule.batch == batch
    taken = loop.order.at(0)
    assert len(taken) == batch
    assert set(taken.tolist()) <= set(range(images))


def test_tensorboard_logs_are_written_without_messages_of_tensorflow(tmp_path, monkeypatch):
    quiet = []
    monkeypatch.setattr(loop, "tensorflow", lambda: quiet.append(True) or tensorflow())
    with loop.tensorboard_listener(tmp_path) as listener:
        listener(1, {"loss": 0.5})
    assert quiet == [True]
    assert list(tmp_path.glob("events.*"))
