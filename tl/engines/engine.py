"""What every engine is: a frozen network that turns batches of photos into features."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Photos = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Tag = TypeVar("Tag")


class Engine(Protocol):
    """A network ready to run; `key` names what its features depend on, `batch` is the size it runs best with."""

    name: str
    precision: str
    key: str

    @property
    def batch(self) -> int:
        """It may change between two batches, where the engine has found out what is faster."""

    def run(self, batches: Iterable[tuple[Tag, Photos]]) -> Iterator[tuple[Tag, Vectors]]:
        """Photos uint8 RGB `[n, size, size, 3]` to features float32 `[n, features]`, each with its tag, in any order.

        An empty batch is a tick: it comes back empty, so that the caller can hand on what is ready.
        """
