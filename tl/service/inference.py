"""An engine and batches of photos become features, from several threads at once: a session for each of them."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tl.engines.engine import Engine, Photos, Vectors
from tl.engines.openvino import OpenVINOEngine

Session = Callable[[Photos], Vectors]
"""Photos uint8 RGB `[n, size, size, 3]` to features `[n, features]`; for one thread at a time."""


def sessions(engine: Engine) -> list[Session]:
    """As many as the engine can run side by side."""
    if isinstance(engine, OpenVINOEngine):
        streams = max(1, int(engine.network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        return [_OnOpenVINO(engine) for _ in range(streams)]
    return [_OneByOne(engine)]


def warm(session: Session, side: int, most: int) -> list[int]:
    """Run batches of 1, 2, 4, … `most` photos once, and give these sizes: the first of a size takes far longer."""
    sizes = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    for size in sizes:
        session(np.zeros((size, side, side, 3), np.uint8))
    return sizes


class _OnOpenVINO:
    def __init__(self, engine: OpenVINOEngine) -> None:
        self._request: Any = engine.network.create_infer_request()

    def __call__(self, photos: Photos) -> Vectors:
        self._request.start_async({0: photos}, share_inputs=True)
        self._request.wait()  # gives up the interpreter's lock, which a callback would have to take
        vectors: Vectors = self._request.get_output_tensor().data.copy()
        return vectors


class _OneByOne:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()

    def __call__(self, photos: Photos) -> Vectors:
        with self._lock:
            return next(vectors for _, vectors in self._engine.run([(0, photos)]))
