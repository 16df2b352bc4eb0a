"""The result of a comparison."""

from dataclasses import replace

from support.comparisons import HOSTILE, comparison


def test_comparison_majority_baseline_counts_true_labels():
    assert comparison(right=("11111",)).majority == 0.6
    assert replace(comparison(), photos=()).majority is None


def test_comparison_in_a_notebook_is_an_escaped_table():
    html = comparison(names=(HOSTILE, "b", "c"), errors=(HOSTILE,))._repr_html_()
    assert "<script>" not in html
    assert html.count("<tr>") == 5
    assert "85.7% (95% CI 48.7–97.4)" in html
