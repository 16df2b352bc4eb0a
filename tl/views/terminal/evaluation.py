"""An assessment becomes the lines that a terminal shows: figures, weakest classes, pairs most often confused."""

from collections.abc import Iterator
from typing import Any

from tl.engines.timing import Timing
from tl.evaluation.metrics import ClassFigures, Metrics, Proportion, confusion, most_confused
from tl.text import number
from tl.views.terminal.tables import cut, one_line, padded, percent, plural, shortened
from tl.workflows.evaluate import Assessment

_CLASSES = 8  # in the table; of more, the weakest
_PAIRS = 5
_NAME = 34  # columns of a class name
_RUN = 60  # of a run's


def lines(made: Assessment) -> Iterator[tuple[str, str]]:
    """Topic and text of each line."""
    score = made.score
    for reason, count in made.left_out.items():
        yield "left out", f"{_photos(count)} {reason}"
    trained = f", {made.trained_on:,} trained on" if made.trained_on else ""
    yield "top-1", f"{_proportion(score.top1)}, on {_photos(score.count)}{trained}"
    if made.trained_on:
        yield "", "such figures do not tell how good it is on other photos"
    if score.top5 is not None:
        yield "top-5", _proportion(score.top5)
    yield from _figures(score)
    if made.predictions.unknown is not None:
        strange = int(made.predictions.is_unknown.sum())
        verb = "is" if strange == 1 else "are"
        yield "unknown", f"{_photos(strange)} {verb} unlike all training photos ({made.predictions.unknown.sentence})"
    yield from _per_class(made)
    yield from _confused(made)
    if made.comparison is not None:
        yield "against", made.comparison.sentence(shortened(made.against, _RUN), shortened(made.run.name, _RUN))


def _figures(score: Metrics) -> Iterator[tuple[str, str]]:
    low, high = score.log_loss_interval
    yield "balanced", f"accuracy {_share(score.balanced_accuracy)}, macro F1 {_share(score.macro_f1)}"
    yield "log-loss", f"{score.log_loss:.3f} ({low:.3f} to {high:.3f}), Brier {_number(score.brier)}"
    yield "calibration", f"expected error {_number(score.calibration_error)}: how far confidence is from accuracy"


def _per_class(made: Assessment) -> Iterator[tuple[str, str]]:
    classes = [(name, figures) for name, figures in zip(made.run.classes, made.score.per_class, strict=True)]
    present = [item for item in classes if item[1].support]
    weakest = sorted(present, key=lambda item: item[1].recall.value)[:_CLASSES]
    shown = present if len(present) <= _CLASSES else weakest
    yield "", ""
    yield "classes" if len(present) <= _CLASSES else "weakest", f"{'':<{_NAME}}recall precision    F1 photos"
    for name, figures in shown:
        yield "", _row(name, figures)


def _row(name: str, figures: ClassFigures) -> str:
    cells = (percent(figures.recall.value), percent(figures.precision.value), percent(figures.f1.value))
    return f"{padded(_short(name), _NAME)}{cells[0]:>6}{cells[1]:>10}{cells[2]:>6}{figures.support:>7,}"


def _confused(made: Assessment) -> Iterator[tuple[str, str]]:
    names = made.run.classes
    matrix = confusion(made.dataset.labels, made.predictions.probabilities.argmax(axis=1), len(names))
    pairs = most_confused(matrix, _PAIRS)
    yield "", ""
    if not pairs:
        yield "confused", "none: every photo got its own class"
    for at, pair in enumerate(pairs):
        said = f"{_short(names[pair.truth])} answered {_short(names[pair.answer])}"
        yield "confused" if not at else "", f"{said}: {_photos(pair.count)}, {100 * pair.share:.0f} % of its class"


def _short(name: str) -> str:
    return cut(one_line(name), _NAME - 1)


def _photos(count: int) -> str:
    return f"{count:,} {plural(count, 'photo')}"


def _proportion(share: Proportion) -> str:
    return f"{percent(share.value)} % (95 % interval {100 * share.low:.1f} to {100 * share.high:.1f})"


def _share(figure: Any) -> str:
    return f"{percent(figure.value)} % ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _number(figure: Any) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


_TIMING_COLUMNS = (9, 5, 8, 8, 8, 8, 8, 6)  # characters


def timing_table(timing: Timing) -> str:
    """Latency and throughput by precision and batch size, beside the network's own rate; within 80 columns."""
    lines = []
    for precision, *figures in timing.table():
        cells = (f"{figure:>{width}}" for figure, width in zip(figures, _TIMING_COLUMNS[1:], strict=True))
        lines.append("  ".join([f"{precision:<{_TIMING_COLUMNS[0]}}", *cells]))
    return "\n".join(lines)


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
