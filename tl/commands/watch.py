"""`tl watch`: photos that arrive in a folder become labels."""

import signal
from pathlib import Path
from threading import Event
from typing import Any

import click

from tl.commands.prediction_options import Within, of_engine, of_rows, printer


@click.command("watch")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--settle", default=1.0, show_default=True, type=Within(0.1, 3600), help="Seconds a file stays the same.")
@click.option("--poll", is_flag=True, help="Look through the folder; do not rely on the system, as on network disks.")
@click.option("--interval", default=1.0, show_default=True, type=Within(0.1, 3600), help="Seconds between looks.")
@of_rows
@of_engine
def command(folder: Path, as_json: bool, form: str | None, quiet: bool, **options: Any) -> None:
    """Label every image in FOLDER and below, and each that arrives or changes.

    A file is read once it has stayed the same for --settle seconds. With --out
    the rows go to a file (.jsonl or .csv): started again, what has a row is not
    done again, unless the file has changed. Ctrl-C or SIGTERM ends it cleanly.

    \b
    tl watch inbox/ --out rows.jsonl
    tl watch inbox/ --by-class sorted/           inbox/a.jpg -> sorted/cat/a.jpg
    """
    from tl.commands.console import Console
    from tl.errors import UsageError
    from tl.progress import Progress
    from tl.workflows.watch import Watched, watch

    if as_json and form not in (None, "jsonl"):
        raise UsageError(f"--json and --format {form} contradict each other: leave one of them out")
    out = options["out"]
    shown = "jsonl" if as_json or form == "json" else form
    kept = form if out is not None else shown
    asked = Watched(folder, form=kept, **options)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    plain = shown if out is None or as_json else None
    progress = Progress() if quiet or plain is not None else Console()
    with printer(plain, errors_only=quiet) as each:
        made = watch(asked, stop, each, progress=progress)
    if out is not None:
        progress.log("rows", f"{made.before + made.count:,} in {out}, {made.count:,} of them new")
