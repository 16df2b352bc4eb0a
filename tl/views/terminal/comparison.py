"""A comparison becomes a table of text, and its figures the words that all views of it share."""

import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tl.views.terminal.tables import NONE, cut, figure, one_line, percent, plural
from tl.workflows.compare import Comparison, Entry

HEADINGS = (
    ("", "network"),
    ("", "weights"),
    ("top-1", "%"),
    ("95 %", "interval"),
    ("p to", "best"),
    ("params", "M"),
    ("train", "s"),
    ("speed", "img/s"),
    ("size", "MB"),
)
TESTS = "Intervals are Wilson's; p is McNemar's, against the best."
_WORDS = 2  # columns of words; those of figures follow
_NARROWEST = 12  # letters of a name on one line
_INDENT = "  "


@dataclass(frozen=True)
class Row:
    """An entry in words: the columns of `HEADINGS`, and a note of what a reader must not overlook, or nothing."""

    name: str
    weights: str
    top1: str
    interval: str
    p_value: str
    parameters: str
    seconds: str
    speed: str
    size: str
    note: str = ""

    @property
    def figures(self) -> tuple[str, ...]:
        """The cells after name and weights."""
        return (self.top1, self.interval, self.p_value, self.parameters, self.seconds, self.speed, self.size)


def table(comparison: Comparison, width: int = 80) -> str:
    """The networks from best to worst, with those left out last, in lines of at most `width` characters.

    A long name takes several lines. Below about 70 characters the figures do not fit, and lines become longer.
    """
    cells = rows(comparison)
    spans = _spans(cells, width)
    top, bottom = ([heading[at] for heading in HEADINGS] for at in (0, 1))
    lines = [_line(top, spans), _line(bottom, spans), "─" * sum(spans)]
    for row in cells:
        first, *rest = _parts(row.name, spans[0])
        lines += [_line([first, row.weights, *row.figures], spans), *rest]
        if row.note:
            lines.append(cut(_INDENT + row.note, max(width, sum(spans))))
    about = (f"{summary(comparison)}.", TESTS, explained(comparison))
    return "\n".join([*lines, "", *(part for said in about for part in textwrap.wrap(said, width))])


def rows(comparison: Comparison) -> list[Row]:
    """All entries in words, in their order."""
    best = comparison.ranked[0] if comparison.ranked else None
    return [_left_out(entry) if entry.error else _row(entry, best=entry is best) for entry in comparison.entries]


def subject(comparison: Comparison) -> str:
    """What people call the data set."""
    return one_line(Path(comparison.data).name or comparison.data)


def summary(comparison: Comparison) -> str:
    """On what the networks were compared."""
    count, classes = comparison.count, len(comparison.classes)
    return f"{count:,} validation {plural(count, 'photo')} of {subject(comparison)}, {classes:,} classes"


def explained(comparison: Comparison) -> str:
    """What "did not learn" means, where a network did not."""
    if all(entry.learned is not False for entry in comparison.ranked):
        return ""
    return "Did not learn: hardly better than always naming the largest class, if at all."


def doubt(entry: Entry) -> str:
    """That a network did not learn, or that the photos do not tell; nothing where it did."""
    if entry.learned is None:
        return "too few photos to tell"
    return "" if entry.learned else "did not learn"


def largest_class(comparison: Comparison) -> float | None:
    """The top-1 of always naming the largest class; None without photos."""
    counted = Counter(photo.truth for photo in comparison.photos)
    return max(counted.values()) / len(comparison.photos) if counted else None


def _row(entry: Entry, *, best: bool) -> Row:
    top1 = entry.top1
    note = doubt(entry)
    if entry.learned is None:
        note += " whether it learned"
    elif note and entry.scratch and entry.folder:
        note += f": see {entry.folder}/gradients.csv"
    return Row(
        one_line(entry.name),
        _weights(entry),
        percent(top1.value),
        f"{100 * top1.low:.1f}–{100 * top1.high:.1f}",
        "best" if best else _p_value(entry.p_value),
        figure(entry.parameters / 1e6),
        _whole(entry.seconds),
        _whole(entry.speed),
        figure(entry.size / 1e6),
        one_line(note),
    )


def _left_out(entry: Entry) -> Row:
    note = one_line(f"left out: {entry.error}")
    return Row(one_line(entry.name), _weights(entry), NONE, NONE, NONE, NONE, NONE, NONE, NONE, note)


def _weights(entry: Entry) -> str:
    return "random" if entry.scratch else "pretrained"


def _p_value(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _spans(cells: list[Row], width: int) -> list[int]:
    """Characters of each column with the space before it; names get what is left, then the columns move apart."""
    columns = zip(*([row.name, row.weights, *row.figures] for row in cells), strict=True)
    needed = [max(map(_cells, (*heading, *column))) for heading, column in zip(HEADINGS, columns, strict=True)]
    longest, *others = needed
    spans = [longest, *(1 + size for size in others)]
    spans[0] = max(min(longest, _NARROWEST), min(longest, width - sum(spans[1:])))
    for at in (*range(_WORDS, len(spans)), 0):
        spans[at] += sum(spans) < width
    return spans


def _line(cells: list[str], spans: list[int]) -> str:
    name, weights, *figures = cells
    words = f"{name}{' ' * (spans[0] - _cells(name))} {weights:<{spans[1] - 1}}"
    return (words + "".join(f"{cell:>{span}}" for cell, span in zip(figures, spans[_WORDS:], strict=True))).rstrip()


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _parts(name: str, room: int) -> list[str]:
    return textwrap.wrap(name, room, subsequent_indent=_INDENT) or [""]
