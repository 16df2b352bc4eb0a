"""Names and the times at which they come become a yes, or the seconds to wait: a bucket of tokens for each name."""

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST = 10_000  # names that are remembered; the one seen longest ago is forgotten first


class Rates:
    """At most `rate` a minute for each name, and up to a tenth of that (at least ten) at once; 0 means any."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = rate / 60
        self._burst = max(10.0, rate / 10) if rate > 60 else float(rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Take one and give 0, or the seconds after which there is one again."""
        if not self._each:
            return 0.0
        now = self._clock()
        left, before = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._each)
        if left < 1:
            return (1 - left) / self._each
        self._buckets[name] = (left - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return 0.0
