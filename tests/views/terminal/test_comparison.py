"""The table of a comparison."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from support.comparisons import CASES, HOSTILE, LONG, REASON, comparison, every_case
from tl.runs.comparison import Comparison
from tl.views.terminal.comparison import table


@every_case
@pytest.mark.parametrize("width", [72, 80, 120])
def test_table_fits_the_terminal(case: Comparison, width: int):
    lines = table(case, width).split("\n")
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_table_row_has_all_figures_of_a_network():
    lines = table(comparison()).split("\n")
    assert lines[3].split() == ["network-0", "pretrained", "85.7", "48.7–97.4", "best", "0.33", "7.2", "1,234", "94.0"]
    assert lines[4].split() == ["network-1", "random", "57.1", "25.0–84.2", "0.010", "0.65", "14", "1,234", "94.0"]
    assert lines[5].split()[4] == "<0.001"
    assert lines[6] == "  did not learn: see network-2-scratch/gradients.csv"
    assert "7 validation images of pets, 2 classes." in lines
    assert lines[-1] == "Did not learn: hardly better than the majority-class baseline, if at all."


def test_table_says_when_there_are_too_few_images_to_tell():
    compared = comparison()
    entries = (*compared.entries[:2], replace(compared.entries[2], learned=None))
    text = table(replace(compared, entries=entries))
    assert "  too few images to tell whether it learned\n" in text
    assert "did not learn" not in text.lower()


def test_table_columns_are_aligned():
    lines = table(CASES["twelve"]).split("\n")
    rows = [line for line in lines[3:] if line.startswith("network-")]
    assert len(rows) == 12
    for heading in ("%", "CI", "best", "M", "s", "img/s", "MB"):
        end = f" {lines[1]} ".index(f" {heading} ") + len(heading)
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows), heading


def test_table_ends_with_failed_networks_and_their_errors():
    lines = table(comparison(errors=(REASON, HOSTILE))).split("\n")
    at = next(number for number, line in enumerate(lines) if line.startswith("absent-0"))
    assert lines[at].split() == ["absent-0", "pretrained", *"–––––––"]
    assert lines[at + 1].startswith("  left out: no weights 'imagenet' for vgg19")
    assert lines[at + 1].endswith("…")
    assert lines[at + 3].startswith("  left out: <script>alert('x')</script> & [31m고양이 end")
    assert at > lines.index("  did not learn: see network-2-scratch/gradients.csv")


def test_table_wraps_a_long_name():
    lines = table(CASES["long words"]).split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("a-network"))
    rest = [line.strip() for line in lines[first + 1 :] if line.startswith("  ")]
    assert (lines[first].split()[0] + "".join(rest)).startswith(LONG)


def test_table_does_not_mention_learning_where_all_learned():
    assert "learn" not in table(comparison(right=("1101", "1100")))
