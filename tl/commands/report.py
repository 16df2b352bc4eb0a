"""`tl report`: a run or an evaluation becomes its report, one HTML page that needs nothing else."""

from pathlib import Path

import click


@click.command("report")
@click.argument("run", required=False)
@click.option("--data", default=None, help="Where the photos are now.  [default: where they were]")
@click.option("--show", is_flag=True, help="Open it in a browser.")
def command(run: str | None, data: str | None, show: bool) -> None:
    """Write report.html of RUN anew, the newest one by default; RUN may also be the folder of an evaluation."""
    from tl.commands.console import Console, near
    from tl.runs.run import load_run
    from tl.workflows.artifacts import draw_evaluation, draw_report, is_evaluation

    evaluation = Path(run) if run is not None and is_evaluation(Path(run)) else None
    page = draw_report(load_run(run), data) if evaluation is None else draw_evaluation(evaluation, data)
    Console().log("report", str(near(page)))
    if show:
        click.launch(str(page))
