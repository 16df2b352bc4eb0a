"""What `tl predict` and `tl watch` share: the options of rows and engine, and how predictions are printed."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tl.prediction.predictor import Prediction
    from tl.prediction.rows import Columns
    from tl.workflows.predict import Asked, Each, Labelled


class Within(click.FloatRange):
    """A number between two others, which "nan" is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a usage error."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


Command = TypeVar("Command", bound=Callable[..., Any])


def of_rows(command: Command) -> Command:
    """--format, --json, --out, --sha256, --top, --by-class, --link, --quiet."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--link", default="copy", type=click.Choice(("copy", "hard", "symbolic")), help="What is put there."
        ),
        click.option("--by-class", default=None, type=click.Path(path_type=Path), help="Sort photos into OUT/label/."),
        click.option("--sha256", is_flag=True, help="The sha256 of each file in its row."),
        click.option("--out", default=None, type=click.Path(path_type=Path), help="File of rows, by its ending."),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
        click.option(
            "--format",
            "form",
            default=None,
            type=click.Choice(("table", "json", "jsonl", "csv", "parquet")),
            help="Form of the rows.  [default: by --out, else table]",
        ),
        click.option("--top", default=3, show_default=True, type=click.IntRange(min=1), help="How many labels a row."),
    ):
        command = option(command)
    return command


def of_engine(command: Command) -> Command:
    """--run, --engine, --precision, --threads, --unknown."""
    for option in (
        click.option(
            "--unknown/--no-unknown",
            default=True,
            help="Say which photos are unlike all training photos.  [default: do]",
        ),
        click.option("--threads", default=None, type=click.IntRange(1, 1024), help="Threads of the engine."),
        click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16."),
        click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow."),
        click.option("--run", default=None, help="Run folder.  [default: the newest in runs/]"),
    ):
        command = option(command)
    return command


@contextmanager
def printer(form: str | None, *, errors_only: bool = False) -> Iterator["Each"]:
    """What prints each prediction in a form, or only the errors on standard error."""
    if errors_only:
        yield _print_error
    elif form == "json":
        opening = "[\n"

        def each(prediction: "Prediction", columns: "Columns") -> None:
            nonlocal opening
            click.echo(opening.encode() + _json(prediction, columns).rstrip(b"\n"), nl=False)
            opening = ",\n"

        yield each
        click.echo("[]" if opening == "[\n" else "\n]")
    else:
        yield {"jsonl": _print_json, "csv": _csv_printer()}.get(form or "", print_line)


def print_line(prediction: "Prediction", *_: object) -> None:
    """A line for people; on standard error where a picture could not be read."""
    from tl.commands.console import folded, printable

    if prediction.error:
        _print_error(prediction)
        return
    others = [f"{printable(label)} {_percent(share)}" for label, share in prediction.top[1:]]
    label = click.style(printable(prediction.label), bold=True)
    if prediction.unknown:
        label = f"{click.style('unknown', fg='yellow', bold=True)}, unlike all training photos; nearest {label}"
    first = f"{printable(prediction.name)}: {label} {_percent(prediction.confidence)}"
    click.echo(", ".join([first, *others]) if not _on_screen() else folded([first, *others]))


def _on_screen() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def tell(asked: "Asked", made: "Labelled") -> None:
    """What became of it all, where rows or folders were asked for."""
    from tl.commands.console import Console

    progress = Console()
    if asked.out is not None:
        before = f", {made.before:,} of them from before" if made.before else ""
        progress.log("rows", f"{made.before + made.count:,} in {asked.out}{before}")
        if made.failed:
            progress.warn(f"{made.failed:,} could not be read: their rows have the error")
    if asked.by_class is not None:
        if asked.out is not None or asked.form in (None, "table"):
            progress.log("sorted", f"{made.sorted:,} photos into {asked.by_class}")
        if made.not_files:
            progress.warn(f"{made.not_files:,} are not sorted: they are no files (addresses, frames, standard input)")
        if made.unsorted or made.failed:
            progress.warn(f"what could not be read or sorted is in {asked.by_class / 'errors.csv'}")


def _print_error(prediction: "Prediction", *_: object) -> None:
    from tl.commands.console import printable

    if prediction.error:
        said = f"{click.style('error', fg='red')}: {printable(prediction.error)}"
        click.echo(f"{printable(prediction.name)}: {said}", err=True)


def _print_json(prediction: "Prediction", columns: "Columns") -> None:
    click.echo(_json(prediction, columns), nl=False)


def _json(prediction: "Prediction", columns: "Columns") -> bytes:
    from tl.prediction.rows import json_line

    return json_line(columns.record(prediction))


def _csv_printer() -> "Each":
    header = True

    def each(prediction: "Prediction", columns: "Columns") -> None:
        from tl.prediction.rows import csv_line

        nonlocal header
        line = csv_line(columns.cells(columns.record(prediction)))
        click.echo(csv_line(columns.names) + line if header else line, nl=False)
        header = False

    return each


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
