"""Log lines and progress bars in a terminal."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tl.progress import Progress, Task
from tl.views.terminal.tables import printable, width_of

_TOPIC = 12


class Console(Progress):
    """Shows everything: log lines on standard output, warnings and progress bars on standard error."""

    def __init__(self) -> None:
        self._bars: Any = None  # those on the screen

    def log(self, topic: str, text: str) -> None:
        """Print a line with its topic in the first column, wrapped to the terminal's width; or an empty line."""
        line = click.style(f"{topic:<{_TOPIC}}", bold=True) + _wrapped(printable(text))
        with self._without_bars():
            click.echo(line if topic or text else "")

    def warn(self, text: str) -> None:
        """Print a note on standard error."""
        with self._without_bars():
            click.echo(click.style(f"{'note':<{_TOPIC}}", fg="yellow") + _wrapped(printable(text)), err=True)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """Show a progress bar with rate and time left, removed when the work is done; none without a terminal."""
        if sys.stderr is None or not sys.stderr.isatty():
            with super().task(name, total, unit) as silent:
                yield silent
            return
        with self._without_bars(), _bars(unit, total) as bars:
            outer, self._bars = self._bars, bars
            try:
                yield _Bar(bars, bars.add_task(name, total=total))
            finally:
                self._bars = outer

    @contextmanager
    def _without_bars(self) -> Iterator[None]:
        """Take the progress bars off the screen in the block: what it prints would be appended to their line."""
        bars = self._bars
        if bars is None:
            yield
            return
        bars.stop()
        try:
            yield
        finally:
            bars.start()


class StderrLog(Progress):
    """Shows log lines on standard error, where standard output is for rows."""

    def log(self, topic: str, text: str) -> None:
        """Print a line with its topic in the first column."""
        click.echo(click.style(f"{topic:<{_TOPIC}}", bold=True) + _wrapped(printable(text)), err=True)


def progress_for(silent: bool) -> Progress:
    """The console, or where it is to be silent, progress that nobody sees."""
    return Progress() if silent else Console()


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["tl", *sys.argv[1:]])


def near(path: Path) -> Path:
    """A path relative to the working directory where it is below it, else as it is."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def log_next_steps(run: Path, root: Path, progress: Progress) -> None:
    """Log the commands to go on with: of the run, which is the newest where its `root` is called `runs`."""
    if root.name == "runs":
        progress.log("next", "tl predict PHOTO.jpg   or   tl grid   or   tl report --show")
        return
    name = shlex.quote(str(run))
    progress.log("next", f"tl predict --run {name} PHOTO.jpg")
    progress.log("", f"tl grid --run {name}")
    progress.log("", f"tl report {name} --show")


def dumped(value: object) -> str:
    """A value as JSON that can be printed, whatever characters its names have."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


class _Bar(Task):
    def __init__(self, progress: Any, bar: Any) -> None:
        self._progress, self._bar = progress, bar

    def advance(self, amount: int = 1) -> None:
        self._progress.advance(self._bar, amount)

    def expect(self, total: int) -> None:
        self._progress.update(self._bar, total=total)


def _bars(unit: str, total: int | None) -> Any:
    from rich import progress
    from rich.console import Console as RichConsole
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:.0f} {unit}/s" if task.speed else "", style="cyan")

    if unit == "B":
        rate: list[Any] = [progress.DownloadColumn(), progress.TransferSpeedColumn()]
    else:
        rate = [progress.MofNCompleteColumn(), Rate()] if total else []
    left = [progress.TimeRemainingColumn()] if total else [progress.TimeElapsedColumn()]
    bar = progress.BarColumn(10 if unit == "B" else 20)
    columns = [progress.TextColumn("{task.description:<9}"), bar, *rate, *left]
    return progress.Progress(*columns, console=RichConsole(stderr=True), transient=True)


def _wrapped(text: str) -> str:
    width = max(40, shutil.get_terminal_size((80, 24)).columns) - _TOPIC - 1
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if lines[-1].strip() and width_of(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return ("\n" + " " * _TOPIC).join(lines)
