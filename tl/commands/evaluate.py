"""The command `tl evaluate`."""

from typing import Any

import click

from tl.commands.options import output_options, workflow_options
from tl.workflows.evaluate import EvaluateOptions


@click.command("evaluate")
@click.argument("data", required=False)
@workflow_options(EvaluateOptions)
@output_options
def command(data: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Evaluate a run on the labelled images of DATA: accuracy, calibration, weak classes.

    Without DATA: on the images that the run was judged on, or else its test images.
    Images that it was cross-validated on are judged by heads fitted without them.
    """
    from tl.commands.console import command_line, dumped, near, progress_for
    from tl.views.terminal.evaluation import lines
    from tl.workflows.evaluate import evaluate

    progress = progress_for(as_json or quiet)
    evaluation = evaluate(data, options=EvaluateOptions(**options), command=command_line(), progress=progress)
    if as_json:
        click.echo(dumped({"folder": str(evaluation.folder), **evaluation.as_dict()}))
        return
    for topic, text in lines(evaluation):
        progress.log(topic, text)
    files = ("report.html, " if options["report"] else "") + "metrics.json, predictions.csv"
    progress.log("written", f"{near(evaluation.folder)}: {files}")
