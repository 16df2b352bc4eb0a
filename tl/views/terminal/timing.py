"""A timing becomes the lines of a terminal: a table of cells, whole processes, and what the engine computed with."""

from tl.workflows.bench import Timing
from tl.workflows.bench_cells import Process

HEADINGS = ("precision", "batch", "p50 ms", "p95 ms", "p99 ms", "photos/s", "engine", "of it")
_SPANS = (9, 5, 8, 8, 8, 8, 8, 6)


def table(timing: Timing) -> str:
    """Latencies and rates by precision and batch, the engine's bare rate and our share of it; within 80 columns."""
    rows = [
        (
            cell.precision,
            str(cell.batch),
            *(number(value) for value in (cell.p50, cell.p95, cell.p99, cell.rate, cell.bare)),
            f"{100 * cell.ratio:.0f} %",
        )
        for cell in timing.cells
    ]
    return "\n".join(
        "  ".join(
            [f"{row[0]:<{_SPANS[0]}}", *(f"{word:>{span}}" for word, span in zip(row[1:], _SPANS[1:], strict=True))]
        )
        for row in (HEADINGS, *rows)
    )


def explained(timing: Timing) -> str:
    """What the columns of the table are."""
    return (
        f"milliseconds from so many files to their labels, {min(cell.calls for cell in timing.cells)} calls or more "
        "each; photos/s of a stream; the engine alone, on arrays in memory, and our share of it"
    )


def lines(timing: Timing) -> list[tuple[str, str]]:
    """What stands below the table: topics and texts."""
    told = [("", f"{process.about}: {cost(process)}") for process in timing.processes]
    told[0] = ("tl predict", f"a fresh process. {told[0][1]}")
    best = timing.fastest
    if timing.own is not None:
        cell = f"{best.precision}, batch {best.batch}"
        told.append(("OpenVINO", f"its own benchmark_app: {number(timing.own)} photos/s with {cell}"))
    for precision, choice in timing.choices.items():
        if precision in timing.measured:
            told.append(("remembered", f"{precision}: {timing.measured[precision]}"))
        elif choice is not None:
            told.append(("engine", f"{precision}: {choice}"))
    return told


def cost(process: Process) -> str:
    """Seconds and memory of a process."""
    memory = "" if process.megabytes is None else f", {process.megabytes:.0f} MB"
    return f"{process.seconds:.2f} s{memory}"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
