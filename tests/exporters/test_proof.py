"""The proof of an export: what differs is counted, named, and judged."""

import numpy as np
import pytest

from tl.evaluation.metrics import mcnemar
from tl.exporters.proof import Change, Proof, beyond, lines


def proof(count=100, worse=0, better=0, **changes) -> Proof:
    ours = np.ones(count, bool)
    theirs = ours.copy()
    ours[:better] = False
    theirs[better : better + worse] = False
    given = {
        "part": "validation",
        "count": count,
        "lost": 0,
        "unreadable": 0,
        "largest": 0.002,
        "mean": 0.0001,
        "log_odds": 0.001,
        "worst": "a.jpg",
        "changes": (),
        "shrunk": 0,
        "shrunk_largest": 0.0,
        "our_hits": int(ours.sum()),
        "their_hits": int(theirs.sum()),
        "comparison": mcnemar(ours, theirs),
        "our_rate": 10.0,
        "their_rate": 20.0,
    }
    return Proof(**given | changes)


def test_the_interval_of_what_is_lost_is_of_pairs():
    value, low, high = proof(count=100, worse=5, better=1).accuracy_lost
    assert value == pytest.approx(0.04)
    # Bonett and Price (2012): (6 - 2) / 102 ± 1.96 sqrt((8/102 - (4/102)²) / 102)
    assert (low, high) == pytest.approx((-0.0146, 0.0930), abs=1e-3)
    assert proof(worse=0).accuracy_lost[0] == 0
    assert proof(worse=0).accuracy_lost[2] > 0  # none of a hundred lost is no proof that none ever is


@pytest.mark.parametrize(("largest", "passes"), [(0.01, True), (0.0101, False), (float("nan"), False)])
def test_a_difference_beyond_the_bound_is_not_let_pass(largest, passes):
    assert (beyond(proof(largest=largest), 0.01, int8=False) == "") == passes


@pytest.mark.parametrize(("log_odds", "passes"), [(0.01, True), (0.0101, False), (float("inf"), False)])
def test_log_odds_beyond_the_bound_are_not_let_pass(log_odds, passes):
    assert (beyond(proof(log_odds=log_odds), 0.01, int8=False) == "") == passes


@pytest.mark.parametrize(
    ("count", "worse", "better", "passes"), [(100, 2, 0, True), (100, 3, 0, False), (100, 3, 1, True), (4, 1, 0, True)]
)
def test_int8_may_lose_two_points_or_one_photo(count, worse, better, passes):
    assert (beyond(proof(count, worse, better), 0.02, int8=True) == "") == passes


def test_changed_labels_are_told_with_both_confidences():
    changes = tuple(Change(f"{'long/' * 20}{at}.jpg", "cat", "dog", 0.51, 0.5) for at in range(15))
    told = "\n".join(text for _, text in lines(proof(changes=changes), "openvino 1", 0.01, 0))
    assert "15 photos of 100 labelled otherwise" in told
    assert "/0.jpg: cat 51.0 %, export dog 50.0 %" in told
    assert "and 3 more, in export.json" in told


def test_lost_and_shrunk_photos_are_told():
    told = "\n".join(text for _, text in lines(proof(lost=3, shrunk=2, shrunk_largest=0.05), "openvino 1", 0.01, 0))
    assert "3 photos of it are not there as they were" in told
    assert "2 large JPEGs, which `tl predict` shrinks while decoding: 0.050" in told
