"""Show the results of `tl evaluate`, `tl bench` and `tl compare` in a terminal.

The chart and the page of a comparison have their words from here.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tl.engines.timing import Timing
from tl.evaluation.metrics import Estimate, Proportion, confusion, most_confused
from tl.prediction.evaluation import Evaluation
from tl.runs.network_comparison import ComparedNetwork, Comparison
from tl.text import NONE, count, interval, judged_by, number, one_line, percent
from tl.views.terminal.tables import columns, cut, padded, shortened, width_of

_CLASSES = 8  # in the table; of more, the weakest
_CLASS_NAME, _RUN_NAME = 34, 60  # columns


def lines(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Topic and text of each line: metrics, classes, most confused pairs, and the other run."""
    metrics, predictions = evaluation.metrics, evaluation.predictions
    for reason, number_left_out in evaluation.left_out.items():
        yield "left out", f"{count(number_left_out, 'image')} {reason}"
    part = f"{evaluation.held_out} " if evaluation.held_out else ""
    groups = f" in {count(metrics.groups, 'group')}" if metrics.groups else ""
    yield "accuracy", f"{_estimate(metrics.top1)} on {count(metrics.count, f'{part}image')}{groups}"
    if evaluation.trained_on:
        yield "", f"{evaluation.trained_on:,} of them trained on: accuracy on new images will be lower"
    if evaluation.copies:
        yield "", f"{evaluation.copies:,} of them copies of training images: judged by heads fitted without these"
    if metrics.top5 is not None:
        yield "top-5", _estimate(metrics.top5)
    low, high = metrics.log_loss_interval
    yield "balanced", f"accuracy {_estimate(metrics.balanced_accuracy)}"
    yield "macro F1", _estimate(metrics.macro_f1)
    yield "log-loss", f"{metrics.log_loss:.3f} (95% CI {low:.3f}–{high:.3f})"
    yield "Brier score", _decimal(metrics.brier)
    yield "calibration", f"expected calibration error {_decimal(metrics.calibration_error)}"
    if predictions.unknown is not None:
        unlike = int(predictions.is_unknown.sum())
        verb = "is" if unlike == 1 else "are"
        yield "unknown", f"{count(unlike, 'image')} {verb} unlike the training images ({predictions.unknown.sentence})"
    yield from _classes(evaluation)
    yield from _confused(evaluation)
    if evaluation.comparison is not None:
        names = (shortened(name, _RUN_NAME) for name in (evaluation.against, evaluation.run.name))
        yield "against", evaluation.against_sentence(*names)


def _classes(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    classes = zip(evaluation.run.classes, evaluation.metrics.per_class, strict=True)
    present = [item for item in classes if item[1].support]
    weakest = sorted(present, key=lambda item: item[1].recall.value)[:_CLASSES]
    many = len(present) > _CLASSES
    yield "", ""
    yield "weakest" if many else "classes", f"{'':<{_CLASS_NAME}}recall precision     F1 images"
    for name, figures in weakest if many else present:
        recall, precision, f1 = (percent(value.value) for value in (figures.recall, figures.precision, figures.f1))
        yield "", f"{padded(_short(name), _CLASS_NAME)}{recall:>6}{precision:>10}{f1:>7}{figures.support:>7,}"


def _confused(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    names, predictions = evaluation.run.classes, evaluation.predictions
    matrix = confusion(predictions.labels, predictions.probabilities.argmax(axis=1), len(names))
    pairs = most_confused(matrix, 5)
    yield "", ""
    if not pairs:
        yield "confused", "none: all images are classified correctly"
    for at, pair in enumerate(pairs):
        classes = f"{_short(names[pair.truth])} predicted as {_short(names[pair.predicted])}"
        images = f"{count(pair.count, 'image')}, {percent(pair.fraction, 0)} of its class"
        yield ("" if at else "confused"), f"{classes}: {images}"


def _short(name: str) -> str:
    return cut(one_line(name), _CLASS_NAME - 1)


def _estimate(figure: Proportion | Estimate) -> str:
    return f"{percent(figure.value)} ({interval(figure.low, figure.high)})"


def _decimal(figure: Estimate) -> str:
    return f"{figure.value:.3f} (95% CI {figure.low:.3f}–{figure.high:.3f})"


def timing_table(timing: Timing) -> str:
    """Latency and throughput by precision and batch size, beside the network's own rate; within 80 columns."""
    return columns(timing.table(), (9, 5, 8, 8, 8, 8, 8, 6), words=1)


def timing_lines(timing: Timing) -> Iterator[tuple[str, str]]:
    """What stands below the table: topic and text of each line."""
    calls, best = min(row.calls for row in timing.cells), timing.fastest
    yield (
        "",
        f"milliseconds from a batch of files to their labels, over at least {calls} calls; images/s of a stream of "
        "files; engine: images/s of the network alone, on arrays in memory; ratio: of the two",
    )
    for at, process in enumerate(timing.processes):
        yield ("" if at else "tl predict"), f"{'' if at else 'new process, '}{process.about}: {process.cost}"
    if timing.benchmark_app is not None:
        row = f"{best.precision}, batch {best.batch}"
        yield "OpenVINO", f"benchmark_app: {number(timing.benchmark_app)} images/s with {row}"
    for precision, choice in timing.choices.items():
        if precision in timing.measured:
            yield "remembered", f"{precision}: {timing.measured[precision]}"
        elif choice is not None:
            yield "engine", f"{precision}: {choice}"


# a comparison

HEADINGS = (
    ("", "network"),
    ("", "weights"),
    ("accuracy", "%"),
    ("95%", "CI"),
    ("p vs", "best"),
    ("params", "M"),
    ("train", "s"),
    ("speed", "img/s"),
    ("size", "MB"),
)
TESTS = "p: McNemar's exact test against the best."
_WORDS = 2  # columns of words; those of figures follow
_NARROWEST = 11  # letters of a name on one line
_INDENT = "  "


@dataclass(frozen=True)
class NetworkRow:
    """A network as text: its name, its weights, a cell for each other column of `HEADINGS`, and a note or nothing."""

    name: str
    weights: str
    figures: tuple[str, ...]
    note: str = ""


def comparison_table(comparison: Comparison, width: int = 80) -> str:
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
    images = count(comparison.count, f"{judged_by('validation', comparison.folds)} image")
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
        "best" if best else "<0.001" if entry.p_value < 0.001 else f"{entry.p_value:.3f}",
        number(entry.parameters / 1e6),
        _whole(entry.seconds),
        _whole(entry.speed),
        number(entry.size / 1e6),
    )
    return NetworkRow(one_line(entry.name), entry.weights, figures, one_line(note))


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
