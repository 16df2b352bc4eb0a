"""Learning rates: up, down to zero, and found where training is fast but stable."""

import math
from itertools import pairwise

import pytest

from tl.learning.loop import HIGHEST, LOWEST, range_test, share_of_rate


@pytest.mark.parametrize(("total", "warmup"), [(100, 0.1), (7, 0.5), (1000, 0.03), (20, 0.0)])
def test_the_rate_rises_to_the_whole_and_falls_to_nothing(total, warmup):
    shares = [share_of_rate(step, total, warmup) for step in range(total)]
    top = shares.index(max(shares))
    assert shares[top] == pytest.approx(1)
    assert top == max(1, round(warmup * total)) - 1
    assert all(0 <= share <= 1 for share in shares)
    assert shares[0] > 0  # the first step counts
    assert all(one < other for one, other in pairwise(shares[: top + 1]))
    assert all(one > other for one, other in pairwise(shares[top:]))
    assert shares[-1] == pytest.approx(0, abs=1e-12)


def test_the_rise_is_a_line_and_the_fall_a_cosine():
    assert [share_of_rate(step, 100, 0.1) for step in range(10)] == pytest.approx([at / 10 for at in range(1, 11)])
    assert share_of_rate(9 + 45, 100, 0.1) == pytest.approx(0.5)
    assert share_of_rate(9 + 30, 100, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_few_steps_are_enough(total):
    assert share_of_rate(0, total, 0.1) == 1
    assert share_of_rate(total - 1, total, 0.1) in (pytest.approx(0), pytest.approx(1))


def test_beyond_the_last_step_the_rate_stays_at_nothing():
    assert share_of_rate(150, 100, 0.1) == pytest.approx(0, abs=1e-12)


def test_the_rate_chosen_is_a_tenth_of_that_with_the_least_loss():
    asked = []

    def loss_at(rate: float) -> float:
        asked.append(rate)
        return 1 + (math.log10(rate) + 3) ** 2 / 20  # least at 1e-3

    found = range_test(loss_at, 141)
    assert asked[0] == pytest.approx(LOWEST)
    assert asked == sorted(asked)
    assert asked[1] / asked[0] == pytest.approx(asked[-1] / asked[-2])  # equal steps in logarithms
    assert found.rates == tuple(asked[: len(found.rates)])
    assert len(found.rates) == len(found.losses)
    assert 1e-4 <= found.chosen <= 2e-4  # the smoothing lags behind a little


def test_without_an_end_all_rates_are_tried():
    found = range_test(lambda rate: 1.0, 40)
    assert len(found.rates) == 40
    assert found.rates[-1] == pytest.approx(HIGHEST)
    assert found.losses == pytest.approx([1.0] * 40)  # smoothing adds nothing of its own


@pytest.mark.parametrize("burst", [math.nan, math.inf, 1e9])
def test_an_explosion_ends_the_test(burst):
    rates = []

    def loss_at(rate: float) -> float:
        rates.append(rate)
        return 1 - 0.01 * len(rates) if rate < 1e-2 else burst

    found = range_test(loss_at, 60)
    assert 1e-2 <= rates[-1] < 1.4e-2  # the first beyond
    assert all(map(math.isfinite, found.losses))
    assert 5e-4 < found.chosen < 1e-3  # a tenth of the last good one


def test_where_no_rate_helps_the_lowest_is_chosen():
    assert range_test(lambda rate: math.nan, 60).chosen == pytest.approx(LOWEST)
    assert range_test(lambda rate: math.nan, 60).losses == ()
    losses = iter(range(1, 1000))
    assert range_test(lambda rate: next(losses), 60).chosen == pytest.approx(LOWEST)
