"""Numpy's linear algebra stays in the thread that asks for it, while others compute on all processors."""

import threading
from collections.abc import Callable
from typing import Any, Self


class OneThread:
    """Holds BLAS to one thread: for the whole block with `now`, else from `hold` on, which may be called again.

    OpenBLAS's own threads wait for their next work in a loop: a product of 0.1 ms for each batch of photos then costs
    one of two processors half its time. The limit counts for the whole process, so that all of it goes through here:
    the first to hold it sets it and the last to leave takes it back, in whatever thread.
    """

    _lock = threading.Lock()
    _holding = 0
    _limits: Any = None

    def __init__(self, *, now: bool = False) -> None:
        self._now, self._held = now, False

    def __enter__(self) -> Self:
        if self._now:
            self.hold()
        return self

    def hold(self) -> None:
        """From here on. It loads a library and looks around for 15 ms: not worth it for a single photo."""
        if self._held:
            return
        from threadpoolctl import threadpool_limits

        kind = type(self)
        with kind._lock:
            if kind._holding == 0:
                kind._limits = _aside(lambda: threadpool_limits(1, user_api="blas"))
            kind._holding += 1
            self._held = True

    def __exit__(self, *_: object) -> None:
        if not self._held:
            return
        kind = type(self)
        with kind._lock:
            kind._holding -= 1
            self._held = False
            if kind._holding == 0:
                _aside(kind._limits.restore_original_limits)


def _aside(work: Callable[[], Any]) -> Any:
    """Done in a thread that ends: to threadpoolctl a limit belongs to the thread that set it, as long as that lives."""
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(work()), name="blas")
    thread.start()
    thread.join()
    return made[0]
