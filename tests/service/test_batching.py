"""Tests of tl/service/batching.py: batch sizes, cancelled and late images, failures, and closing."""

import asyncio
import threading
import time

import numpy as np
import pytest

from tl.errors import EngineError
from tl.service.batching import Batcher

pytestmark = pytest.mark.anyio


class Engine:
    """A session that waits for `gate` and remembers its batches; an image's features are its first pixel."""

    def __init__(self):
        self.gate, self.started = threading.Event(), threading.Event()
        self.sizes = []
        self.expected = 0

    def __call__(self, images):
        self.sizes.append(len(images))
        self.started.set()
        assert self.gate.wait(10)
        if images[0, 0, 0, 0] == 255:
            raise RuntimeError("broken\nengine")
        return images[:, 0, 0, :1].astype(np.float32)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture(params=[0.0])
async def submit(engine, request):
    """Submit an image of one value to a batcher: `submit(7)`."""
    batcher = Batcher(
        [engine],
        lambda vectors: (vectors, vectors[:, 0] > 100),
        most=16,
        window=request.param,
        expected=lambda: engine.expected,
        on_batch=lambda size, seconds: None,
    )

    def submit(value, seconds=10.0):
        return batcher.submit(np.full((4, 4, 3), value, np.uint8), time.monotonic() + seconds)

    submit.close = batcher.close
    yield submit
    await asyncio.to_thread(batcher.close)


async def test_batches_have_powers_of_two_and_each_image_gets_its_own_verdict(engine, submit):
    first = submit(0)
    await asyncio.to_thread(engine.started.wait)
    others = [submit(at) for at in range(1, 28)]
    engine.gate.set()
    answers = await asyncio.gather(first, *others)
    assert [float(probabilities[0]) for probabilities, _ in answers] == list(range(28))
    assert engine.sizes == [1, 16, 8, 2, 1]


async def test_cancelled_and_late_images_are_never_computed(engine, submit):
    first = submit(0)
    await asyncio.to_thread(engine.started.wait)
    cancelled, late, wanted = submit(1), submit(1, 0.01), submit(1)
    cancelled.cancel()
    await asyncio.sleep(0.05)
    engine.gate.set()
    assert (await wanted)[1] is False
    with pytest.raises(TimeoutError):
        await late
    await first
    assert sum(engine.sizes) == 2


async def test_a_failed_batch_raises_and_the_next_one_is_computed(engine, submit):
    engine.gate.set()
    with pytest.raises(EngineError, match="broken"):
        await submit(255)
    assert (await submit(101))[1] is True
    await asyncio.to_thread(submit.close)
    with pytest.raises(EngineError, match="no longer"):
        submit(0)


@pytest.mark.parametrize("submit", [10.0], indirect=True)
async def test_the_batcher_waits_only_while_more_images_are_expected(engine, submit):
    engine.gate.set()
    await submit(0)
    engine.expected = 1
    one = submit(0)
    await asyncio.sleep(0.05)
    engine.expected = 0
    await asyncio.gather(one, submit(0))
    assert engine.sizes == [1, 2]


async def test_close_finishes_submitted_images(engine, submit):
    futures = [submit(at) for at in range(5)]
    closing = asyncio.create_task(asyncio.to_thread(submit.close))
    await asyncio.sleep(0.05)
    engine.gate.set()
    assert len(await asyncio.gather(*futures)) == 5
    await closing
