"""The command `tl report`."""

from typing import Any

import click

from tl.commands.options import quiet_option, workflow_options
from tl.workflows.report import ReportOptions


@click.command("report")
@click.argument("run", required=False)
@workflow_options(ReportOptions)
@click.option("--show", is_flag=True, help="Open it in a browser.")
@quiet_option
def command(run: str | None, show: bool, quiet: bool, **options: Any) -> None:
    """Write report.html of RUN again; by default of the newest. RUN may also be the folder of an evaluation."""
    from tl.commands.console import near, progress_for
    from tl.workflows.report import report

    progress = progress_for(quiet)
    page = report(run, options=ReportOptions(**options), progress=progress)
    progress.log("report", str(near(page)))
    if show:
        click.launch(str(page))
