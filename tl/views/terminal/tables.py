"""Lay out text in a terminal, where some letters, such as Korean ones, are two columns wide."""

import shutil
from collections.abc import Iterable, Sequence

from tl.text import listed, one_line


def printable(text: str) -> str:
    """Text without control characters, which are written as escapes: class and file names come from anywhere."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def width_of(text: str) -> int:
    """The number of columns that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """The text with spaces up to `width` columns."""
    return text + " " * (width - width_of(text))


def cut(line: str, width: int) -> str:
    """The line, or its start with `…` where it is wider than `width` columns."""
    from rich.cells import set_cell_size

    return line if width_of(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def shortened(text: str, width: int) -> str:
    """The text on one line, without its middle where it is wider than `width` columns: names differ at their ends."""
    text = one_line(text)
    if width_of(text) <= width:
        return text
    head, tail = "", ""
    for letter in text:
        if width_of(head + letter) > (width - 1) // 2:
            break
        head += letter
    for letter in reversed(text):
        if width_of(head + letter + tail) > width - 1:
            break
        tail = letter + tail
    return f"{head}…{tail}"


def names(words: Sequence[str], most: int) -> str:
    """The first names, each shortened, and how many more there are: `a, b and 3 more`."""
    return listed([shortened(word, 24) for word in words], most)


def columns(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """Rows of cells, each wrapped to the width of its column, with two spaces between columns."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for width in widths:
        table.add_column(width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_indent(cell) + one_line(cell)) for cell in row))
    output = io.StringIO()
    total = sum(widths) + 2 * len(widths)
    Console(file=output, width=total, color_system=None, legacy_windows=False, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def _indent(cell: str) -> str:
    return " " * min(4, len(cell) - len(cell.lstrip(" ")))


def join_wrapped(parts: Sequence[str]) -> str:
    """Parts separated by commas, on lines as wide as the terminal; a part is never broken. Styles take no width."""
    import click

    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    lines = [parts[0]]
    for part in parts[1:]:
        if width_of(click.unstyle(lines[-1])) + width_of(part) + 3 > width:
            lines[-1] += ","
            lines.append(f"    {part}")
        else:
            lines[-1] += f", {part}"
    return "\n".join(lines)


def terminal_width() -> int:
    """The columns of the terminal: 80 where there is none, and at least the 60 that tables need."""
    return max(60, shutil.get_terminal_size((80, 24)).columns)
