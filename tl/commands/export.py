"""The command `tl export`."""

from typing import Any

import click

from tl.commands.options import output_options, workflow_options
from tl.workflows.export import ExportOptions


@click.command("export")
@click.argument("run", required=False, metavar="[RUN]")
@workflow_options(ExportOptions)
@output_options
def command(run: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write RUN, by default the newest, as a model that takes images of any size.

    Resizing, normalisation, network, head and calibration are inside: uint8 RGB of
    any size goes in, calibrated probabilities come out. The export is run at once,
    in its own runtime, on images that the run was judged on. If it predicts anything
    else, the export fails and nothing is kept.
    """
    from tl.commands.console import dumped, near, progress_for
    from tl.text import size
    from tl.workflows.export import export

    progress = progress_for(as_json or quiet)
    result = export(run, options=ExportOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped({"folder": str(result.folder), **result.as_dict()}))
    elif not quiet:
        progress.log("written", f"{near(result.model)}, {size(result.size)}, and export.json")
