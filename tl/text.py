"""Numbers and names as text: plurals, percentages, sizes, shortening. English as a person writes it."""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

NONE = "–"
"""Where there is no value."""

_MOST_ROWS = 50  # of a table in a notebook


def count(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 photo`, `1,204 photos`, `2 classes` (with `plural="classes"`)."""
    return f"{number:,} {noun if number == 1 else plural or _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def spread(counts: Collection[int]) -> str:
    """The smallest and the largest of some counts, or the one number that they all are."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction of 0 to 1 as `97.0%`; rounding alone never makes 100.0% of less."""
    if fraction is None or math.isnan(fraction):
        return NONE
    largest = 100 - 10.0**-digits
    return f"{min(largest, 100 * fraction) if fraction < 1 else 100:.{digits}f}%"


def judged_by(part: str, folds: object) -> str:
    """The word before "images" or "accuracy" for a part: "cross-validated" where its figures come from folds."""
    return "cross-validated" if folds else part


def interval(low: float, high: float) -> str:
    """A 95% confidence interval of a fraction: `95% CI 94.7–99.8`."""
    return f"95% CI {100 * low:.1f}–{100 * high:.1f}"


def number(value: float) -> str:
    """A positive number with three digits, or all of a larger one: 0.06, 3.41, 23.6, 1,234."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def size(count_of_bytes: int) -> str:
    """Bytes as `12 kB` or `1.3 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_of_bytes >= factor:
            amount = count_of_bytes / factor
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:,.0f} {unit}"
    return f"{count_of_bytes} B"


def one_line(text: str) -> str:
    """Text without control characters and line breaks: names and messages come from anywhere."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shorten(text: str, length: float, width: Callable[[str], float] = len) -> str:
    """Text on one line, without its middle where it is wider than `length`: names differ at the ends.

    `width` measures text, by default in characters.
    """
    line = one_line(text)
    if width(line) <= length:
        return line

    def shortened(kept: int) -> str:
        return f"{line[: kept // 2]}…{line[len(line) - (kept + 1) // 2 :]}"

    return shortened(bisect_right(range(1, len(line)), length, key=lambda kept: width(shortened(kept))))


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted with the numbers in them by value: 2 before 10."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split(r"([0-9]{1,18})", name)  # text and digits in turn
        return [int(part) if at % 2 else part for at, part in enumerate(parts)], name

    return sorted(names, key=key)


def quoted(names: Iterable[str], most: int = 5) -> str:
    """Sorted names in quotation marks, for a message: `'a', 'b' and 3 more`."""
    return listed([repr(name) for name in in_order(names)], most)


def html_table(rows: Iterable[Sequence[object]], headings: Sequence[str] = (), caption: str = "") -> str:
    """The first 50 rows as an HTML table for notebooks; everything in it is escaped."""
    from html import escape

    def line(cells: Sequence[object], tag: str) -> str:
        start = f"<{tag} style='text-align:left'>"  # Jupyter aligns cells to the right
        return "<tr>" + "".join(f"{start}{escape(one_line(str(cell)))}</{tag}>" for cell in cells) + "</tr>"

    head = f"<thead>{line(headings, 'th')}</thead>" if headings else ""
    title = f"<caption>{escape(one_line(caption))}</caption>" if caption else ""
    rows = list(rows)
    more = f"<p>and {len(rows) - _MOST_ROWS:,} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table>{title}{head}<tbody>{''.join(line(row, 'td') for row in rows[:_MOST_ROWS])}</tbody></table>{more}"


class HtmlList(list[Item]):
    """A list that notebooks show as an HTML table; `cells` makes a row of an item."""

    def __init__(
        self, items: Iterable[Item], headings: Sequence[str], cells: Callable[[Item], Sequence[object]]
    ) -> None:
        super().__init__(items)
        self._headings, self._cells = headings, cells

    def _repr_html_(self) -> str:
        return html_table(map(self._cells, self), self._headings)
