"""`tl compare`: several networks on one data set become one table."""

import shlex
import sys
from dataclasses import asdict
from typing import Any

import click

from tl.commands.data_argument import of_data


@click.command("compare")
@of_data
@click.option(
    "--backbones", default="", help="Pretrained networks, separated by commas.  [default: resnet50, without --scratch]"
)
@click.option("--scratch", default="", help="Networks to train from random weights, separated by commas.")
@click.option("--unfreeze", default="none", show_default=True, help="Train the backbones: last, half, all, auto.")
@click.option("--epochs", type=int, default=None, help="Rounds over the photos of what is trained.")
@click.option("--budget", default=None, help="Time for all of them, such as 10m, shared out evenly.")
@click.option("--image-size", type=int, default=None, help="Side of every network's input in pixels.")
@click.option("--val", default=0.2, show_default=True, help="Share of each class held out for validation.")
@click.option("--seed", default=0, show_default=True, help="Chooses the split, which is the same for all.")
@click.option("--out", default=None, help="Folder to make.  [default: runs/<date>-compare-<data>]")
@click.option("--gradients", is_flag=True, help="Plot the gradients by layer of networks trained from random weights.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(backbones: str, scratch: str, gradients: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train several networks on the same split of DATA and set them side by side."""
    from tl.api import compare
    from tl.commands.console import Console, dumped
    from tl.progress import Progress
    from tl.views.terminal.comparison import table

    progress = Progress() if as_json or quiet else Console()
    made = compare(
        backbones=_names(backbones) or ([] if scratch else ["resnet50"]),
        scratch=_names(scratch),
        gradients=gradients,
        command=shlex.join(["tl", *sys.argv[1:]]),
        progress=progress,
        **options,
    )
    if as_json:
        entries = [asdict(entry) for entry in made.entries]
        about = {"folder": str(made.folder), "count": made.count, "entries": entries}
        click.echo(dumped(about))
    elif not quiet:
        click.echo()
        click.echo(table(made))
        progress.log("", "")
        progress.log("written", f"{made.folder}: comparison.html, .csv, .png, grid.png, and a run of each network")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
