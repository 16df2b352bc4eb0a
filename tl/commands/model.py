"""The command `tl model`."""

import os
import sys
from typing import Any

import click

from tl.commands.options import json_option, workflow_options
from tl.workflows.model import ModelOptions


@click.command("model")
@click.argument("name")
@workflow_options(ModelOptions)
@json_option
def command(name: str, as_json: bool, **options: Any) -> None:
    """Print the layers of the network NAME; draw its architecture with --svg.

    `tl weights list` shows all names. The table has the whole network with the
    top of its paper; tl finetune replaces the top by a head for your classes.
    """
    from tl.commands.console import Console, dumped
    from tl.workflows.model import model

    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "openvino")  # loads in a third of TensorFlow's time
    summary = model(name, options=ModelOptions(**options))
    svg = str(options["svg"]) if options["svg"] else None
    if as_json:
        click.echo(dumped({**summary.as_dict(), "svg": svg}))
        return
    click.echo(f"{summary}\n")
    progress, network = Console(), summary.backbone
    progress.log("features", f"{network.features:,}, from {network.parameters:,} parameters without the top")
    if svg:
        progress.log("drawing", svg)
