"""The proof of an export: differences are counted, named, and compared with the tolerance."""

import numpy as np
import pytest

from tl.evaluation.metrics import mcnemar
from tl.exporters.proof import ChangedLabel, Proof, failure, lines


def proof(count=100, worse=0, better=0, **changes) -> Proof:
    ours = np.ones(count, bool)
    theirs = ours.copy()
    ours[:better] = False
    theirs[better : better + worse] = False
    figures = {
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
    return Proof(**figures | changes)


def test_accuracy_lost_has_an_interval_for_paired_predictions():
    value, low, high = proof(count=100, worse=5, better=1).accuracy_lost
    assert value == pytest.approx(0.04)
    # Bonett and Price (2012): (6 - 2) / 102 ± 1.96 sqrt((8/102 - (4/102)²) / 102)
    assert (low, high) == pytest.approx((-0.0146, 0.0930), abs=1e-3)
    assert proof(worse=0).accuracy_lost[0] == 0
    assert proof(worse=0).accuracy_lost[2] > 0  # a hundred images are no proof that none is ever lost


@pytest.mark.parametrize(("largest", "passes"), [(0.01, True), (0.0101, False), (float("nan"), False)])
def test_failure_of_a_difference_beyond_the_tolerance(largest, passes):
    assert (failure(proof(largest=largest), 0.01, int8=False) == "") == passes


@pytest.mark.parametrize(("log_odds", "passes"), [(0.01, True), (0.0101, False), (float("inf"), False)])
def test_failure_of_log_odds_beyond_the_tolerance(log_odds, passes):
    assert (failure(proof(log_odds=log_odds), 0.01, int8=False) == "") == passes


@pytest.mark.parametrize(
    ("count", "worse", "better", "passes"), [(100, 2, 0, True), (100, 3, 0, False), (100, 3, 1, True), (4, 1, 0, True)]
)
def test_failure_of_int8_beyond_two_points_and_one_image(count, worse, better, passes):
    assert (failure(proof(count, worse, better), 0.02, int8=True) == "") == passes


def test_lines_show_changed_labels_with_both_confidences():
    changes = tuple(ChangedLabel(f"{'long/' * 20}{at}.jpg", "cat", "dog", 0.51, 0.5) for at in range(15))
    text = "\n".join(text for _, text in lines(proof(changes=changes), "openvino 1", 0.01, 0))
    assert "15 of 100 images changed" in text
    assert "/0.jpg: cat 51.0%, export dog 50.0%" in text
    assert "and 3 more, in export.json" in text


def test_lines_count_lost_and_shrunk_images():
    text = "\n".join(text for _, text in lines(proof(lost=3, shrunk=2, shrunk_largest=0.05), "openvino 1", 0.01, 0))
    assert "3 more images missing, changed or unreadable" in text
    assert "0.050 from `tl predict` on 2 large JPEGs" in text
