"""Figures and answers become the headline, the table of figures, and the table of classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.metrics import Proportion, beats_majority, proportion
from tl.views.pages.report.predictions import PARTS, PHRASES, Answers, headed
from tl.views.pictures import text

GAP = "\u00a0"  # keeps a number and its unit on one line
NONE = "–"  # where there is no figure
LONGEST = 90  # letters of a name in a list of many


def name(given: str) -> str:
    """A class or file name on one line, without control characters."""
    return text.clean(given) or "(no name)"


def brief(given: str, longest: int = LONGEST) -> str:
    """The same, cut in the middle where it is very long: both ends of a path tell something."""
    line = name(given)
    return line if len(line) <= longest else f"{line[: longest // 2]}{text.ELLIPSIS}{line[-longest // 2 :]}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 as "97.0 %"."""
    return NONE if _missing(share) else f"{100 * float(share or 0):.{digits}f}{GAP}%"


def percents(pair: tuple[float, float]) -> str:
    """An interval of shares as "91.5 to 99.0 %"."""
    return f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}{GAP}%"


def decimal(value: float | None) -> str:
    """A figure that is no share, as "0.077"."""
    return NONE if _missing(value) else f"{value:.3f}"


def decimals(pair: tuple[float, float]) -> str:
    """An interval of such figures as "0.008 to 0.198"."""
    return f"{pair[0]:.3f} to {pair[1]:.3f}"


