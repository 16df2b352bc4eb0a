"""`tl runs`: list, show, compare and remove runs."""

from typing import Any

import click

from tl.commands.console import dumped
from tl.commands.options import json_option, quiet_option, workflow_options
from tl.views.terminal.tables import terminal_width
from tl.workflows.runs import ListOptions, RemoveOptions


@click.group("runs")
def command() -> None:
    """List, show, compare and remove runs."""


@command.command("list")
@click.argument("folder", default="runs/")
@workflow_options(ListOptions)
@json_option
def list_command(folder: str, as_json: bool, **options: Any) -> None:
    """List all runs in FOLDER.

    The list includes the runs of comparisons, interrupted and damaged runs.
    """
    from tl.views.terminal.runs import list_text
    from tl.workflows import runs

    rows = runs.list(folder, options=ListOptions(**options))
    click.echo(dumped([row.as_dict() for row in rows]) if as_json else list_text(rows, folder, terminal_width()))


@command.command("show")
@click.argument("run", required=False)
@json_option
def show_command(run: str | None, as_json: bool) -> None:
    """Show what RUN was trained on and how, and its results.

    Without RUN, the newest one is shown.
    """
    from tl.views.terminal.runs import summary_text
    from tl.workflows import runs

    summary = runs.show(run)
    click.echo(dumped(summary.as_dict()) if as_json else summary_text(summary, terminal_width()))


@command.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@json_option
def compare_command(runs: tuple[str, ...], as_json: bool) -> None:
    """Show what differs between runs, and which is better.

    Options, data, versions and results that are the same in all are left out.
    Each later run is tested against the first (McNemar's exact test), on the
    images that both predicted and neither was trained on.
    """
    from tl.views.terminal.runs import difference_text
    from tl.workflows.runs import compare

    difference = compare(*runs)
    click.echo(dumped(difference.as_dict()) if as_json else difference_text(difference, terminal_width()))


@command.command("rm")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@workflow_options(RemoveOptions)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@quiet_option
def rm_command(runs: tuple[str, ...], yes: bool, quiet: bool, **options: Any) -> None:
    """Remove runs, or whole comparisons.

    Complete, damaged and interrupted ones are removed, after a question. Symbolic
    links are not followed, and runs that are being written are kept.
    """
    from tl.runs.catalogue import remove
    from tl.views.terminal.runs import removal_text
    from tl.workflows.runs import plan_removal

    removals = plan_removal(*runs, options=RemoveOptions(**options))
    if not removals:
        if not quiet:
            click.echo("nothing to remove")
        return
    if not (quiet and yes):
        click.echo(removal_text(removals))
    if not yes and not click.confirm("Remove?"):
        return
    remove(removals)
    if not quiet:
        click.echo("removed")
