"""The charts of a report."""

import itertools
import re

import numpy as np
import pytest

from support.reports import learning_curve
from tl.views.pages.report_charts import LEVELS, growth_chart, matrix_layers, matrix_rows, sparse_matrix


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


@pytest.mark.parametrize("images", [8, 40, 502, 50_000])
def test_growth_chart_has_all_points_inside_and_predictions_after_the_run(images):
    chart = growth_chart(learning_curve(("cat", "dog", "owl"), images))
    band, median = (
        [tuple(map(float, each)) for each in re.findall(r"([\d.]+) ([\d.]+)", chart[name])]
        for name in ("band", "median")
    )
    places = [*band, *median, *((point["x"], point["y"]) for point in chart["points"])]
    assert all(chart["left"] <= x <= chart["right"] and chart["top"] <= y <= chart["bottom"] for x, y in places)
    assert all(first[0] < then[0] and first[1] > then[1] for first, then in itertools.pairwise(median))
    assert median[2][0] == pytest.approx(chart["now"], abs=4)
    assert [label for _, label in chart["x_ticks"]][-3:] == [f"{images * factor:,}" for factor in (1, 2, 4)]
    assert chart["y_ticks"][0] == (chart["top"], "100%")
    assert chart["twice"]["words"] == "about 91% (95% CI 86–95)"
    assert [row["gain"] for row in chart["classes"]] == ["4.0"] * 3
    assert chart["rough"] == (images < 200)
