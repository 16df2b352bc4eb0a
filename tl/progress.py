"""How a long operation reports to its caller: lines of a log, points of a learning curve, and countable work."""

import html
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tl.text import NONE, html_table, percent, size

_EPOCH = ("epoch", "loss", "accuracy", "held-out log-loss", "held-out accuracy")


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
    """Shows the log, a table of epochs and one progress bar in the output of a notebook's cell, updated in place."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._epochs: list[tuple[str, ...]] = []
        self._bar = ""
        self._display: Any = None

    def log(self, topic: str, text: str) -> None:
        if not topic.startswith("epoch "):  # these are in the table of epochs
            self._lines.append((topic, text))
            self.show()

    def warn(self, text: str) -> None:
        self.log("note", text)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if "epoch" in values:
            epoch, held_out = values["epoch"], values.get("held_out_log_loss")
            log_loss = NONE if held_out is None else f"{held_out:.4g}"
            row = (
                f"{epoch} of {values['epochs']}",
                f"{values['loss']:.4g}",
                percent(values.get("top1")),
                log_loss,
                percent(values.get("held_out_top1")),
            )
            self._epochs = [*(self._epochs if epoch > 1 else []), row]
            self.show()

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

        log = html_table(self._lines) if self._lines else ""
        epochs = html_table(self._epochs[-50:], _EPOCH) if self._epochs else ""
        if self._display is None:
            self._display = display(HTML(log + epochs + self._bar), display_id=True)
        else:
            self._display.update(HTML(log + epochs + self._bar))


class _NotebookTask(Task):
    def __init__(self, progress: NotebookProgress, name: str, total: int | None, unit: str) -> None:
        self._progress, self._name, self._total, self._unit = progress, name, total, unit
        self._done, self._shown, self._started = 0, 0.0, time.monotonic()
        self._resumed: int | None = None if unit == "B" else 0  # the bytes that were there before, which are no rate

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if self._resumed is None:
            self._resumed = amount
        if time.monotonic() - self._shown < 0.2:
            return
        self._shown = time.monotonic()
        most = f" max='{self._total}'" if self._total else ""
        label = html.escape(self._label(self._done - self._resumed))
        self._progress.show_bar(f"<progress value='{self._done}'{most}></progress> {label}")

    def _label(self, done: int) -> str:
        amount, unit = (size, "") if self._unit == "B" else ("{:,}".format, f" {self._unit}")
        total = f" of {amount(self._total)}" if self._total else ""
        rate = done / max(1e-9, self._shown - self._started)
        speed = f", {size(round(rate))}/s" if self._unit == "B" and rate else ""
        left = f", {max(0, self._total - self._done) / rate:,.0f} s left" if self._total and rate else ""
        return f"{self._name}: {amount(self._done)}{total}{unit}{speed}{left}"

    def expect(self, total: int) -> None:
        self._total = total


def default_progress() -> Progress:
    """What shows progress where the caller gave nothing: a notebook's cell, or else nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return NotebookProgress() if type(shell).__name__ == "ZMQInteractiveShell" else Progress()
