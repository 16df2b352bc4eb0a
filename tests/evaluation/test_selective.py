"""What can be answered so that few of the answers are wrong: exact small cases, and the promise over many draws."""

import numpy as np
import pytest
from scipy.stats import beta

from tl.errors import UsageError
from tl.evaluation.selective import MAX_ERROR, HeldOutAnswers, images_for
from tl.options import as_fraction


def answers(correct, confidence=None, unknown=None):
    """Answers with falling confidence, 0.999, 0.998, …, unless given."""
    count = len(correct)
    confidence = 0.999 - np.arange(count) / 1000 if confidence is None else np.asarray(confidence)
    unknown = np.zeros(count, bool) if unknown is None else np.asarray(unknown)
    return HeldOutAnswers(confidence, np.asarray(correct, bool), unknown)


@pytest.mark.parametrize(("rate", "images"), [(0.01, 230), (0.02, 114), (0.05, 45), (0.1, 22)])
def test_select_needs_as_many_images_as_the_bound_takes(rate, images):
    assert images_for(rate) == images
    assert answers([True] * (images - 1)).select(rate) is None
    selection = answers([True] * images).select(rate)
    assert (selection.answered, selection.max_error) == (1.0, rate)
    assert selection.threshold == pytest.approx(1 - images / 1000)


def test_select_stops_where_the_bound_of_the_fraction_wrong_is_larger():
    correct = np.ones(400, bool)
    correct[150] = correct[250::6] = False
    selection = answers(correct).select(0.05)
    count = round(400 * selection.answered)
    wrong = int((~correct[:count]).sum())
    assert beta.ppf(0.9, wrong + 1, count - wrong) <= 0.05  # Clopper and Pearson's bound
    following = next(step for step in range(10, 401, 10) if step > count)
    wrong = int((~correct[:following]).sum())
    assert beta.ppf(0.9, wrong + 1, following - wrong) > 0.05
    assert selection.threshold == pytest.approx(0.999 - (count - 1) / 1000)
    assert not selection.needs_review(selection.threshold - 2e-8, unknown=False)  # rows have six decimals
    assert selection.needs_review(selection.threshold - 1e-6, unknown=False)
    assert selection.needs_review(1.0, unknown=True)
    assert selection.needs_review(np.nan, unknown=False)


def test_select_answers_equal_confidences_together():
    tied = answers([True] * 45 + [False] * 30, confidence=[0.9] * 75)
    assert tied.select(0.05) is None
    assert answers([True] * 75, confidence=[0.9] * 75).select(0.05).answered == 1


def test_select_hands_unknown_images_back():
    unknown = np.arange(100) % 2 == 0
    selection = answers(~unknown, unknown=unknown).select(0.05)  # all unknown ones are wrong
    assert selection.answered == 0.5


def test_select_of_images_in_groups_needs_as_many_groups():
    alike = HeldOutAnswers(0.999 - np.arange(220) / 1000, np.ones(220, bool), np.zeros(220, bool), weight=0.2)
    assert alike.select(0.05) is None  # 44 groups, where 45 are needed
    assert alike.select(0.06).answered == 1
    with pytest.raises(UsageError, match="takes 225 held-out images, run r has 220"):
        alike.select_or_raise(0.05, "r")


def test_select_keeps_its_promise_in_nine_of_ten_draws():
    random = np.random.default_rng(0)
    broken, promised = 0, 0
    for _ in range(300):
        confidence = random.beta(6, 1, 300)
        correct = random.random(300) < confidence  # so that the error above a threshold t has a closed form
        selection = answers(correct, confidence).select(0.1)
        if selection is not None:
            promised += 1
            t = selection.threshold
            error = 1 - 6 / 7 * (1 - t**7) / (1 - t**6)
            broken += error > 0.1
    assert promised > 200
    assert broken / 300 < 0.12
    assert broken > 0  # and answers as much as it can


def test_error_says_how_many_images_it_takes_and_what_is_possible():
    with pytest.raises(UsageError, match="--max-error 1% takes 230 held-out images, run r has 60: train with more"):
        answers([True] * 60).select_or_raise(0.01, "r")
    with pytest.raises(UsageError, match=r"or give 4% or more$"):
        answers([True] * 60).select_or_raise(0.01, "r")
    with pytest.raises(UsageError, match=r"takes 230 held-out images, run r has none: train with more images$"):
        answers([]).select_or_raise(0.01, "r")
    with pytest.raises(UsageError, match=r"--max-error 0\.5% cannot be shown even for the surest .* run r: "):
        answers([False] + [True] * 600).select_or_raise(0.005, "r")


def test_sentence_has_the_promise_and_its_price():
    sentence = answers([True] * 230).select(0.01).sentence
    assert sentence.startswith("at most 1% wrong among the answered, with 90% confidence: about 100% of images")


@pytest.mark.parametrize(("text", "rate"), [("1%", 0.01), ("0.01", 0.01), (" 2.5 % ", 0.025), ("1e-3", 0.001)])
def test_bounds_are_fractions_and_percentages(text, rate):
    assert as_fraction(text, MAX_ERROR, "max_error") == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "%", "1", "0", "-1%", "60%", "nan", "inf", "1%%", "much", "1e-9"])
def test_what_is_no_bound_is_refused(text):
    with pytest.raises(UsageError, match=r"max_error '.*': give a fraction from 0\.0001 to 0\.5, such as 0\.2 or 20%"):
        as_fraction(text, MAX_ERROR, "max_error")
