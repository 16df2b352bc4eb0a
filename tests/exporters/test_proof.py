"""The proof of an export: differences are counted, named, and compared with the tolerance."""

import numpy as np
import pytest

from tl.evaluation.significance import mcnemar
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
        "made": 0,
        "made_largest": 0.0,
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


@pytest.mark.parametrize("figure", ["largest", "log_odds"])
@pytest.mark.parametrize(("value", "passes"), [(0.01, True), (0.0101, False), (np.nan, False), (np.inf, False)])
def test_failure_of_a_difference_beyond_the_tolerance(figure, value, passes):
    assert (failure(proof(**{figure: value}), 0.01, int8=False) == "") == passes


@pytest.mark.parametrize(
    ("count", "worse", "better", "passes"), [(100, 2, 0, True), (100, 3, 0, False), (100, 3, 1, True), (4, 1, 0, True)]
)
def test_failure_of_int8_beyond_two_points_and_one_image(count, worse, better, passes):
    assert (failure(proof(count, worse, better), 0.02, int8=True) == "") == passes


def test_lines_show_changed_labels_and_count_lost_and_made_images():
    changes = tuple(ChangedLabel(f"{'long/' * 20}{at}.jpg", "cat", "dog", 0.51, 0.5) for at in range(15))
    shown = lines(proof(changes=changes, lost=3, made=5, made_largest=0.05), "openvino 1", 0.01, 0)
    text = "\n".join(text for _, text in shown)
    for part in (
        "15 of 100 images changed",
        "/0.jpg: cat 51.0%, export dog 50.0%",
        "and 3 more, in export.json",
        "3 more images missing, changed or unreadable",
        "0.050 on 5 JPEGs made of them: large, tall, wide, middling, tiny",
    ):
        assert part in text
