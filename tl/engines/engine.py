"""The protocol of an engine: a frozen network that computes features from batches of photos."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Photos = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Tag = TypeVar("Tag")


class Engine(Protocol):
    """A network ready to run; `key` identifies everything that its features depend on."""

    name: str
    precision: str
    key: str

    @property
    def batch(self) -> int:
        """The batch size that it runs fastest with; may change between two batches when a faster one is measured."""

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos uint8 RGB `[n, size, size, 3]` to features float32 `[n, features]`, each with its tag, in any order.

        An empty batch comes back empty: it lets the caller pass on results that are ready.
        """
