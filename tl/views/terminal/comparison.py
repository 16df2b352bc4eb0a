"""Show a comparison of networks as a table in a terminal, and the words that its chart and page share with it."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from tl.runs.comparison import ComparedNetwork, Comparison
from tl.text import NONE, count, number, one_line, percent
from tl.views.terminal.tables import cut, width_of

HEADINGS = (
    ("", "network"),
    ("", "weights"),
    ("top-1", "%"),
    ("95%", "CI"),
    ("p vs", "best"),
    ("params", "M"),
    ("train", "s"),
    ("speed", "img/s"),
    ("size", "MB"),
)
TESTS = "Intervals: Wilson. p: McNemar's exact test against the best."
_WORDS = 2  # columns of words; those of figures follow
_NARROWEST = 12  # letters of a name on one line
_INDENT = "  "


@dataclass(frozen=True)
class NetworkRow:
    """A network as text: its name, its weights, a cell for each other column of `HEADINGS`, and a note or nothing."""

    name: str
    weights: str
    figures: tuple[str, ...]
    note: str = ""


def table(comparison: Comparison, width: int = 80) -> str:
    """The networks from best to worst, with those left out last, in lines of at most `width` characters.

    A long name takes several lines. Below about 70 characters the figures do not fit, and lines become longer.
    """
    cells = rows(comparison)
    spans = _column_widths(cells, width)
    top, bottom = ([heading[at] for heading in HEADINGS] for at in (0, 1))
    lines = [_line(top, spans), _line(bottom, spans), "─" * sum(spans)]
    for row in cells:
        first, *rest = textwrap.wrap(row.name, spans[0], subsequent_indent=_INDENT) or [""]
        lines += [_line([first, row.weights, *row.figures], spans), *rest]
        if row.note:
            lines.append(cut(_INDENT + row.note, max(width, sum(spans))))
    notes = (f"{summary(comparison)}.", TESTS, not_learned_note(comparison))
    return "\n".join([*lines, "", *(part for note in notes for part in textwrap.wrap(note, width))])


def rows(comparison: Comparison) -> list[NetworkRow]:
    """All networks as text, in their order."""
    best = comparison.ranked[0] if comparison.ranked else None
    return [_row(entry, best=entry is best) for entry in comparison.entries]


def subject(comparison: Comparison) -> str:
    """The short name of the data set."""
    return one_line(Path(comparison.data).name or comparison.data)


def summary(comparison: Comparison) -> str:
    """What the networks were compared on."""
    images = count(comparison.count, "validation image")
    return f"{images} of {subject(comparison)}, {count(len(comparison.classes), 'class')}"


def not_learned_note(comparison: Comparison) -> str:
    """What "did not learn" means, where a network did not."""
    if all(entry.learned is not False for entry in comparison.ranked):
        return ""
    return "Did not learn: hardly better than the majority-class baseline, if at all."


def doubt(entry: ComparedNetwork) -> str:
    """That a network did not learn, or that there are too few images to tell; empty where it did."""
    if entry.learned is None:
        return "too few images to tell"
    return "" if entry.learned else "did not learn"


def _row(entry: ComparedNetwork, *, best: bool) -> NetworkRow:
    if entry.error:
        note = one_line(f"left out: {entry.error}")
        return NetworkRow(one_line(entry.name), entry.weights, (NONE,) * (len(HEADINGS) - _WORDS), note)
    top1, note = entry.top1, doubt(entry)
    if entry.learned is None:
        note += " whether it learned"
    elif note and entry.scratch and entry.folder:
        note += f": see {entry.folder}/gradients.csv"
    figures = (
        percent(top1.value).rstrip("%"),
        f"{100 * top1.low:.1f}–{100 * top1.high:.1f}",
        "best" if best else _p_value(entry.p_value),
        number(entry.parameters / 1e6),
        _whole(entry.seconds),
        _whole(entry.speed),
        number(entry.size / 1e6),
    )
    return NetworkRow(one_line(entry.name), entry.weights, figures, one_line(note))


def _p_value(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _column_widths(cells: list[NetworkRow], width: int) -> list[int]:
    """Characters of each column with the space before it; names get what is left, then the columns move apart."""
    columns = zip(*([row.name, row.weights, *row.figures] for row in cells), strict=True)
    needed = [max(map(width_of, (*heading, *column))) for heading, column in zip(HEADINGS, columns, strict=True)]
    longest, *others = needed
    spans = [longest, *(1 + size for size in others)]
    spans[0] = max(min(longest, _NARROWEST), min(longest, width - sum(spans[1:])))
    for at in (*range(_WORDS, len(spans)), 0):
        spans[at] += sum(spans) < width
    return spans


def _line(cells: list[str], spans: list[int]) -> str:
    name, weights, *figures = cells
    words = f"{name}{' ' * (spans[0] - width_of(name))} {weights:<{spans[1] - 1}}"
    return (words + "".join(f"{cell:>{span}}" for cell, span in zip(figures, spans[_WORDS:], strict=True))).rstrip()
