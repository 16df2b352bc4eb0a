"""Extraction of features: order, failures, caching, bounded memory."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

from support.recorder import Recorder
from tl.cache import FeatureCache
from tl.engines.openvino import OpenVINOEngine
from tl.errors import CacheError
from tl.features.extract import extract, stream
from tl.linalg import OneThread
from tl.networks.backbones import backbone

RECIPE = backbone("mobilenetv3small").recipe


class CountingEngine:
    def __init__(self, engine: OpenVINOEngine) -> None:
        self._engine = engine
        self.name, self.precision, self.batch, self.key = engine.name, engine.precision, 4, engine.key
        self.photos = 0

    def run(self, batches):
        def counted():
            for tag, photos in batches:
                self.photos += len(photos)
                yield tag, photos

        return self._engine.run(counted())


@pytest.fixture
def engine(tiny_run):
    return CountingEngine(OpenVINOEngine(tiny_run / "trunk.xml", "tiny", "f32"))


@pytest.fixture
def cache(tmp_path):
    with FeatureCache(tmp_path / "features", 10**9) as opened:
        yield opened


@pytest.fixture
def images(shapes, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    found = sorted(shapes.rglob("*.png"))
    array = np.asarray(Image.open(found[0]))
    return [*found[:10], broken, tmp_path / "missing.png", *found[10:], array]


def test_extract_keeps_the_order_and_skips_failures(engine, cache, images):
    found = extract(images, engine, RECIPE, cache)
    assert set(found.failures) == {10, 11}
    assert list(found.kept) == [at for at in range(len(images)) if at not in (10, 11)]
    assert len(found.fingerprints) == len(found.values) == len(found.kept)
    alone = extract([images[20]], engine, RECIPE, None)
    at = list(found.kept).index(20)
    np.testing.assert_allclose(found.values[at], alone.values[0], rtol=1e-3, atol=1e-4)
    assert found.fingerprints[at] == alone.fingerprints[0]
    unreadable = extract(images[10:12], engine, RECIPE, None)
    assert (unreadable.values.shape, list(unreadable.failures)) == ((0, 0), [0, 1])


def test_extract_computes_each_image_of_any_name_once_for_each_network(engine, cache, images, tmp_path):
    first = extract(images, engine, RECIPE, cache)
    assert (engine.photos, first.cached) == (len(first.kept), 0)
    again = extract(images[::-1], engine, RECIPE, cache)
    assert (engine.photos, again.cached) == (len(first.kept), len(first.kept))
    assert (again.values[::-1] == first.values).all()
    engine.key = "another"
    assert extract(images[:5], engine, RECIPE, cache).cached == 0
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(images[0].read_bytes())
    assert extract([copy], engine, RECIPE, cache).cached == 1


@pytest.mark.parametrize(("cached", "rows", "most"), [(False, 50, 98), (True, 2000, 3000)])
def test_stream_reads_only_a_little_ahead(engine, cache, images, cached, rows, most):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield images[0]

    if cached:
        extract(images[:1], engine, RECIPE, cache)
    batches = stream(endless(), engine, RECIPE, cache if cached else None)
    found = list(islice(chain.from_iterable(batches), rows))
    batches.close()
    assert {row.cached for row in found} == {cached}
    assert read < most


def test_extract_continues_without_a_cache_that_cannot_be_written(engine, cache, images, monkeypatch):
    def full(rows):
        raise CacheError("no space")

    monkeypatch.setattr(cache, "put", full)
    log = Recorder()
    found = extract(images, engine, RECIPE, cache, progress=log)
    assert len(found.values) == len(images) - 2
    assert log.lines == ["warning: no space; continuing without it"]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads for BLAS, whatever the environment says; set in a thread that ends, as `OneThread` does."""
    with ThreadPoolExecutor(1) as pool:
        limits = pool.submit(threadpool_limits, 2, user_api="blas").result()
    yield
    with ThreadPoolExecutor(1) as pool:
        pool.submit(limits.restore_original_limits).result()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="linear algebra has one thread here anyway")
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in-another-thread"])
def test_linear_algebra_uses_one_thread_while_an_engine_computes(engine, images, elsewhere):
    def somewhere(work):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result() if elsewhere else work()

    usual = threads_of_blas()
    assert usual > 1
    first, second = (stream(images * 3, engine, RECIPE, None) for _ in range(2))
    for rows in (first, second):
        next(found for found in rows if len(found) == engine.batch)
        assert threads_of_blas() == 1
    somewhere(first.close)
    assert threads_of_blas() == 1  # the other one still computes
    with OneThread(now=True):
        assert somewhere(lambda: list(second))
        assert threads_of_blas() == 1
    assert threads_of_blas() == usual
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(threads_inside_block).result() == 1
    assert threads_of_blas() == usual


def threads_inside_block() -> int:
    with OneThread(now=True):
        return threads_of_blas()


def threads_of_blas() -> int:
    return max(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")
