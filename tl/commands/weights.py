"""The commands `tl weights list`, `get` and `path`."""

from typing import Any

import click

from tl.commands.options import workflow_options
from tl.workflows import weights
from tl.workflows.weights import WeightsOptions


@click.group("weights")
def command() -> None:
    """List, download and locate pretrained weights."""


@command.command("list")
def list_() -> None:
    """List all backbones and their weights.

    MB is what is downloaded, ImageNet the published top-1 accuracy, images/s
    what was measured on this machine. Where weights come from: "here" means
    that they are on this machine.
    """
    for name, pixels, parameters, size, accuracy, rate, where in (
        weights.HEADINGS,
        *map(weights.cells, weights.list()),
    ):
        click.echo(f"{name:<18}{pixels:>7}{parameters:>8}{size:>6}{accuracy:>9}{rate:>9}  {where}")


@command.command("get")
@click.argument("backbone")
@workflow_options(WeightsOptions)
def get(backbone: str, **options: Any) -> None:
    """Download the weights of BACKBONE unless they are on this machine."""
    from tl.commands.console import Console

    progress = Console()
    entry = weights.get(backbone, options=WeightsOptions(**options), progress=progress)
    progress.log("weights", f"{entry.path} ({entry.source}, sha256 {entry.sha256[:12]})")


@command.command("path")
@click.argument("backbone")
@workflow_options(WeightsOptions, leave_out=("offline",))
def path(backbone: str, **options: Any) -> None:
    """Print where the weights of BACKBONE are on this machine."""
    click.echo(weights.path(backbone, **options))
