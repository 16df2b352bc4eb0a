"""Options that several of the `tl data` commands have, in one place."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def of_source(command: Command) -> Command:
    """How a data set is fetched, and how much is said."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--offline", is_flag=True, help="Never touch the network."),
        click.option("--download", is_flag=True, help="Fetch DATA if it is a known name and not here."),
    ):
        command = option(command)
    return command


def of_network(command: Command) -> Command:
    """Whose features are compared."""
    weights = click.option("--weights", default="imagenet", show_default=True, help="Its weights: a name or a file.")
    backbone = click.option(
        "--backbone", default="resnet50", show_default=True, help="Network whose features are compared."
    )
    return backbone(weights(command))
