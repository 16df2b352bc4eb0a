"""Photos of many callers become batches: sizes, what is given up, what fails, and the end."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tl.errors import EngineError
from tl.service.batching import Batcher, Judge

PHOTO = np.zeros((4, 4, 3), np.uint8)


class Engine:
    """A session that waits for `gate` and remembers its batches; a photo's features are its first pixel."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.sizes: list[int] = []
        self.begun = threading.Event()

    def __call__(self, photos: Any) -> Any:
        self.sizes.append(len(photos))
        self.begun.set()
        assert self.gate.wait(10)
        if photos[0, 0, 0, 0] == 255:
            raise RuntimeError("broken\nengine")
        return photos[:, 0, 0, :1].astype(np.float32)


def judge(vectors: Any) -> Any:
    return vectors, vectors[:, 0] > 100


def made(
    engine: Engine, *, judging: Judge = judge, expected: Callable[[], int] = lambda: 0, window: float = 0.0
) -> Batcher:
    return Batcher([engine], judging, 16, window, expected, lambda size, seconds: None)


def photo(value: int) -> Any:
    return np.full((4, 4, 3), value, np.uint8)


def soon() -> float:
    return time.monotonic() + 10


def test_what_gathers_is_taken_in_powers_of_two_and_answered_each_for_itself():
    async def main() -> None:
        engine = Engine()
        batcher = made(engine)
        first = batcher.submit(photo(0), soon())
        await asyncio.to_thread(engine.begun.wait)
        others = [batcher.submit(photo(at), soon()) for at in range(1, 28)]
        engine.gate.set()
        answers = await asyncio.gather(first, *others)
        assert [float(shares[0]) for shares, _ in answers] == list(range(28))
        assert engine.sizes == [1, 16, 8, 2, 1]
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_what_is_cancelled_or_too_late_is_never_computed():
    async def main() -> None:
        engine = Engine()
        batcher = made(engine)
        first = batcher.submit(photo(0), soon())
        await asyncio.to_thread(engine.begun.wait)
        gone, late, kept = (batcher.submit(photo(1), until) for until in (soon(), time.monotonic() + 0.01, soon()))
        gone.cancel()
        await asyncio.sleep(0.05)
        engine.gate.set()
        assert (await kept)[1] is False
        with pytest.raises(TimeoutError):
            await late
        await first
        assert sum(engine.sizes) == 2
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_a_batch_that_fails_is_told_to_those_who_wait_and_the_next_is_answered():
    async def main() -> None:
        engine = Engine()
        engine.gate.set()
        batcher = made(engine)
        with pytest.raises(EngineError, match="broken"):
            await batcher.submit(photo(255), soon())
        assert (await batcher.submit(photo(101), soon()))[1] is True
        await asyncio.to_thread(batcher.close)
        with pytest.raises(EngineError, match="no longer"):
            batcher.submit(PHOTO, soon())

    asyncio.run(main())


def test_it_waits_only_while_more_are_on_their_way():
    async def main() -> None:
        coming = [0]
        engine = Engine()
        engine.gate.set()
        batcher = made(engine, expected=lambda: coming[0], window=0.3)
        started = time.monotonic()
        await batcher.submit(PHOTO, soon())
        assert time.monotonic() - started < 0.2
        coming[0] = 1
        one = batcher.submit(PHOTO, soon())
        await asyncio.sleep(0.05)
        coming[0] = 0
        await asyncio.gather(one, batcher.submit(PHOTO, soon()))
        assert engine.sizes == [1, 2]
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_what_was_submitted_before_the_end_is_answered():
    async def main() -> None:
        engine = Engine()
        batcher = made(engine)
        futures = [batcher.submit(photo(at), soon()) for at in range(5)]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        engine.gate.set()
        assert len(await asyncio.gather(*futures)) == 5
        await closing

    asyncio.run(main())
