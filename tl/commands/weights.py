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
    """List all backbones, their weights, and which are on this machine."""
    click.echo(f"{'backbone':<20}{'pixels':>7}{'parameters':>13}  weights (* on this machine)")
    for entry in weights.list():
        names = [f"{name}{'*' if name in entry.local else ''}" for name in entry.weights]
        size, parameters = entry.backbone.recipe.image_size, entry.backbone.parameters / 1e6
        about = ", ".join(names) or "none: trained from scratch"
        click.echo(f"{entry.backbone.name:<20}{size:>7}{parameters:>11.1f} M  {about}")


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
