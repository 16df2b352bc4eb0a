"""Rows of words become aligned lines of a terminal, in which Korean letters take two columns."""

import math
from collections.abc import Iterable, Sequence

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


def columns(rows: Iterable[Sequence[str]], spans: Sequence[int]) -> str:
    """Rows of cells, each wrapped to its column of `spans` characters; two spaces part them."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for span in spans:
        table.add_column(width=span, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_indent(cell) + one_line(cell)) for cell in row))
    drawn = io.StringIO()
    room = sum(spans) + 2 * len(spans)
    Console(file=drawn, width=room, color_system=None, legacy_windows=False, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def _indent(cell: str) -> str:
    return " " * min(4, len(cell) - len(cell.lstrip(" ")))


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, room: int) -> str:
    """The text with spaces up to `room` columns."""
    return text + " " * (room - width_of(text))


def shortened(text: str, room: int) -> str:
    """The text on one line, without its middle where it takes more than `room` columns: names differ at their ends."""
    text = one_line(text)
    if width_of(text) <= room:
        return text
    head, tail = "", ""
    for at in range(len(text)):
        if width_of(head + text[at]) > (room - 1) // 2:
            break
        head += text[at]
    for letter in reversed(text):
        if width_of(head + letter + tail) > room - 1:
            break
        tail = letter + tail
    return f"{head}…{tail}"


def size(count: int) -> str:
    """Bytes in words: 12 kB, 1.3 MB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            amount = count / factor
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:,.0f} {unit}"
    return f"{count} B"


def names(words: Sequence[str], shown: int) -> str:
    """The first words, and how many more there are."""
    more = f" and {len(words) - shown:,} more" if len(words) > shown else ""
    return ", ".join(shortened(word, 24) for word in words[:shown]) + more


def terminal_width() -> int:
    """The columns of the terminal, 80 where there is none; never fewer than the tables need."""
    import shutil

    return max(60, shutil.get_terminal_size((80, 24)).columns)
