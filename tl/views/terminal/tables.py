"""Rows of words become aligned lines of a terminal, in which Korean letters take two columns."""

from collections.abc import Iterable, Sequence

from tl.views.phrases import one_line


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
