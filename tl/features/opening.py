"""The name of a network becomes an engine that is ready to make features."""

from tl.engines.engine import Engine, open_engine
from tl.networks.backbones import Backbone
from tl.networks.backbones import backbone as find_backbone
from tl.networks.weights import resolve
from tl.reporting import Reporter


def open_named(
    backbone: str,
    *,
    weights: str = "imagenet",
    engine: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    report: Reporter,
) -> tuple[Engine, Backbone]:
    """The engine and the network behind a name; its weights are fetched where need be and allowed."""
    network = find_backbone(backbone)
    found = resolve(network, weights, offline=offline, report=report)
    return open_engine(network, found, engine=engine, precision=precision, report=report), network
