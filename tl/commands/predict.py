"""`tl predict`: predict the labels of images."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tl.commands.options import quiet_option, workflow_options
from tl.text import count
from tl.workflows.predict import PredictOptions

if TYPE_CHECKING:
    from tl.prediction.columns import Columns
    from tl.prediction.predictor import Prediction
    from tl.workflows.predict import OnPrediction, PredictResult


_LABELS = 20  # in the summary


@click.command("predict")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@workflow_options(PredictOptions)
@quiet_option
def command(images: tuple[str, ...], quiet: bool, **options: Any) -> int:
    """Predict the label of each IMAGE. Exit code 1 if one cannot be read.

    An IMAGE is a file, a folder (with its subfolders), a pattern, a table (.csv,
    .tsv) with a column `path`, a video, an http or https address, or `-` for an
    image on standard input.

    \b
    tl predict photos/ --out rows.csv            rows; after a kill: --resume
    find . -name '*.jpg' | tl predict --paths-from -
    tl predict clip.mp4 --every 25               clip.mp4#frame=25, …
    tl predict photos/ --by-class sorted/        sorted/cat/…, sorted/dog/…
    tl predict photos/ --max-error 1%            the doubtful ones: review
    """
    from tl.commands.console import StderrLog, progress_for
    from tl.workflows.predict import PredictResult, predict

    chosen = PredictOptions(**options)
    if not images and not chosen.paths_from:
        raise click.UsageError("Missing argument 'IMAGE...': a file, a folder, a pattern, a table, a video, an address")
    result = PredictResult()
    progress = progress_for(quiet or chosen.out is None)
    if chosen.max_error is not None and chosen.out is None and not quiet:
        progress = StderrLog()
    try:
        with printer(chosen.format, errors_only=quiet or chosen.out is not None) as on_prediction:
            predict(images, options=chosen, on_prediction=on_prediction, result=result, progress=progress)
    except KeyboardInterrupt:
        if chosen.out is None:
            raise
        click.echo(f"interrupted after {count(result.before + result.count, 'row')}: continue with --resume", err=True)
        return 130
    if not quiet:
        _print_result(chosen, result)
    return 1 if result.failed or result.unsorted else 0


def _print_result(options: PredictOptions, result: "PredictResult") -> None:
    from tl.commands.console import Console
    from tl.data.decoding import count_remarks
    from tl.text import count

    console = Console()
    if result.left_out.counts:
        console.warn(f"left out: {result.left_out}")
    for remark in count_remarks(result.remarks):
        console.warn(remark)
    to_terminal = options.format in (None, "table") and sys.stdout is not None and sys.stdout.isatty()
    if result.count > 1 and (options.out is not None or to_terminal):
        console.log("labels", summary(result))
    if options.out is not None:
        before = f", {result.before:,} of them from before" if result.before else ""
        console.log("rows", f"{result.before + result.count:,} in {options.out}{before}")
        if result.failed:
            console.warn(f"{count(result.failed, 'image')} could not be read: the error is in the row")
    if options.by_class is not None:
        if options.out is not None or options.format in (None, "table"):
            console.log("sorted", f"{count(result.sorted, 'file')} into {options.by_class}")
        if result.not_files:
            console.warn(f"{count(result.not_files, 'image')} not sorted: no files (addresses, frames, standard input)")
        if result.unsorted or result.failed:
            console.warn(f"{options.by_class / 'errors.csv'} lists what could not be read or sorted")


def summary(result: "PredictResult") -> str:
    """How many images have each label, the most frequent first, and how many are unknown or for review."""
    from tl.text import listed
    from tl.views.terminal.tables import printable

    rest = {"unknown": result.unknown, "for review": result.review}
    labels = [f"{printable(label)} {images:,}" for label, images in result.labels.most_common()]
    more = [f"{images:,} {what}" for what, images in rest.items() if images]
    return ", ".join([listed(labels, _LABELS), *more] if labels else more) or "no image can be read"


@contextmanager
def printer(form: str | None, *, errors_only: bool = False) -> Iterator["OnPrediction"]:
    """A function that prints each prediction in a format, or only the errors on standard error."""
    from tl.prediction.columns import csv_line, json_line

    first = True

    def print_row(prediction: "Prediction", columns: "Columns") -> None:
        nonlocal first
        record = columns.record(prediction)
        if form == "csv":
            text = (csv_line(columns.names) if first else b"") + csv_line(columns.cells(record))
        elif form == "json":
            text = (b"[\n" if first else b",\n") + json_line(record).rstrip(b"\n")
        else:
            text = json_line(record)
        click.echo(text, nl=False)
        first = False

    if errors_only:
        yield _print_error
    elif form in (None, "table"):
        yield _print_line
    else:
        yield print_row
        if form == "json":
            click.echo("[]" if first else "\n]")


def _print_line(prediction: "Prediction", _: "Columns") -> None:
    """`photo.jpg: cat 97.0%, dog 2.1%, …`, in a narrow terminal on several lines."""
    from tl.text import percent
    from tl.views.terminal.tables import join_wrapped, printable

    if prediction.error:
        print_error(prediction.name, prediction.error)
        return
    label = styled_label(prediction.label, prediction.unknown, "nearest ")
    if prediction.review and not prediction.unknown:
        label = f"{click.style('review', fg='yellow', bold=True)}, best guess {label}"
    time = "" if prediction.seconds is None else f" ({prediction.seconds:.1f} s)"
    parts = [f"{printable(prediction.name)}{time}: {label} {percent(prediction.confidence)}"]
    parts += [f"{printable(other)} {percent(probability)}" for other, probability in prediction.top[1:]]
    wrap = sys.stdout is not None and sys.stdout.isatty()
    click.echo(join_wrapped(parts) if wrap else ", ".join(parts))


def styled_label(label: str, unknown: bool, note: str = "") -> str:
    """A label in bold, after a remark where the image is unknown."""
    from tl.views.terminal.tables import printable

    styled = click.style(printable(label), bold=True)
    if not unknown:
        return styled
    return f"{click.style('unknown', fg='yellow', bold=True)}, unlike the training images; {note}{styled}"


def print_error(name: str, error: str) -> None:
    """Print `photo.jpg: error: …` for an image that cannot be read, on standard error."""
    from tl.views.terminal.tables import printable

    click.echo(f"{printable(name)}: {click.style('error', fg='red')}: {printable(error)}", err=True)


def _print_error(prediction: "Prediction", _: "Columns") -> None:
    if prediction.error:
        print_error(prediction.name, prediction.error)
