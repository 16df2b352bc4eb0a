"""Numpy's linear algebra stays in the thread that asks for it, while an engine computes on all processors."""

import threading
from typing import Any, Self


class OneThread:
    """Holds BLAS to one thread from `hold` to the end of the block; `hold` may be called again.

    OpenBLAS's own threads wait for their next work in a loop: a product of 0.1 ms for each batch of photos then costs
    one of two processors half its time. The limit counts for the whole process; the first to hold it sets it and the
    last to leave takes it back, be they in other threads.
    """

    _lock = threading.Lock()
    _holding = 0
    _limits: Any = None

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> Self:
        return self

    def hold(self) -> None:
        """From here on. It loads a library and looks around for 15 ms: not worth it for a single photo."""
        if self._held:
            return
        from threadpoolctl import threadpool_limits

        kind = type(self)
        with kind._lock:
            if kind._holding == 0:
                kind._limits = threadpool_limits(1, user_api="blas")
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
                kind._limits.restore_original_limits()
