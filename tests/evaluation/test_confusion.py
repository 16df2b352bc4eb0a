"""Confusion against scikit-learn's, and the pairs most often confused by hand."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tl.evaluation.metrics import Pair, confusion, most_confused


@pytest.mark.parametrize("classes", [2, 100])
def test_the_matrix_is_scikit_learns(classes):
    draw = np.random.default_rng(0)
    labels, answers = draw.integers(0, classes, (2, 3000))
    assert np.array_equal(confusion(labels, answers, classes), confusion_matrix(labels, answers, labels=range(classes)))


def test_classes_that_never_occur_keep_their_place():
    matrix = confusion(np.array([1, 1]), np.array([1, 0]), 4)
    assert matrix.shape == (4, 4)
    assert matrix[1].tolist() == [1, 1, 0, 0]
    assert confusion(np.zeros(0, np.int64), np.zeros(0, np.int64), 2).tolist() == [[0, 0], [0, 0]]


def test_pairs_have_a_direction_and_the_most_photos_come_first():
    matrix = np.array([[90, 6, 0], [3, 3, 0], [6, 3, 1]])
    assert most_confused(matrix) == [
        Pair(2, 0, 6, 0.6),  # the larger share of its class
        Pair(0, 1, 6, 6 / 96),
        Pair(1, 0, 3, 0.5),
        Pair(2, 1, 3, 0.3),
    ]
    assert most_confused(matrix, 1) == [Pair(2, 0, 6, 0.6)]


def test_nothing_confused():
    assert most_confused(np.diag([3, 0, 4])) == []
