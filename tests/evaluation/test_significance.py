"""Tests of tl/evaluation/significance.py."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tl.errors import DataError
from tl.evaluation.metrics import proportion
from tl.evaluation.significance import McNemar, beats_majority, mcnemar


def paired(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong of two classifiers, shuffled together."""
    first = np.repeat([True, False, True, False], [both, gained, lost, neither])
    second = np.repeat([True, True, False, False], [both, gained, lost, neither])
    order = np.random.default_rng(0).permutation(len(first))
    return first[order], second[order]


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (1, 0), (3, 9), (9, 3), (0, 20), (57, 31), (4000, 3800), (7, 7)])
def test_mcnemar_agrees_with_the_binomial_test(gained, lost):
    result = mcnemar(*paired(50, gained, lost, 10))
    assert (result.gained, result.lost, result.count) == (gained, lost, 60 + gained + lost)
    assert result.p_value == pytest.approx(binomtest(gained, gained + lost).pvalue, rel=1e-10)


def test_mcnemar_by_hand():
    first, second = paired(90, 1, 5, 4)
    result = mcnemar(first, second)
    figures = {"p_value": pytest.approx(2 * (1 + 6) / 2**6, abs=1e-15), "difference": pytest.approx(-0.04)}
    assert result.as_dict() == {"gained": 1, "lost": 5, "count": 100, **figures}
    assert mcnemar(second, first).difference == -result.difference


def test_mcnemar_keeps_its_level_without_a_difference():
    draw = np.random.default_rng(1)
    result = [mcnemar(draw.random(200) < 0.8, draw.random(200) < 0.8).p_value < 0.05 for _ in range(500)]
    assert np.mean(result) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def test_mcnemar_of_equal_predictions():
    correct = np.array([True, False, True])
    assert mcnemar(correct, correct).p_value == 1.0
    same = "on 3 images, the second and the first are always both correct or both wrong: no difference"
    assert mcnemar(correct, correct).sentence() == same
    assert mcnemar(correct[:0], correct[:0]) == McNemar(0, 0, 1.0, 0)


@pytest.mark.parametrize(("gained", "lost", "end"), [
    (20, 3, "new is better (McNemar's exact test, p < 0.001)"),
    (3, 20, "old is better (McNemar's exact test, p < 0.001)"),
    (4, 3, "this may well be chance (McNemar's exact test, p = 1)"),
    (3, 9, "this may well be chance (McNemar's exact test, p = 0.15)"),
])  # fmt: skip
def test_mcnemar_sentence(gained, lost, end):
    start = f"of {1000 + gained + lost:,} images, new alone classifies {gained} correctly, old alone {lost}: "
    assert mcnemar(*paired(1000, gained, lost, 0)).sentence("old", "new") == start + end


def test_mcnemar_refuses_different_numbers_of_images():
    with pytest.raises(DataError, match="predictions for 3 and 4 images"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize(("hits", "count", "largest", "verdict"), [
    (6, 400, 0.01, False),  # a hundredth of a hundred classes
    (8, 16, 0.5, None),  # 28 to 72%
    (200, 400, 0.5, False),
    (51, 102, 0.5, False),
    (70, 102, 0.5, True),
    (48, 50, 0.96, None),
    (3, 30, 0.1, False),
    (1, 10, 0.1, None),
    (0, 102, 0.5, False),  # worse than chance
])  # fmt: skip
def test_beats_majority(hits, count, largest, verdict):
    top1 = proportion(hits, count)
    assert beats_majority(top1.low, top1.high, largest) is verdict
