"""What is printed for people: lines as wide as the terminal, broken where a reader would."""

import pytest
from rich.cells import cell_len

from tl.commands.console import folded


@pytest.mark.parametrize("names", [["cat", "dog"], ["한국 고양이 품종", "sweet pepper plant"] * 6])
def test_lists_are_broken_between_their_parts(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parts = [f"{name} {at}.0 %" for at, name in enumerate(names)]
    lines = folded(parts).splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    assert ", ".join(parts) == " ".join(line.strip() for line in lines)
    assert len(lines) == (1 if len(names) == 2 else 5)


def test_what_is_longer_than_a_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert folded(["x" * 200, "y"]) == "x" * 200 + ",\n    y"
