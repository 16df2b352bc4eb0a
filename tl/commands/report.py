"""`tl report`: a run becomes its report, one HTML page that needs nothing else."""

import click


@click.command("report")
@click.argument("run", required=False)
@click.option("--data", default=None, help="Where the photos are now.  [default: where they were]")
@click.option("--show", is_flag=True, help="Open it in a browser.")
def command(run: str | None, data: str | None, show: bool) -> None:
    """Write report.html of RUN anew, the newest one by default."""
    from tl.commands.console import Console, near
    from tl.runs.bundle import load
    from tl.views.drawn import draw_report

    page = draw_report(load(run), data)
    Console().say("report", str(near(page)))
    if show:
        click.launch(str(page))
