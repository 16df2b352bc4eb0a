"""Keep numpy's linear algebra in the calling thread while other threads use all processors."""

import threading
from collections.abc import Callable
from typing import Any, Self


class OneThread:
    """Limit BLAS to one thread: for the whole block with `now`, else from `hold` on, which may be called again.

    OpenBLAS's own threads wait for their next work in a loop: a product of 0.1 ms for each batch of images then costs
    one of two processors half its time. The limit is that of the whole process: the first to hold it sets it and the
    last to leave resets it, in whatever thread.
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
        """Set the limit. It loads a library for 15 ms: not worth it for a single image."""
        if self._held:
            return
        from threadpoolctl import threadpool_limits

        kind = type(self)
        with kind._lock:
            if kind._holding == 0:
                kind._limits = _in_thread(lambda: threadpool_limits(1, user_api="blas"))
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
                _in_thread(kind._limits.restore_original_limits)


def _in_thread(work: Callable[[], Any]) -> Any:
    """Run in a thread that ends: to threadpoolctl a limit belongs to the thread that set it, as long as that lives."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="blas")
    thread.start()
    thread.join()
    return results[0]
