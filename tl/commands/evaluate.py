"""`tl evaluate`: labelled photos that a run has not seen become figures, with intervals."""

import shlex
import sys
from typing import Any

import click


@click.command("evaluate")
@click.argument("data", required=False)
@click.option("--run", default=None, help="Run folder.  [default: the newest in runs/]")
@click.option("--against", default=None, help="Another run to compare with, on the same photos.")
@click.option("--part", default="all", show_default=True, help="Only this part of DATA: train, validation or test.")
@click.option("--allow-missing", is_flag=True, help="Score the classes that DATA and run have in common.")
@click.option("--include-trained", is_flag=True, help="Score photos that the run was trained on as well.")
@click.option("--unknown/--no-unknown", default=True, help="Say which photos are unlike all training photos.")
@click.option("--out", default=None, help="Folder to make.  [default: evaluations/<date>-<data> in the run]")
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow.")
@click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16.")
@click.option("--threads", default=None, type=click.IntRange(1, 1024), help="Threads of the engine.")
@click.option("--cache/--no-cache", default=True, show_default=True, help="Keep features for the next time.")
@click.option("--download", is_flag=True, help="Fetch a known data set (dogs-vs-cats, cifar100) if it is not here.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the account.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(as_json: bool, quiet: bool, report: bool, **options: Any) -> None:
    """Say how good a run is on the labelled photos of DATA, how sure that is, and where it goes wrong.

    Without DATA: on the photos that the run held out, for validation or else for a
    test, where it found them.
    """
    from tl.api import evaluate
    from tl.commands.console import Console, dumped, near
    from tl.progress import Progress
    from tl.views.terminal.evaluation import lines

    console = Progress() if as_json or quiet else Console()
    typed = shlex.join(["tl", *sys.argv[1:]])
    made = evaluate(page=report, command=typed, progress=console, **options)
    if as_json:
        click.echo(dumped({"folder": str(made.folder), **made.as_dict()}))
        return
    for topic, text in lines(made):
        console.log(topic, text)
    files = "report.html, metrics.json, predictions.csv" if report else "metrics.json, predictions.csv"
    console.log("written", f"{near(made.folder)}: {files}")
