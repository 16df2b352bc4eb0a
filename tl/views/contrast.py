"""What differs between runs becomes text: a table with a column a run, and a sentence for each pair."""

import math
import string
from collections.abc import Iterator, Sequence

from tl.runs.diff import Difference, Pair, Rows
from tl.runs.summary import Figure
from tl.views.factsheet import WORDS, value_of
from tl.views.phrases import NONE, figure, plural
from tl.views.terminal.tables import columns, names, shortened, size

_NAME = 17  # characters of the first column
_NARROWEST = 19  # of a run's
_CLASSES = 8  # how many whose counts differ are shown
_LONGEST = 120  # letters of a value
_PER_CLASS = "images a class"
_OTHERS = "not in all"
_CALLED = {
    "weights sha256": "checksum",
    "bytes": "size",
    "top1": "top-1 %",
    "top5": "top-5 %",
    "balanced_accuracy": "balanced %",
    "calibration_error": "ECE",
    "count": "photos",
    "label_smoothing": "smoothing",
}


def contrast(difference: Difference, width: int = 80) -> str:
    """The runs as letters, what differs between them, and McNemar's test on the photos that they share."""
    letters = [letter(at) for at in range(len(difference.runs))]
    called = [(name, shortened(str(run.folder), width - 5)) for name, run in zip(letters, difference.runs, strict=True)]
    lines = [columns(called, (3, width - 5)), ""]
    most = max(1, (width - _NAME) // (_NARROWEST + 2))
    at_once = math.ceil(len(letters) / math.ceil(len(letters) / most))
    for start in range(0, len(letters), at_once):
        places = range(start, min(start + at_once, len(letters)))
        span = (width - _NAME) // len(places) - 2
        rows = [("", *(letters[at] for at in places)), *_rows(difference, places)]
        lines += [columns(rows, (_NAME - 2, *[span] * len(places))), ""]
    same = [name for name, rows in _sections(difference) if not rows]
    if same:
        lines += [columns([(f"The same in all: {', '.join(same)}.",)], (width,)), ""]
    said = [(sentence(pair),) for pair in difference.pairs]
    return "\n".join([*lines, columns(said, (width,))])


def sentence(pair: Pair) -> str:
    """What the photos that two runs share say about them, and which were left out."""
    first, second = letter(pair.first), letter(pair.second)
    if pair.test is None:
        why = f"{first} and {second} have no held-out photo in common, so no test tells which is better"
        said = [f"{why} ({pair.images:,} {plural(pair.images, 'image')} in both data sets)"]
    else:
        said = [f"{first} and {second}: {pair.test.sentence(first, second)}"]
    if pair.trained:
        was = "was" if pair.trained == 1 else "were"
        said.append(
            f"{pair.trained:,} {plural(pair.trained, 'photo')} that one run was trained on and the other is "
            f"scored on {was} left out"
        )
    if pair.disputed:
        said.append(f"{pair.disputed:,} {plural(pair.disputed, 'photo')} of which the labels differ: left out")
    return ". ".join(said) + "."


def letter(place: int) -> str:
    """What a run is called in the table: A, B, ... and then by number."""
    return string.ascii_uppercase[place] if place < 26 else f"#{place + 1}"


def _sections(difference: Difference) -> list[tuple[str, Rows]]:
    return [
        ("options", difference.options),
        ("network", difference.network),
        ("data", difference.data),
        (_PER_CLASS, _classes(difference)),
        ("versions", difference.versions),
    ]


def _classes(difference: Difference) -> Rows:
    """Counts of classes that all runs have, and in one row which of the others each has."""
    rows = {name: row for name, row in difference.per_class.items() if None not in row}
    others = {name: row for name, row in difference.per_class.items() if None in row}
    if not others:
        return rows
    held = [[name for name, row in others.items() if row[at] is not None] for at in range(len(difference.runs))]
    return {_OTHERS: tuple(names(words, 3) or None for words in held)} | rows


def _rows(difference: Difference, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for title, rows in _sections(difference):
        yield from _section(title, rows, places)
    for part, figures in difference.results.items():
        yield _heading(part, places)
        for name, found in figures.items():
            yield f"  {_CALLED.get(name, WORDS.get(name, name))}", *(_figure(name, found[at]) for at in places)
    yield from _section("outcome", difference.outcome, places)


def _section(title: str, rows: Rows, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
    if rows:
        yield _heading(title, places)
    shown = _CLASSES if title == _PER_CLASS else len(rows)
    for name, row in list(rows.items())[:shown]:
        called = name if title == _PER_CLASS else _CALLED.get(name, name.replace("_", "-"))
        yield "  " + shortened(called, 40), *(_value(name, row[at]) for at in places)
    if len(rows) > shown:
        yield f"  and {len(rows) - shown:,} more", *("" for _ in places)


def _heading(title: str, places: Sequence[int]) -> tuple[str, ...]:
    return (title, *("" for _ in places))


def _value(name: str, value: object) -> str:
    if value is None:
        return NONE
    if name == "bytes" and isinstance(value, int):
        return size(value)
    if name == "weights sha256":
        return str(value)[:12]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("seconds", "temperature") and isinstance(value, float):
        return figure(value)
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), _LONGEST)


def _figure(name: str, found: Figure | None) -> str:
    if found is None:
        return NONE
    return f"{found.value:,.0f}" if name == "count" else value_of(name, found).replace(" %", "")
