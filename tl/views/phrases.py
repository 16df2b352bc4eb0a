"""Numbers, names and messages become words of one line, the same in every view."""

import math

NONE = "–"  # where there is no figure


def percent(share: float) -> str:
    """A share of photos in per cent; rounding alone never makes a 100.0 of it."""
    if math.isnan(share):
        return NONE
    return f"{min(99.9, 100 * share) if share < 1 else 100:.1f}"


def figure(value: float) -> str:
    """A positive number with three digits, or all of a larger one: 0.06, 3.41, 23.6, 1,234."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def plural(count: int, noun: str) -> str:
    """`photo` for one, `photos` for all other counts."""
    return noun if count == 1 else f"{noun}s"


def one_line(text: str) -> str:
    """Text without what would steer a terminal or turn a line around: names and messages come from anywhere."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def cut(line: str, width: int) -> str:
    """The line, or as much of it as fits into `width` columns of a terminal; Korean letters take two."""
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"
