"""Numbers and names become the words of the page: percent, intervals, plurals, names on one line."""

import math

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
