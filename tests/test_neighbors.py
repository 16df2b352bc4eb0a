"""The rows of features most similar to given ones."""

import numpy as np
import pytest

from tl.neighbors import most_similar


def test_most_similar_rows_come_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tl.neighbors._NEIGHBORS_BLOCK", 7)
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 5), np.float32) * draw.uniform(0.1, 9, (40, 1)).astype(np.float32)
    queries = draw.standard_normal((3, 5), np.float32)
    places, similar = most_similar(queries, rows, 6)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None]
    cosines = queries @ rows.T / lengths
    np.testing.assert_array_equal(places, np.argsort(-cosines, axis=1)[:, :6])
    np.testing.assert_allclose(similar, -np.sort(-cosines, axis=1)[:, :6], atol=1e-6)


def test_fewer_rows_equal_rows_and_zeros():
    same = np.ones((3, 4), np.float32)
    assert most_similar(same[:1], same, 9)[0].tolist() == [[0, 1, 2]]
    assert most_similar(same[:1], 0 * same, 2)[1].tolist() == [[0, 0]]
    assert most_similar(same, same[:0], 2)[0].shape == (3, 0)
