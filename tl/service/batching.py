"""Single photos of many clients become batches for the engine, and what it makes of each batch the answer to each.

While the engine is busy photos gather; a session that is free takes what is there at once, so that one client never
waits for others. Only while photos are known to be on their way, being decoded, does it wait for them, for a window of
milliseconds at most. So load chooses the size of batches, and sizes are powers of two: the engine prepares each size.
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


Pixels = NDArray[np.uint8]
Judged = tuple[NDArray[np.float32], bool]
"""The probabilities `[classes]` of a photo, and whether it is unknown."""

Judge = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Features of a batch to the probabilities of each photo and whether it is unknown, as `Predictor.judge`."""


@dataclass(frozen=True)
class _Asked:
    photo: Pixels
    future: "asyncio.Future[Judged]"
    deadline: float


class Batcher:
    """Gathers photos for `sessions`, each of which has a thread, in batches of at most `most`.

    `expected` tells how many more are on their way, `seen(size, seconds)` is told of each batch. Used from the event
    loop that it is made in; `close()` lets what was submitted finish.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        judge: Judge,
        most: int,
        window: float,
        expected: Callable[[], int],
        seen: Callable[[int, float], None],
    ) -> None:
        self._judge = judge
        self._most, self._window, self._expected, self._seen = most, window, expected, seen
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Asked] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(session,), name="engine", daemon=True) for session in sessions
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Photos that no batch has taken yet."""
        return len(self._waiting)

    def submit(self, photo: Pixels, deadline: float) -> "asyncio.Future[Judged]":
        """What a photo comes to, fitted for the network; TimeoutError after `deadline` (`time.monotonic()`).

        One that is cancelled before a batch takes it is never computed.
        """
        future: asyncio.Future[Judged] = self._loop.create_future()
        with self._change:
            if self._closed:
                raise EngineError("this run is no longer served")
            self._waiting.append(_Asked(photo, future, deadline))
            self._change.notify()
        return future

    def close(self) -> None:
        """Take no more, and wait until what there is is done."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, session: Session) -> None:
        while (batch := self._gathered()) is not None:
            if not batch:
                continue
            started = time.monotonic()
            try:
                judged = self._judge(session(np.stack([asked.photo for asked in batch])))
            # Whatever the engine raises, those who wait must hear of it, and the thread must go on for the others.
            except Exception as error:  # noqa: BLE001
                self._post(self._failed, batch, EngineError(f"the engine failed: {str(error)[:200]}"))
                continue
            self._seen(len(batch), time.monotonic() - started)
            self._post(self._done, batch, judged)

    def _gathered(self) -> list[_Asked] | None:
        """The next batch, empty if all in it were given up; None at the end."""
        with self._change:
            while not self._waiting:
                if self._closed:
                    return None
                self._change.wait()
            until = time.monotonic() + self._window
            while (
                0 < len(self._waiting) < self._most and self._expected() > 0 and (left := until - time.monotonic()) > 0
            ):
                self._change.wait(left)
            size = self._size(len(self._waiting))
            return self._wanted([self._waiting.popleft() for _ in range(size)])

    def _size(self, there: int) -> int:
        return 1 << (min(there, self._most).bit_length() - 1) if there else 0

    def _wanted(self, batch: list[_Asked]) -> list[_Asked]:
        now = time.monotonic()
        late = [asked for asked in batch if asked.deadline < now]
        if late:
            self._post(self._failed, late, TimeoutError())
        return [asked for asked in batch if asked.deadline >= now and not asked.future.cancelled()]

    def _post(self, deliver: Callable[[list[_Asked], Any], None], batch: list[_Asked], what: object) -> None:
        self._loop.call_soon_threadsafe(deliver, batch, what)

    @staticmethod
    def _done(batch: list[_Asked], judged: Any) -> None:
        for asked, shares, strange in zip(batch, *judged, strict=True):
            if not asked.future.done():
                asked.future.set_result((shares, bool(strange)))

    @staticmethod
    def _failed(batch: list[_Asked], error: Any) -> None:
        for asked in batch:
            if not asked.future.done():
                asked.future.set_exception(error)
