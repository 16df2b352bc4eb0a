"""Figures against values worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tl.evaluation.metrics import evaluate, proportion


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (101, 102), (3, 7), (640, 2000)])
def test_the_interval_is_wilsons(hits, count):
    ours = proportion(hits, count)
    theirs = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_top1_top5_and_log_loss():
    shares = np.full((4, 6), 0.1, np.float32)
    shares[[0, 1, 2, 3], [0, 1, 2, 3]] = 0.5
    shares[:, 5] = 0.01
    found = evaluate(shares, np.array([0, 1, 0, 5]))
    assert found.top1.value == 0.5
    assert found.top5 is not None
    assert found.top5.value == 0.75  # class 5 is the sixth of six in every row
    assert found.log_loss == pytest.approx(-np.mean(np.log([0.5, 0.5, 0.1, 0.01])), rel=1e-6)


def test_top5_needs_more_than_five_classes():
    assert evaluate(np.eye(5, dtype=np.float32), np.arange(5)).top5 is None
