"""The confusion matrix of a report."""

import numpy as np

from tl.views.pages.report_charts import LEVELS, matrix_layers, matrix_rows, sparse_matrix


def test_matrix_layers_have_a_square_for_each_count():
    counts = np.zeros((30, 30), np.int64)
    counts[np.arange(30), np.arange(30)] = 90
    counts[3, 7], counts[4, 9] = 10, 1
    layers = matrix_layers(counts)
    [right] = [layer for layer in layers if layer["kind"] == "right"]
    wrong = {layer["path"]: layer["level"] for layer in layers if layer["kind"] == "wrong"}
    assert right["path"].count("M") == 30
    assert right["path"].startswith("M0 0h1v1h-1z")
    assert wrong["M7 3h1v1h-1z"] == LEVELS
    assert 1 <= wrong["M9 4h1v1h-1z"] < LEVELS
    assert sparse_matrix(counts)[3] == [3, 90, 7, 10]


def test_matrix_rows_have_counts_colours_and_titles():
    rows = matrix_rows(np.array([[9, 1], [0, 0]]), ("cat", "dog"))
    assert [[cell["count"] for cell in cells] for _, cells in rows] == [[9, 1], [0, 0]]
    assert [cell["level"] > 0 for _, cells in rows for cell in cells] == [True, True, False, False]
    assert rows[0][1][1]["title"] == "1 image of cat predicted as dog, 10.0% of the class"
    assert rows[1][1][0]["title"] == "0 images of dog predicted as cat"
