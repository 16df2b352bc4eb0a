"""`tl data`: what is in a data set, and what is wrong with it; and what mends, splits, fetches and converts it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tl.commands.data_argument import of_data
from tl.commands.data_fix import fix, split
from tl.commands.data_get import convert, get


@click.group("data")
def command() -> None:
    """Look into data sets, clean, split, fetch and convert them."""


@command.command("check")
@of_data
@click.option(
    "--fail-on",
    default="error",
    show_default=True,
    type=click.Choice(["error", "warning", "never"]),
    help="Exit code 1 from findings so grave on.",
)
@click.option(
    "--out",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Page with pictures (HTML) to write.  [default: runs/check-<data>.html]",
)
@click.option("--page/--no-page", default=True, show_default=True, help="Write the page.")
@click.option("--group-by", default=None, help="What must stay together: a column, a place in the path, a pattern.")
@click.option("--backbone", default="resnet50", show_default=True, help="Network whose features are compared.")
@click.option("--weights", default="imagenet", show_default=True, help="Its weights: a name or a file.")
@click.option("--val", default=0.2, show_default=True, help="Share held out, where DATA has no split.")
@click.option("--seed", default=0, show_default=True, help="Chooses the split, where DATA has none.")
@click.option("--download", is_flag=True, help="Fetch DATA if it is a known name and not here.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all findings.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def check(data: str, fail_on: str, out: Path | None, page: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """What is wrong with DATA, the most pressing first.

    Files that cannot be read, copies of one photo (in two parts of the split,
    under two labels), labels that are probably wrong, photos unlike all others,
    classes that can be told by their size or colour, uneven classes, names.
    Nothing is changed: each finding says what mends it.

    --group-by names photos that must stay on one side of the split: by a column
    of the table (patient), by a place in the path (0: the first folder), or by
    a regular expression with a group ('(patient[0-9]+)_').
    """
    from tl.commands.console import Console
    from tl.progress import Progress
    from tl.workflows.data_check import check as examine

    progress = Progress() if as_json or quiet else Console()
    diagnosis = examine(data, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(diagnosis.as_dict(), ensure_ascii=False))
    elif not quiet:
        from tl.views.terminal.data import listing
        from tl.views.terminal.tables import terminal_width

        click.echo(listing(diagnosis, terminal_width()))
    if page:
        from tl.data.dataset import short_name
        from tl.runs.folder import RUNS
        from tl.views.pages.doctor import save

        out = out or RUNS / f"check-{short_name(diagnosis.dataset.name)}.html"
        save(diagnosis, out, shlex.join(["tl", *sys.argv[1:]]))
        progress.log("", "")
        progress.log("page", str(out))
    return 1 if fail_on != "never" and diagnosis.reaches(fail_on) else 0


@command.command("stats")
@of_data
@click.option("--download", is_flag=True, help="Fetch DATA if it is a known name and not here.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(data: str, as_json: bool, **options: Any) -> None:
    """How many photos of which classes, parts, formats and sizes are in DATA."""
    from tl.commands.console import Console
    from tl.doctor.balance import stats as counted
    from tl.progress import Progress
    from tl.views.terminal.data import figures
    from tl.views.terminal.tables import terminal_width

    told = counted(data, progress=Progress() if as_json else Console(), **options)
    click.echo(json.dumps(told.as_dict(), ensure_ascii=False) if as_json else figures(told, terminal_width()))


for written in (fix, split, get, convert):
    command.add_command(written)
