"""`tl weights`: which pretrained weights there are, fetching them, and where they lie."""

import click


@click.group("weights")
def command() -> None:
    """List, fetch and find pretrained weights."""


@command.command("list")
def list_() -> None:
    """All backbones, their weights, and which of these are on this machine."""
    from tl.networks.backbones import BACKBONES
    from tl.networks.weights import cached, pretrained
    from tl.settings import settings

    where = settings()
    click.echo(f"{'backbone':<20}{'pixels':>7}{'parameters':>13}  weights (* on this machine)")
    for backbone in BACKBONES.values():
        names = [f"{name}{'*' if cached(backbone, name, where) else ''}" for name in pretrained(backbone)]
        pixels = backbone.recipe.image_size
        shown = ", ".join(names) or "none: trained from scratch"
        click.echo(f"{backbone.name:<20}{pixels:>7}{backbone.parameters / 1e6:>11.1f} M  {shown}")


@command.command("get")
@click.argument("backbone")
@click.option("--weights", default="imagenet", show_default=True, help="imagenet or bsds500.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
def get(backbone: str, weights: str, offline: bool) -> None:
    """Fetch weights for BACKBONE, if they are not here yet."""
    from tl.commands.console import Console
    from tl.networks.backbones import backbone as find
    from tl.networks.weights import resolve

    progress = Console()
    found = resolve(find(backbone), weights, offline=offline, progress=progress)
    progress.log("weights", f"{found.path} ({found.source}, sha256 {found.sha256[:12]})")


@command.command("path")
@click.argument("backbone")
@click.option("--weights", default="imagenet", show_default=True, help="imagenet or bsds500.")
def path(backbone: str, weights: str) -> None:
    """Print where the weights of BACKBONE lie on this machine."""
    from tl.errors import WeightsError
    from tl.networks.backbones import backbone as find
    from tl.networks.weights import cached
    from tl.settings import settings

    network = find(backbone)
    found = cached(network, weights, settings())
    if found is None:
        raise WeightsError(
            f"no {weights} weights for {network.name} on this machine: `tl weights get {network.name}` fetches them"
        )
    click.echo(found.path)
