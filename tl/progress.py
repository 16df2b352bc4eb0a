"""How a long operation reports to its caller: lines of a log, points of a learning curve, and countable work."""

import html
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Task:
    """Countable work under way; this one shows nothing."""

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""

    def expect(self, total: int) -> None:
        """Correct the total."""


class Progress:
    """Receives the log and the progress of an operation. This base class ignores both; subclasses show them."""

    def log(self, topic: str, text: str) -> None:
        """Log one line, such as `log("split", "400 train, 102 validation")`; an empty topic continues the last one."""

    def warn(self, text: str) -> None:
        """Log something the user should know that does not stop the work."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record a point of the learning curve: what was measured at a step of training, or at the end of an epoch."""

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """Show a progress bar of `total` units (None: unknown) while the `with` block runs."""
        yield Task()


class NotebookProgress(Progress):
    """Shows the log and one progress bar in the output of a notebook's cell, and updates them in place."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._bar = ""
        self._display: Any = None

    def log(self, topic: str, text: str) -> None:
        self._lines.append(f"<tr><th>{html.escape(topic)}</th><td>{html.escape(text)}</td></tr>")
        self.show()

    def warn(self, text: str) -> None:
        self.log("note", text)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        try:
            yield _NotebookTask(self, name, total, unit)
        finally:
            self.show_bar("")

    def show_bar(self, bar: str) -> None:
        """Replace the progress bar by another, as HTML."""
        self._bar = bar
        self.show()

    def show(self) -> None:
        """Draw the output anew."""
        from IPython.display import HTML, display

        table = f"<table style='text-align:left'>{''.join(self._lines)}</table>{self._bar}"
        if self._display is None:
            self._display = display(HTML(table), display_id=True)
        else:
            self._display.update(HTML(table))


class _NotebookTask(Task):
    def __init__(self, progress: NotebookProgress, name: str, total: int | None, unit: str) -> None:
        self._progress, self._name, self._total, self._unit = progress, name, total, unit
        self._done, self._shown = 0, 0.0

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() - self._shown < 0.2:
            return
        self._shown = time.monotonic()
        size = f" max='{self._total}'" if self._total else ""
        total = f" of {self._total:,}" if self._total else ""
        label = html.escape(f"{self._name}: {self._done:,}{total} {self._unit}")
        self._progress.show_bar(f"<progress value='{self._done}'{size}></progress> {label}")

    def expect(self, total: int) -> None:
        self._total = total


def default_progress() -> Progress:
    """What shows progress where the caller gave nothing: a notebook's cell, or else nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return NotebookProgress() if type(shell).__name__ == "ZMQInteractiveShell" else Progress()
