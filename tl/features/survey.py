"""Pictures become their fingerprints, and the reasons why some cannot be read, without any network."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tl.data.images import Picture
from tl.engines.engine import Photos, Tag, Vectors
from tl.features.extract import Features, extract
from tl.networks.backbones import Recipe
from tl.progress import Reporter


class _Reader:
    """An engine that only asks for the photos: what cannot be decoded shows, and costs nothing more."""

    name, precision, key, batch = "reader", "none", "reader", 64

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        for tag, photos in batches:
            yield tag, np.zeros((len(photos), 1), np.float32)


def survey(pictures: Sequence[Picture], recipe: Recipe, *, report: Reporter | None = None) -> Features:
    """Fingerprints and failures of pictures, decoded as a network with that recipe reads them."""
    return extract(pictures, _Reader(), recipe, None, report=report)
