"""`tl watch`: predict every image that arrives in a folder."""

import signal
from pathlib import Path
from threading import Event
from typing import Any

import click

from tl.commands.options import quiet_option, workflow_options
from tl.commands.predict import printer
from tl.workflows.watch import WatchOptions


@click.command("watch")
@click.argument("folder", type=click.Path(path_type=Path))
@workflow_options(WatchOptions)
@quiet_option
def command(folder: Path, quiet: bool, **options: Any) -> None:
    """Predict every image in FOLDER and below, and each that arrives or changes.

    A file is read once it has not changed for --settle seconds. With --out the
    rows go to a file (.jsonl or .csv); a later call predicts only files without
    a row and files that have changed. Ctrl-C or SIGTERM ends it cleanly.

    \b
    tl watch inbox/ --out rows.jsonl
    tl watch inbox/ --by-class sorted/           inbox/a.jpg -> sorted/cat/a.jpg
    """
    from tl.commands.console import StderrLog, progress_for
    from tl.workflows.watch import watch

    chosen = WatchOptions(**options)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    plain = chosen.out is not None or chosen.format in (None, "table")  # not rows on standard output
    progress = progress_for(quiet or not plain)
    if chosen.max_error is not None and not plain and not quiet:
        progress = StderrLog()
    printed = None if plain else "jsonl" if chosen.format == "json" else chosen.format
    with printer(printed, errors_only=quiet) as on_prediction:
        result = watch(folder, options=chosen, stop=stop, on_prediction=on_prediction, progress=progress)
    if chosen.out is not None:
        progress.log("rows", f"{result.before + result.count:,} in {chosen.out}, {result.count:,} of them new")
