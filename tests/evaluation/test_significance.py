"""McNemar's exact test against scipy's binomial test and against a table worked out by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tl.errors import DataError
from tl.evaluation.metrics import McNemar, beats_majority, mcnemar, proportion


def answers(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong of two classifiers, shuffled together."""
    first = np.repeat([True, False, True, False], [both, gained, lost, neither])
    second = np.repeat([True, True, False, False], [both, gained, lost, neither])
    order = np.random.default_rng(0).permutation(len(first))
    return first[order], second[order]


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (1, 0), (3, 9), (9, 3), (0, 20), (57, 31), (4000, 3800), (7, 7)])
def test_p_is_that_of_the_binomial_test(gained, lost):
    found = mcnemar(*answers(50, gained, lost, 10))
    assert (found.gained, found.lost, found.count) == (gained, lost, 60 + gained + lost)
    assert found.p_value == pytest.approx(binomtest(gained, gained + lost).pvalue, rel=1e-10)


def test_by_hand():
    found = mcnemar(*answers(90, 1, 5, 4))  # 2 * (1 + 6) / 2**6
    assert found.p_value == pytest.approx(0.21875, abs=1e-15)
    assert found.difference == pytest.approx(-0.04)
    assert not found.significant


def test_it_does_not_matter_which_comes_first():
    first, second = answers(40, 12, 3, 7)
    assert mcnemar(first, second).p_value == mcnemar(second, first).p_value
    assert mcnemar(first, second).difference == -mcnemar(second, first).difference


def test_the_level_holds_when_there_is_no_difference():
    draw = np.random.default_rng(1)
    found = [mcnemar(draw.random(200) < 0.8, draw.random(200) < 0.8).significant for _ in range(500)]
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def test_no_photo_on_which_they_part():
    right = np.array([True, False, True])
    assert mcnemar(right, right).p_value == 1.0
    assert mcnemar(right, right).sentence() == (
        "the second and the first are right and wrong on the same of 3 photos: no difference"
    )
    assert mcnemar(right[:0], right[:0]) == McNemar(0, 0, 1.0, 0)


@pytest.mark.parametrize(
    ("gained", "lost", "end"),
    [
        (20, 3, "new is better (McNemar's exact test, p < 0.001)"),
        (3, 20, "old is better (McNemar's exact test, p < 0.001)"),
        (4, 3, "this may well be chance (McNemar's exact test, p = 1)"),
        (3, 9, "this may well be chance (McNemar's exact test, p = 0.15)"),
    ],
)
def test_the_sentence_says_who_is_better(gained, lost, end):
    said = mcnemar(*answers(1000, gained, lost, 0)).sentence("old", "new")
    assert said.startswith(
        f"of {1000 + gained + lost:,} photos, new gets {gained} right that old gets wrong, and {lost}"
    )
    assert said.endswith(end)


def test_other_photos_are_refused():
    with pytest.raises(DataError, match="answers to 3 and to 4 photos"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_the_dictionary_is_plain():
    assert mcnemar(*answers(90, 1, 5, 4)).as_dict() == {
        "gained": 1,
        "lost": 5,
        "p_value": pytest.approx(0.21875),
        "difference": pytest.approx(-0.04),
        "count": 100,
    }


@pytest.mark.parametrize(
    ("hits", "count", "largest", "verdict"),
    [
        (6, 400, 0.01, False),  # a hundredth of a hundred classes
        (8, 16, 0.5, None),  # 28 to 72 %
        (200, 400, 0.5, False),
        (51, 102, 0.5, False),
        (70, 102, 0.5, True),
        (48, 50, 0.96, None),
        (3, 30, 0.1, False),
        (1, 10, 0.1, None),
        (0, 102, 0.5, False),  # worse than chance
    ],
)
def test_whether_a_network_learned(hits, count, largest, verdict):
    top1 = proportion(hits, count)
    assert beats_majority(top1.low, top1.high, largest) is verdict
