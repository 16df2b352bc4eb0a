"""What a long operation tells its caller: lines of an account, and progress of countable work."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """Countable work under way."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""

    def expect(self, total: int) -> None:
        """Say that the work is of another size than was thought."""


class Reporter(Protocol):
    """Receives the account of a run; the commands draw it with rich, the library is silent by default."""

    def say(self, topic: str, text: str) -> None:
        """One line of the account, such as `say("split", "400 train, 102 validation")`."""

    def warn(self, text: str) -> None:
        """Something the user should know but that does not stop the work."""

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """A point of the learning curve: what was measured at a step of training, or after the last of an epoch."""

    def task(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Open a progress bar of `total` units (None: unknown) for the length of a `with` block."""


class _SilentTask:
    def advance(self, amount: int = 1) -> None:
        pass

    def expect(self, total: int) -> None:
        pass


class Silent:
    """A reporter that says nothing."""

    def say(self, topic: str, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        pass

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        yield _SilentTask()
