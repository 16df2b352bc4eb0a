"""How a long operation reports to its caller: lines of a log, points of a learning curve, and countable work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


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
