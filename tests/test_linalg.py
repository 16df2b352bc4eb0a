"""Neighbours: exact pairs and nearest rows, in blocks."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tl.linalg import most_similar, pairs_above, projected, unit


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 700), st.floats(-0.5, 1), st.integers(0, 10))
def test_pairs_are_those_of_the_whole_product(count, least, seed):
    rows = unit(np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32))
    first, second = np.nonzero(np.triu(rows @ rows.T >= np.float32(least), 1))
    found = pairs_above(rows, least)
    # A product on the line may round to either side of it in blocks.
    assert abs(len(found) - len(first)) <= 2
    assert len({tuple(pair) for pair in found.tolist()} ^ set(zip(first.tolist(), second.tolist(), strict=True))) <= 2


def test_projection_keeps_angles():
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((50, 600)).astype(np.float32)
    rows[1] = rows[0] + 0.3 * draw.standard_normal(600)
    exact = unit(rows - rows.mean(axis=0))
    near = projected(rows, 256)
    assert near.shape == (50, 256)
    assert abs(near @ near.T - exact @ exact.T).max() < 0.3
    assert near[0] @ near[1] == pytest.approx(exact[0] @ exact[1], abs=0.06)


def test_most_similar_rows_come_first(monkeypatch):
    monkeypatch.setattr("tl.linalg._NEIGHBORS_BLOCK", 7)
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 5), np.float32) * draw.uniform(0.1, 9, (40, 1)).astype(np.float32)
    queries = draw.standard_normal((3, 5), np.float32)
    places, similar = most_similar(queries, rows, 6)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None]
    cosines = queries @ rows.T / lengths
    np.testing.assert_array_equal(places, np.argsort(-cosines, axis=1)[:, :6])
    np.testing.assert_allclose(similar, -np.sort(-cosines, axis=1)[:, :6], atol=1e-6)
    same = np.ones((3, 4), np.float32)
    assert most_similar(same[:1], same, 9)[0].tolist() == [[0, 1, 2]]
    assert most_similar(same[:1], 0 * same, 2)[1].tolist() == [[0, 0]]
    assert most_similar(same, same[:0], 2)[0].shape == (3, 0)


def test_one_thread_holds_for_the_blas_of_scipy_which_is_loaded_late():
    code = (
        "import numpy as np\n"
        "from threadpoolctl import threadpool_info\n"
        "from tl.linalg import OneThread\n"
        "with OneThread(now=True):\n"
        "    import scipy.linalg\n"
        "    print([one['num_threads'] for one in threadpool_info() if one['user_api'] == 'blas'])\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    threads = ast.literal_eval(done.stdout)
    assert set(threads) == {1}
    assert len(threads) >= 2
