"""Show a comparison of networks as one HTML page without any other file or network access."""

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tl.runs.network_comparison import Comparison
from tl.text import NONE, count, one_line, percent
from tl.views.pages import render
from tl.views.terminal.evaluation import TESTS, not_learned_note, rows, subject, summary


def page(
    comparison: Comparison, chart_png: bytes, grid_png: bytes, more: Mapping[str, bytes] = MappingProxyType({})
) -> str:
    """The page, for light and dark, narrow and wide screens, and screen readers; the pictures are PNG files.

    `more` pictures follow below the chart, each with its title.
    """
    top5 = any(entry.top5 is not None for entry in comparison.ranked)
    accuracy = [("accuracy", "%"), ("95% CI", "%"), *([("top-5", "%")] if top5 else [])]
    costs = [("params", "million"), ("training", "seconds"), ("speed", "images/s"), ("size", "MB")]
    values = {
        "title": f"Networks compared on {subject(comparison)}",
        "verdict": _verdict(comparison),
        "summary": summary(comparison),
        "tests": TESTS,
        "note": not_learned_note(comparison),
        "headings": [("network", ""), ("weights", ""), *accuracy, ("p vs best", ""), *costs],
        "lines": _table_rows(comparison, top5),
        "chart": base64.b64encode(chart_png).decode("ascii"),
        "grid": base64.b64encode(grid_png).decode("ascii"),
        "more": [(title, base64.b64encode(png).decode("ascii")) for title, png in more.items()],
        "networks": count(len(comparison.ranked), "network"),
        "command": one_line(comparison.command),
    }
    return render("comparison.html.jinja", values, style="comparison.css")


def _table_rows(comparison: Comparison, top5: bool) -> list[dict[str, Any]]:
    lines = []
    for entry, row in zip(comparison.entries, rows(comparison), strict=True):
        accuracy, interval, p_value, *costs = row.figures
        fifth = (NONE if entry.top5 is None else percent(entry.top5.value).rstrip("%"),) if top5 else ()
        cells = (accuracy, interval, *fifth, p_value, *costs)
        sign = "□" if entry.scratch else "●"  # as in the chart
        note, reason = "" if entry.error else row.note, one_line(entry.error)
        about = {"name": row.name, "weights": row.weights, "sign": sign, "note": note, "reason": reason}
        lines.append(about | {"cells": cells})
    return lines


def _verdict(comparison: Comparison) -> str:
    if not comparison.ranked:
        return "No network could be trained."
    best, *others = comparison.ranked
    verdict = f"Best: {best.title} with {percent(best.top1.value)} accuracy."
    close = [entry.title for entry in others if entry.p_value >= 0.05]
    if close:
        names = close[0] if len(close) == 1 else f"{', '.join(close[:-1])} or {close[-1]}"
        return f"{verdict} There are too few images to tell whether it is better than {names} (p ≥ 0.05)."
    return f"{verdict} It is better than every other network (p < 0.05)." if others else verdict
