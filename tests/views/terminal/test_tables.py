"""Text in a terminal: wrapped between its parts, in columns that Korean letters take two of."""

import pytest
from rich.cells import cell_len

from tl.views.terminal.tables import columns, join_wrapped, printable, shortened


@pytest.mark.parametrize("names", [["cat", "dog"], ["한국 고양이 품종", "sweet pepper plant"] * 6])
def test_join_wrapped_breaks_between_parts_alone(monkeypatch, names):
    monkeypatch.setenv("COLUMNS", "80")
    parts = [f"{name} {number}.0 %" for number, name in enumerate(names)]
    lines = join_wrapped(parts).splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    assert ", ".join(parts) == " ".join(line.strip() for line in lines)
    assert len(lines) == (1 if len(names) == 2 else 5)

    assert join_wrapped(["x" * 200, "y"]) == "x" * 200 + ",\n    y"


def test_printable_escapes_control_characters_and_shortened_keeps_both_ends():
    assert printable("고양이\x1b[31m") == "고양이\\x1b[31m"
    assert shortened("cat", 5) == "cat"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert cell_len(shortened("한국고양이" * 9, 20)) <= 20
    assert shortened("two\nlines", 20) == "two lines"


def test_columns_wrap_cells():
    assert columns([("a", "b c")], (3, 1)) == "a    b\n     c"
