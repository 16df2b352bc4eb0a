"""`tl weights`: list, download and locate pretrained weights."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from tl.engines.autotune import recall_rates
from tl.engines.openvino import machine_name
from tl.engines.trunk import content_key, converted_trunk
from tl.errors import WeightsError
from tl.networks.backbones import BACKBONES, Backbone, backbone
from tl.networks.weights import IMAGENET_TOP1, Weights, cached, download_size, pretrained, resolve, sources
from tl.options import keywords, offline_option, option
from tl.progress import Progress
from tl.settings import settings
from tl.text import HtmlList, percent

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
    """A backbone, the names of its pretrained weights, and which of them are on this machine.

    `download_bytes` and `imagenet_top1` are those of its ImageNet weights, the latter as published, as a fraction;
    `images_per_second` is what the network was measured with on this machine. Each is None where it is not known.
    `sources` are by the name of the weights, in the order in which they are tried.
    """

    backbone: Backbone
    weights: tuple[str, ...]
    local: tuple[str, ...]
    download_bytes: int | None
    imagenet_top1: float | None
    images_per_second: float | None
    sources: Mapping[str, tuple[str, ...]]

    @property
    def available_from(self) -> str:
        """Where the weights are or can be had, in a few words; a source is a package of a registry, or Keras' own."""
        words = []
        for name, origins in self.sources.items():
            where = "here" if name in self.local else ", ".join(origin.partition(" ")[0] for origin in origins)
            words.append(where if name == "imagenet" else f"{name}: {where}")
        return "; ".join(words) or "none: from scratch"


def list() -> Sequence[AvailableWeights]:
    """All backbones with their pretrained weights, where these can be had, and what is known of them."""
    speeds = recall_rates()
    machine = machine_name() if speeds else ""
    fastest = sorted(speeds.items(), key=itemgetter(1), reverse=True)
    here = {network: rate for (network, on), rate in fastest if on == machine}
    every = (_available(entry, here) for entry in BACKBONES.values())
    return HtmlList(every, HEADINGS, cells)


def _available(entry: Backbone, speeds: Mapping[str, float]) -> AvailableWeights:
    names = pretrained(entry)
    local = {name: weights for name in names if (weights := cached(entry, name, settings()))}
    trunk = converted_trunk(entry, local["imagenet"]) if speeds and "imagenet" in local else None
    key = "" if trunk is None else content_key(trunk.xml_sha256, trunk.bin_sha256, entry.recipe)
    return AvailableWeights(
        backbone=entry,
        weights=names,
        local=tuple(local),
        download_bytes=download_size(entry, "imagenet") if "imagenet" in names else None,
        imagenet_top1=IMAGENET_TOP1.get(entry.name),
        images_per_second=next((rate for network, rate in speeds.items() if key and network.startswith(key)), None),
        sources={name: sources(entry, name) for name in names},
    )


HEADINGS = ("network", "pixels", "params", "MB", "ImageNet", "images/s", "weights from")


def cells(row: AvailableWeights) -> tuple[str, ...]:
    """A row of a table under `HEADINGS`; what is not known is empty."""
    recipe, size, rate = row.backbone.recipe, row.download_bytes, row.images_per_second
    return (
        row.backbone.name,
        f"{recipe.image_size}",
        f"{row.backbone.parameters / 1e6:.1f} M",
        "" if size is None else f"{size / 1e6:,.0f}",
        "" if row.imagenet_top1 is None else percent(row.imagenet_top1),
        "" if rate is None else f"{rate:,.0f}",
        row.available_from,
    )


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
