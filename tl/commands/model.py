"""`tl model`: the layers of a network as a table, and its architecture as a drawing."""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tl.networks.backbones import Backbone

_SMALL = 64  # pixels; networks for smaller images were made for CIFAR-100


@click.command("model")
@click.argument("name")
@click.option(
    "--classes",
    default=None,
    type=click.IntRange(1, 1_000_000),
    help="How many it tells apart.  [default: 1000; 100 for networks at 32 pixels]",
)
@click.option(
    "--svg", default=None, type=click.Path(dir_okay=False, path_type=Path), help="The drawing.  [default: NAME.svg]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(name: str, classes: int | None, svg: Path | None, as_json: bool) -> None:
    """Print the layers of the network NAME and draw its architecture.

    NAME is any of `tl weights list`. The network is shown whole, with the top
    that its paper gives it; tl finetune puts a head of its own on its features.
    """
    from tl.commands.console import Console, dumped
    from tl.networks.backbones import backbone
    from tl.views.pictures.diagram import draw, save
    from tl.views.pictures.model_graph import architecture
    from tl.views.terminal.layers import layer_table

    network = backbone(name)
    model = _built(network, classes or (100 if network.recipe.image_size < _SMALL else 1000))
    table = layer_table(model)
    drawing = svg or Path(f"{network.name}.svg")
    save(draw(architecture(model, network.name)), drawing)
    if as_json:
        answer = {"name": network.name, "features": network.features, **table.as_dict(), "svg": str(drawing)}
        click.echo(dumped(answer))
        return
    click.echo(table.text())
    click.echo()
    progress = Console()
    progress.log("features", f"{network.features:,}, made by {network.parameters:,} parameters without a top")
    progress.log("drawing", str(drawing))


def _built(network: "Backbone", classes: int) -> Any:
    """The network in outline: shapes without numbers, so that the largest takes neither time nor memory."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "openvino")  # loads in a third of TensorFlow's time
    import keras

    module, _, function = network.builder.rpartition(":")
    builder = getattr(importlib.import_module(module or "keras.applications"), function)
    size = network.recipe.image_size
    keras.config.set_image_data_format("channels_last")
    with keras.StatelessScope(initialize_variables=False):
        return builder(include_top=True, weights=None, classes=classes, input_shape=(size, size, 3))
