"""`tl weights`: list, download and locate pretrained weights."""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tl.errors import WeightsError
from tl.networks.backbones import BACKBONES, Backbone, backbone
from tl.networks.weights import Weights, cached, pretrained, resolve
from tl.options import keywords, offline_option, option
from tl.progress import Progress
from tl.settings import settings
from tl.text import HtmlList

__all__ = ["get", "list", "path"]


def __dir__() -> builtins.list[str]:
    return __all__


@dataclass(frozen=True)
class WeightsOptions:
    """Options of `tl weights get` and `tl weights path`."""

    weights: str = option("imagenet", "imagenet or bsds500.")
    offline: bool = offline_option()


@dataclass(frozen=True)
class AvailableWeights:
    """A backbone, the names of its pretrained weights, and which of them are on this machine."""

    backbone: Backbone
    weights: tuple[str, ...]
    local: tuple[str, ...]


def list() -> Sequence[AvailableWeights]:
    """All backbones with their pretrained weights."""
    where = settings()
    every = (
        AvailableWeights(entry, names, tuple(name for name in names if cached(entry, name, where)))
        for entry in BACKBONES.values()
        for names in [pretrained(entry)]
    )
    headings = ("network", "pretrained weights", "on this machine")
    return HtmlList(every, headings, lambda row: (row.backbone.name, ", ".join(row.weights), ", ".join(row.local)))


@keywords(WeightsOptions)
def get(name: str, *, options: WeightsOptions, progress: Progress | None = None) -> Weights:
    """The weights of the backbone `name`, downloaded if they are not on this machine. Raises WeightsError."""
    return resolve(backbone(name), options.weights, offline=options.offline, progress=progress)


def path(name: str, *, weights: str = "imagenet") -> Path:
    """Where the weights of the backbone `name` are on this machine. Raises WeightsError if they are not."""
    network = backbone(name)
    entry = cached(network, weights, settings())
    if entry is None or entry.path is None:
        raise WeightsError(
            f"no {weights} weights for {network.name} on this machine: `tl weights get {network.name}` downloads them"
        )
    return entry.path