def count(number: int, noun: str, many: str = "") -> str:
    """A number with its noun: "1 photo", "1,204 photos"."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def seconds(value: float) -> str:
    """Seconds as "0.18 s", "12.3 s", "4 min 05 s"."""
    if value >= 100:
        return f"{int(value) // 60} min {int(value) % 60:02} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def quoted(given: str) -> str:
    """A name in a sentence."""
    return f"“{brief(given)}”"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


MOST_CLASSES = 2000  # in the table; its rows would fill the page
_TOP1, _TOP5, _BALANCED = "right at once (top-1)", "right among five (top-5)", "balanced accuracy"
# key, name, whether a share, what it is
_FIGURES = (
    ("top1", _TOP1, True, "share of photos whose likeliest class is the true one"),
    ("top5", _TOP5, True, "share of photos whose true class is among the five likeliest"),
    ("balanced_accuracy", _BALANCED, True, "mean over classes of the share of their photos that is right"),
    ("macro_f1", "macro F1", True, "mean over classes of F1, which weighs precision and recall alike"),
    ("log_loss", "log-loss", False, "how little was given to the true class, in nats; 0 is best"),
    ("brier", "Brier score", False, "squared error of the probabilities, 0 (best) to 2"),
    ("calibration_error", "calibration error", True, "mean distance of confidence and share right; 0 is best"),
)


@dataclass(frozen=True)
class Headline:
    """The one figure, what it is to be compared with, and where both stand on a line from 0 to 100."""

    figure: str
    sentence: str
    compared: str
    value: float
    low: float
    high: float
    largest: float


@dataclass(frozen=True)
class FigureRow:
    """A figure: name, what it is, value and interval of each part, and what knowing no photo would get."""

    name: str
    meaning: str
    cells: tuple[tuple[str, str], ...]
    blind: str


@dataclass(frozen=True)
class ClassRow:
    """A class: how many photos, and three shares, each as number (None: no photos), words and interval."""

    name: str
    support: int
    shares: tuple[tuple[float | None, str, str], ...]


def headline(metrics: Mapping[str, Any], answers: Answers) -> Headline:
    """What the page says first."""
    part = headed(metrics)
    figures = metrics[part]
    value, (low, high), photos = float(figures["top1"]), _pair(figures["top1_interval"]), int(figures["count"])
    support = _support(figures, answers)
    largest = float(support.max() / support.sum()) if support.sum() else math.nan
    interval = f"95{GAP}% interval {percents((low, high))}"
    sentence = f"of the {count(photos, 'photo')} {PHRASES[part]} {'are' if photos != 1 else 'is'} answered right"
    return Headline(
        _of_photos(value),
        f"{sentence} ({interval}).",
        _compared(answers, support, (low, high), largest),
        value,
        low,
        high,
        largest,
    )


def _compared(answers: Answers, support: NDArray[np.int64], interval: tuple[float, float], largest: float) -> str:
    if math.isnan(largest):
        return ""
    alike = int(np.sum(support == support.max()))
    which = f"{quoted(answers.classes[int(support.argmax())])}, the largest class"
    which = which if alike == 1 else f"{quoted(answers.classes[int(support.argmax())])}, one of the largest classes"
    said = f"Answering {which}, for every photo would get {percent(largest)}"
    verdict = beats_majority(*interval, largest)
    if verdict is None:
        return f"{said}: these photos do not tell whether the classifier does better."
    return f"{said}." if verdict else f"{said}: the classifier does hardly better, if at all."


def figure_rows(metrics: Mapping[str, Any], answers: Answers) -> tuple[tuple[str, ...], list[FigureRow]]:
    """The parts, the headed one first, and a row for each figure that one of them has."""
    parts = tuple(part for part in PARTS if part in metrics)
    blind = _blind(_support(metrics[parts[0]], answers))
    rows = []
    for key, name, is_share, meaning in _FIGURES:
        if any(metrics[part].get(key) is not None for part in parts):
            cells = tuple(_cell(metrics[part], key, is_share) for part in parts)
            other = blind.get(key)
            rows.append(FigureRow(name, meaning, cells, percent(other) if is_share else decimal(other)))
    return parts, rows


def class_rows(figures: Mapping[str, Any], answers: Answers) -> list[ClassRow]:
    """Every class by its name, or of very many those with the least F1; counted again where a run is too old."""
    given = figures.get("per_class") or _counted(answers)
    rows = [
        ClassRow(brief(name), int(about["support"]), tuple(_share(about, key) for key in ("precision", "recall", "f1")))
        for name, about in given.items()
    ]
    if len(rows) > MOST_CLASSES:
        rows.sort(key=lambda row: 2.0 if row.shares[2][0] is None else row.shares[2][0])
    return rows[:MOST_CLASSES]


def _cell(figures: Mapping[str, Any], key: str, is_share: bool) -> tuple[str, str]:
    value, interval = figures.get(key), figures.get(f"{key}_interval")
    if value is None:
        return decimal(None), ""
    between = "" if interval is None else percents(_pair(interval)) if is_share else decimals(_pair(interval))
    return (_of_photos(float(value)) if is_share else decimal(float(value))), between


def _share(about: Mapping[str, Any], key: str) -> tuple[float | None, str, str]:
    value = about.get(key)
    interval = about.get(f"{key}_interval")
    between = percents(_pair(interval)) if interval is not None and value is not None else ""
    return (None, percent(None), "") if value is None else (float(value), _of_photos(float(value)), between)


def _of_photos(share: float) -> str:
    """A share of photos in per cent; rounding alone never makes a 100.0 of it."""
    return percent(min(share, 0.999) if share < 1 else share)


def _pair(given: Any) -> tuple[float, float]:
    low, high = given
    return float(low), float(high)


def _support(figures: Mapping[str, Any], answers: Answers) -> NDArray[np.int64]:
    """Photos of each class of the run."""
    given = figures.get("per_class")
    if not given:
        return np.bincount(answers.truth, minlength=len(answers.classes))
    return np.array([int(given[name]["support"]) if name in given else 0 for name in answers.classes], dtype=np.int64)


def _blind(support: NDArray[np.int64]) -> dict[str, float]:
    """The figures of one who knows how common each class is, and nothing of the photo."""
    if not support.sum():
        return {}
    shares = np.sort(support[support > 0] / support.sum())[::-1]
    return {
        "top1": float(shares[0]),
        "top5": float(shares[:5].sum()),
        "balanced_accuracy": 1 / len(shares),
        "macro_f1": float(2 * shares[0] / (1 + shares[0]) / len(shares)),
        "log_loss": float(np.sum(shares * np.log(1 / shares))),
        "brier": float(1 - np.sum(shares**2)),
    }


def _counted(answers: Answers) -> dict[str, Any]:
    """The classes' figures from the answers alone; F1 without its interval, which takes a bootstrap."""
    classes = len(answers.classes)
    support = np.bincount(answers.truth, minlength=classes)
    given = np.bincount(answers.answer, minlength=classes)
    hits = np.bincount(answers.truth[answers.right], minlength=classes)
    told: dict[str, Any] = {}
    for at, name in enumerate(answers.classes):
        precision, recall = proportion(int(hits[at]), int(given[at])), proportion(int(hits[at]), int(support[at]))
        both = int(support[at] + given[at])
        told[name] = {"support": int(support[at]), "f1": 2 * int(hits[at]) / both if both else None}
        told[name] |= _told("precision", precision) | _told("recall", recall)
    return told


def _told(name: str, figure: Proportion) -> dict[str, Any]:
    value = None if math.isnan(figure.value) else figure.value
    return {name: value, f"{name}_interval": [figure.low, figure.high]}
