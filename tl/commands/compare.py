"""The command `tl compare`."""

from dataclasses import asdict
from typing import Any

import click

from tl.commands.options import data_argument, output_options, workflow_options
from tl.workflows.compare import CompareOptions


@click.command("compare")
@data_argument
@workflow_options(CompareOptions)
@output_options
def command(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train several networks on the same split of DATA and compare them."""
    from tl.commands.console import command_line, dumped, log_next_steps, progress_for
    from tl.views.terminal.evaluation import comparison_table
    from tl.workflows.compare import compare

    progress = progress_for(as_json or quiet)
    comparison = compare(data, options=CompareOptions(**options), command=command_line(), progress=progress)
    if as_json:
        entries = [asdict(entry) for entry in comparison.entries]
        click.echo(dumped({"folder": str(comparison.folder), "count": comparison.count, "entries": entries}))
    elif not quiet:
        click.echo()
        click.echo(comparison_table(comparison))
        progress.log("", "")
        progress.log("written", f"{comparison.folder}: comparison.html, .csv, .png, grid.png, a run of each network")
        log_next_steps(comparison.best_run, comparison.folder.parent, progress)
