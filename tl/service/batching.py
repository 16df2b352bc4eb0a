"""Gather single images of many clients into batches for the engine.

While the engine is busy, images gather; a free session takes what is there at once, so a single client never waits for
others. Only while more images are being decoded does it wait for them, for a window of milliseconds at most. So the
load determines the size of batches, and sizes are powers of two, because the engine prepares each size.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.engines.engine import Engine, Photos, Vectors
from tl.engines.openvino import OpenVINOEngine
from tl.errors import EngineError

Session = Callable[[Photos], Vectors]
"""Images uint8 RGB `[n, size, size, 3]` to features `[n, features]`; for one thread at a time."""

Pixels = NDArray[np.uint8]
Verdict = tuple[NDArray[np.float32], bool]
"""The probabilities `[classes]` of an image, and whether it is unknown."""

Judge = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Features of a batch to the probabilities of each image and whether it is unknown, as `Predictor.judge`."""


def sessions(engine: Engine) -> list[Session]:
    """As many sessions as the engine can run in parallel."""
    if isinstance(engine, OpenVINOEngine):
        streams = max(1, int(engine.network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        return [_OpenVINOSession(engine) for _ in range(streams)]
    return [_LockedSession(engine)]


def warm_up(session: Session, side: int, most: int) -> None:
    """Run one batch of 1, 2, 4, … `most` images: the first batch of a size takes far longer than the next."""
    for power in range(most.bit_length()):
        session(np.zeros((1 << power, side, side, 3), np.uint8))


class _OpenVINOSession:
    def __init__(self, engine: OpenVINOEngine) -> None:
        self._request: Any = engine.network.create_infer_request()

    def __call__(self, images: Photos) -> Vectors:
        self._request.start_async({0: images}, share_inputs=True)
        self._request.wait()  # releases the GIL, which a callback would have to acquire
        vectors: Vectors = self._request.get_output_tensor().data.copy()
        return vectors


class _LockedSession:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()

    def __call__(self, images: Photos) -> Vectors:
        with self._lock:
            return next(vectors for _, vectors in self._engine.run([(0, images)]))


@dataclass(frozen=True)
class _Pending:
    image: Pixels
    future: "asyncio.Future[Verdict]"
    deadline: float


class Batcher:
    """Gathers images for `sessions`, each with a thread of its own, in batches of at most `most`.

    `expected()` returns how many more are being decoded; `on_batch(size, seconds)` is called after each batch. Used
    from the event loop it is created in; `close()` finishes what was submitted.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        judge: Judge,
        *,
        most: int,
        window: float,
        expected: Callable[[], int],
        on_batch: Callable[[int, float], None],
    ) -> None:
        self._judge = judge
        self._most, self._window, self._expected, self._on_batch = most, window, expected, on_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Pending] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(session,), name="engine", daemon=True) for session in sessions
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, image: Pixels, deadline: float) -> "asyncio.Future[Verdict]":
        """The verdict on an image that fits the network; TimeoutError after `deadline` (`time.monotonic()`).

        An image whose future is cancelled before a batch takes it is never computed.
        """
        future: asyncio.Future[Verdict] = self._loop.create_future()
        with self._changed:
            if self._closed:
                raise EngineError("this run is no longer served")
            self._waiting.append(_Pending(image, future, deadline))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Accept no more images, and wait until all submitted ones are done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, session: Session) -> None:
        while (batch := self._next_batch()) is not None:
            if not batch:
                continue
            started = time.monotonic()
            try:
                verdicts = self._judge(session(np.stack([pending.image for pending in batch])))
            # Whatever the engine raises, the clients must get it, and the thread must go on for the others.
            except Exception as error:  # noqa: BLE001
                self._loop.call_soon_threadsafe(_fail, batch, EngineError(f"the engine failed: {str(error)[:200]}"))
                continue
            self._on_batch(len(batch), time.monotonic() - started)
            self._loop.call_soon_threadsafe(_deliver, batch, verdicts)

    def _next_batch(self) -> list[_Pending] | None:
        """The next batch, empty if all its images were cancelled or are late; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            until = time.monotonic() + self._window
            while 0 < len(self._waiting) < self._most and self._expected() > 0 and until > time.monotonic():
                self._changed.wait(max(0.0, until - time.monotonic()))
            available = min(len(self._waiting), self._most)
            size = 1 << (available.bit_length() - 1) if available else 0  # another session may have taken all
            batch = [self._waiting.popleft() for _ in range(size)]
        now = time.monotonic()
        if late := [pending for pending in batch if pending.deadline < now]:
            self._loop.call_soon_threadsafe(_fail, late, TimeoutError())
        return [pending for pending in batch if pending.deadline >= now and not pending.future.cancelled()]


def _deliver(batch: list[_Pending], verdicts: Any) -> None:
    for pending, probabilities, is_unknown in zip(batch, *verdicts, strict=True):
        if not pending.future.done():
            pending.future.set_result((probabilities, bool(is_unknown)))


def _fail(batch: list[_Pending], error: Any) -> None:
    for pending in batch:
        if not pending.future.done():
            pending.future.set_exception(error)
