"""Extraction: order, failures, the cache, and an engine that need not be asked twice."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info

from tl.blas import OneThread
from tl.cache import FeatureCache
from tl.engines.openvino import OpenVINOEngine
from tl.errors import CacheError
from tl.features.extract import extract, stream
from tl.networks.backbones import backbone
from tl.progress import Progress

RECIPE = backbone("mobilenetv3small").recipe


class Counted:
    """An engine that counts the photos it is given."""

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
    return Counted(OpenVINOEngine(tiny_run / "trunk.xml", "tiny", "f32"))


@pytest.fixture
def cache(tmp_path):
    with FeatureCache(tmp_path / "features", 10**9) as opened:
        yield opened


@pytest.fixture
def pictures(shapes, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    found = sorted(shapes.rglob("*.png"))
    array = np.asarray(Image.open(found[0]))
    return [*found[:10], broken, tmp_path / "missing.png", *found[10:], array]


def test_values_stand_in_the_order_of_the_pictures(engine, cache, pictures):
    found = extract(pictures, engine, RECIPE, cache)
    assert set(found.failures) == {10, 11}
    assert list(found.kept) == [at for at in range(len(pictures)) if at not in (10, 11)]
    assert len(found.fingerprints) == len(found.values) == len(found.kept)
    alone = extract([pictures[20]], engine, RECIPE, None)
    at = list(found.kept).index(20)
    np.testing.assert_allclose(found.values[at], alone.values[0], rtol=1e-3, atol=1e-4)
    assert found.fingerprints[at] == alone.fingerprints[0]


def test_what_was_computed_is_never_computed_again(engine, cache, pictures):
    first = extract(pictures, engine, RECIPE, cache)
    assert (engine.photos, first.cached) == (len(first.kept), 0)
    again = extract(pictures[::-1], engine, RECIPE, cache)
    assert (engine.photos, again.cached) == (len(first.kept), len(first.kept))
    assert (again.values[::-1] == first.values).all()


def test_another_network_does_not_get_these_rows(engine, cache, pictures):
    extract(pictures[:5], engine, RECIPE, cache)
    engine.key = "another"
    assert extract(pictures[:5], engine, RECIPE, cache).cached == 0


def test_a_renamed_picture_is_the_same_picture(engine, cache, shapes, tmp_path):
    original = next(shapes.rglob("*.png"))
    extract([original], engine, RECIPE, cache)
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(original.read_bytes())
    assert extract([copy], engine, RECIPE, cache).cached == 1


def test_an_endless_stream_is_read_only_a_little_ahead(engine, pictures):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield pictures[0]

    given = stream(endless(), engine, RECIPE, None)
    rows = chain.from_iterable(given)
    for _ in range(50):
        next(rows)
    given.close()
    assert read < 50 + 12 * engine.batch


def test_a_stream_of_cached_pictures_is_handed_on_as_it_goes(engine, cache, pictures):
    extract(pictures[:1], engine, RECIPE, cache)
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield pictures[0]

    given = stream(endless(), engine, RECIPE, cache)
    rows = chain.from_iterable(given)
    for _ in range(2000):
        assert next(rows).cached
    given.close()
    assert read < 3000


def test_a_cache_that_cannot_be_written_costs_only_itself(engine, cache, pictures, monkeypatch):
    def full(rows):
        raise CacheError("no space")

    monkeypatch.setattr(cache, "put", full)
    said = []

    class Listening(Progress):
        def warn(self, text):
            said.append(text)

    found = extract(pictures, engine, RECIPE, cache, progress=Listening())
    assert len(found.values) == len(pictures) - 2
    assert said == ["no space; going on without it"]


def test_nothing_readable_gives_no_features(engine, tmp_path):
    found = extract([tmp_path / "a.jpg"], engine, RECIPE, None)
    assert found.values.shape == (0, 0)
    assert list(found.failures) == [0]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="linear algebra has one thread here anyway")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in-another-thread"])
def test_linear_algebra_keeps_to_one_thread_while_an_engine_computes(engine, pictures, elsewhere):
    def somewhere(work):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result() if elsewhere else work()

    usual = threads_of_blas()
    assert usual > 1
    first, second = (stream(pictures * 3, engine, RECIPE, None) for _ in range(2))
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
        assert pool.submit(held).result() == 1
    assert threads_of_blas() == usual


def held() -> int:
    with OneThread(now=True):
        return threads_of_blas()


def threads_of_blas() -> int:
    return max(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")
