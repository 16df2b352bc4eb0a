"""`tl predict`: photos become labels."""

from pathlib import Path
from typing import Any

import click

from tl.commands.prediction_options import Within, of_engine, of_rows, printer, tell


@click.command("predict")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("--paths-from", "lists", multiple=True, metavar="FILE", help="Paths, one a line; - is standard input.")
@click.option("--every", default=30, show_default=True, type=click.IntRange(min=1), help="Every n-th frame of videos.")
@click.option("--timeout", default=10.0, show_default=True, type=Within(0.1, 3600), help="Seconds without an answer.")
@click.option("--resume", is_flag=True, help="Go on with the rows that --out has.")
@of_rows
@of_engine
def command(
    images: tuple[str, ...],
    lists: tuple[str, ...],
    every: int,
    timeout: float,
    as_json: bool,
    form: str | None,
    out: Path | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Label each IMAGE. Exit code 1 if one could not be read.

    An IMAGE is a file, a folder (with all below it), a pattern, a table (.csv,
    .tsv) with a column `path`, a video, an http or https address, or `-` for an
    image on standard input.

    \b
    tl predict photos/ --out rows.csv            rows; after a kill: --resume
    find . -name '*.jpg' | tl predict --paths-from -
    tl predict clip.mp4 --every 25               clip.mp4#frame=25, …
    tl predict photos/ --by-class sorted/        sorted/cat/…, sorted/dog/…
    """
    from tl.commands.console import Console
    from tl.progress import Progress
    from tl.workflows.predict import Asked, Labelled, label

    if not images and not lists:
        raise click.UsageError("Missing argument 'IMAGE...': a file, a folder, a pattern, a table, a video, an address")
    form = _form(as_json, form)
    asked = Asked(images=images, lists=lists, every=every, timeout=timeout, out=out, form=form, **options)
    made = Labelled()
    try:
        with printer(form, errors_only=quiet or out is not None) as each:
            label(asked, each, made=made, progress=Progress() if quiet or out is None else Console())
    except KeyboardInterrupt:
        if out is None:
            raise
        click.echo(f"interrupted after {made.before + made.count:,} rows: go on with --resume", err=True)
        return 130
    if not quiet:
        tell(asked, made)
    return 1 if made.failed or made.unsorted else 0


def _form(as_json: bool, form: str | None) -> str | None:
    from tl.errors import UsageError

    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} contradict each other: leave one of them out")
    return "json" if as_json else form
