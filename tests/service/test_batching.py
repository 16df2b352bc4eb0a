"""Tests of tl/service/batching.py: batch sizes, cancelled and late images, failures, and closing."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tl.errors import EngineError
from tl.service.batching import Batcher

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Engine:
    """A session that waits for `gate` and remembers its batches; an image's features are its first pixel."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.sizes: list[int] = []
        self.started = threading.Event()

    def __call__(self, images: Any) -> Any:
        self.sizes.append(len(images))
        self.started.set()
        assert self.gate.wait(10)
        if images[0, 0, 0, 0] == 255:
            raise RuntimeError("broken\nengine")
        return images[:, 0, 0, :1].astype(np.float32)


def judge(vectors: Any) -> Any:
    return vectors, vectors[:, 0] > 100


def make_batcher(engine: Engine, *, expected: Callable[[], int] = lambda: 0, window: float = 0.0) -> Batcher:
    return Batcher([engine], judge, most=16, window=window, expected=expected, on_batch=lambda size, seconds: None)


def image(value: int) -> Any:
    return np.full((4, 4, 3), value, np.uint8)


def soon() -> float:
    return time.monotonic() + 10


def test_batches_have_powers_of_two_and_each_image_gets_its_own_verdict():
    async def main() -> None:
        engine = Engine()
        batcher = make_batcher(engine)
        first = batcher.submit(image(0), soon())
        await asyncio.to_thread(engine.started.wait)
        others = [batcher.submit(image(at), soon()) for at in range(1, 28)]
        engine.gate.set()
        answers = await asyncio.gather(first, *others)
        assert [float(probabilities[0]) for probabilities, _ in answers] == list(range(28))
        assert engine.sizes == [1, 16, 8, 2, 1]
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_cancelled_and_late_images_are_never_computed():
    async def main() -> None:
        engine = Engine()
        batcher = make_batcher(engine)
        first = batcher.submit(image(0), soon())
        await asyncio.to_thread(engine.started.wait)
        cancelled, late, wanted = (
            batcher.submit(image(1), until) for until in (soon(), time.monotonic() + 0.01, soon())
        )
        cancelled.cancel()
        await asyncio.sleep(0.05)
        engine.gate.set()
        assert (await wanted)[1] is False
        with pytest.raises(TimeoutError):
            await late
        await first
        assert sum(engine.sizes) == 2
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_a_failed_batch_raises_and_the_next_one_is_computed():
    async def main() -> None:
        engine = Engine()
        engine.gate.set()
        batcher = make_batcher(engine)
        with pytest.raises(EngineError, match="broken"):
            await batcher.submit(image(255), soon())
        assert (await batcher.submit(image(101), soon()))[1] is True
        await asyncio.to_thread(batcher.close)
        with pytest.raises(EngineError, match="no longer"):
            batcher.submit(IMAGE, soon())

    asyncio.run(main())


def test_the_batcher_waits_only_while_more_images_are_expected():
    async def main() -> None:
        coming = [0]
        engine = Engine()
        engine.gate.set()
        batcher = make_batcher(engine, expected=lambda: coming[0], window=10)
        await batcher.submit(IMAGE, soon())
        coming[0] = 1
        one = batcher.submit(IMAGE, soon())
        await asyncio.sleep(0.05)
        coming[0] = 0
        await asyncio.gather(one, batcher.submit(IMAGE, soon()))
        assert engine.sizes == [1, 2]
        await asyncio.to_thread(batcher.close)

    asyncio.run(main())


def test_close_finishes_submitted_images():
    async def main() -> None:
        engine = Engine()
        batcher = make_batcher(engine)
        futures = [batcher.submit(image(at), soon()) for at in range(5)]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        engine.gate.set()
        assert len(await asyncio.gather(*futures)) == 5
        await closing

    asyncio.run(main())
