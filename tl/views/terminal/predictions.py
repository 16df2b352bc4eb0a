"""Predictions, heatmaps and search results as lines of a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tl.text import percent
from tl.views.terminal.tables import join_wrapped, printable, shortened, terminal_width, width_of

if TYPE_CHECKING:  # one prediction is printed sooner without them
    from tl.features.search import SearchMatches
    from tl.prediction.predictor import Prediction
    from tl.views.pictures.explain import Heatmap

_LABEL_WIDTH = 24


def prediction_line(prediction: "Prediction", *, wrap: bool = False) -> str:
    """`photo.jpg: cat 97.0%, dog 2.1%, …`; with `wrap`, on several lines where the terminal is too narrow."""
    label = _label(prediction.label, prediction.unknown, "nearest ")
    first = f"{printable(prediction.name)}: {label} {percent(prediction.confidence)}"
    others = [f"{printable(other)} {percent(probability)}" for other, probability in prediction.top[1:]]
    return join_wrapped([first, *others]) if wrap else ", ".join([first, *others])


def error_line(name: str, error: str) -> str:
    """`photo.jpg: error: …` for an image that cannot be read."""
    return f"{printable(name)}: {click.style('error', fg='red')}: {printable(error)}"


def heatmap_line(heatmap: "Heatmap") -> str:
    """`photo.jpg: cat 97.0%` for an explained image."""
    from tl.views.pictures.explain import NO_EVIDENCE

    confidence = heatmap.explanation.confidence if heatmap.explanation is not None else 0.0
    line = f"{printable(heatmap.name)}: {_label(heatmap.label, heatmap.unknown)} {percent(confidence)}"
    return f"{line}, {NO_EVIDENCE}" if heatmap.empty else line


def match_lines(answer: "SearchMatches", *, heading: bool) -> Iterator[str]:
    """A line a match with similarity, label and name; with `heading`, the query's name first."""
    if heading:
        yield click.style(shortened(printable(answer.query), terminal_width()), bold=True)
    longest = max((width_of(printable(match.label or "")) for match in answer.matches), default=0)
    room = min(longest, _LABEL_WIDTH)
    for match in answer.matches:
        label = shortened(printable(match.label or ""), room)
        gap = " " * (room - width_of(label) + 2 if room else 0)
        same = "  identical bytes" if match.same else ""
        name = shortened(printable(match.name), terminal_width() - 9 - (room + 2 if room else 0) - len(same))
        yield f"{match.similarity_text}  {label}{gap}{name}{same}"


def _label(label: str, unknown: bool, note: str = "") -> str:
    styled = click.style(printable(label), bold=True)
    if not unknown:
        return styled
    return f"{click.style('unknown', fg='yellow', bold=True)}, unlike all training images; {note}{styled}"
