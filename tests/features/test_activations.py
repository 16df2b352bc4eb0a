"""Activations: every view of every picture in its place, 16 bits each, on disk within limits, and gone afterwards."""

import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tl.data.images import decode, fit, read
from tl.errors import DataError, EngineError, StorageError
from tl.features.activations import MARGIN, affordable_views, photos, store
from tl.networks.backbones import Recipe
from tl.progress import Progress
from tl.settings import Settings

RECIPE = Recipe(32, "crop", bgr=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Corners:
    """An engine that takes the middle of each photo for its activations; batches come back in pairs, swapped."""

    name, precision, key = "corners", "f32", "corners"

    def __init__(self, batch: int = 5, scale: float = 1.0) -> None:
        self.batch, self.scale = batch, scale
        self.sizes = []

    def run(self, batches):
        waiting = []
        for tag, pixels in batches:
            assert pixels.dtype == np.uint8
            assert pixels.shape[1:] == (32, 32, 3)
            self.sizes.append(len(pixels))
            waiting.insert(0, (tag, corner(pixels) * self.scale))
            if len(waiting) == 2:
                yield from waiting
                waiting = []
        yield from waiting


def corner(pixels):
    return pixels[:, 10:12, 10:14].astype(np.float32)


def nothing(photos, number):
    raise AssertionError("no picture is to be augmented")


@pytest.fixture
def where(tmp_path):
    return Settings(tmp_path / "cache", 10**9, offline=True, keras_dir=tmp_path, activations_limit=10**7)


@pytest.fixture
def pictures(shapes, where):
    where.cache_dir.mkdir()
    return [*sorted(shapes.glob("*/*.png"))[:6], np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)]


def squared(picture, side=32):
    return fit(decode(read(picture), side), side, RECIPE.resize)


def test_a_picture_as_it_is_comes_first(pictures, where):
    engine = Corners()
    kept = store(pictures, engine, RECIPE, (2, 4, 3), 1, nothing, where=where)
    assert kept.views == 1
    assert kept.values.shape == (1, 7, 2, 4, 3)
    assert kept.values.dtype == np.float16
    assert np.array_equal(kept.values[0], corner(np.stack([squared(picture) for picture in pictures])))
    assert engine.sizes == [5, 2]


def test_every_view_is_in_its_place(pictures, where):
    given = []

    def transform(batch, number):
        given.append((number, batch))
        return batch[:, :32, :32] // 2 + 10 * np.uint8(number)

    kept = store(pictures, Corners(), RECIPE, (2, 4, 3), 3, transform, where=where)
    assert kept.views == 3
    assert [number for number, _ in given] == [0, 1, 2]
    side = round(MARGIN * 32)
    larger = np.concatenate([batch for _, batch in given])
    assert np.array_equal(larger, [squared(picture, side) for picture in pictures] * 2)
    assert np.array_equal(kept.values[0], corner(np.stack([squared(picture) for picture in pictures])))
    augmented = np.concatenate([batch[:, :32, :32] // 2 + 10 * np.uint8(number) for number, batch in given])
    assert np.array_equal(kept.values[1:].reshape(14, 2, 4, 3), corner(augmented))


def test_progress_counts_every_view(pictures, where):
    report = Counting()
    store(pictures, Corners(), RECIPE, (2, 4, 3), 2, lambda batch, _: batch[:, :32, :32], progress=report, where=where)
    assert (report.total, report.done) == (14, 14)


class Counting(Progress):
    """Counts what is done of one task."""

    total, done = 0, 0

    @contextmanager
    def task(self, name, total, unit):
        self.total = total
        yield self

    def advance(self, amount=1):
        self.done += amount


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list what a process maps")
def test_the_file_vanishes_with_the_activations(pictures, where):
    kept = store(pictures, Corners(), RECIPE, (2, 4, 3), 1, nothing, where=where)
    assert list(where.cache_dir.iterdir()) == []  # it has no name that a killed process would leave behind
    assert str(where.cache_dir) in Path("/proc/self/maps").read_text()
    kept.values[0] = 7
    assert float(kept.values.sum()) == 7 * kept.values.size
    del kept
    assert str(where.cache_dir) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("scale", [1e6, np.nan, np.inf])
def test_what_16_bits_cannot_hold_is_refused(pictures, where, scale):
    with pytest.raises(EngineError, match="activations exceed 16 bits: train with --unfreeze all"):
        store(pictures, Sixteen(scale=scale), RECIPE, (2, 4, 3), 1, nothing, where=where)


class Sixteen(Corners):
    """Gives float16, as engines do for a frozen part."""

    def run(self, batches):
        with np.errstate(all="ignore"):
            for tag, values in super().run(batches):
                yield tag, (values + self.scale).astype(np.float16)


def test_a_disk_without_room_is_named(pictures, where):
    with pytest.raises(StorageError, match=r"MB of activations cannot be written to .*cache \(.*TL_ACTIVATIONS_LIMIT"):
        store(pictures, Corners(), RECIPE, (2**20, 2**20, 3), 1, nothing, where=where)
    gone = replace(where, cache_dir=where.cache_dir / "nowhere")
    with pytest.raises(StorageError, match=r"nowhere \(No such file or directory\)"):
        store(pictures, Corners(), RECIPE, (2, 4, 3), 1, nothing, where=gone)


@pytest.mark.parametrize(
    ("asked", "pictures", "numbers", "expected"),
    [
        (4, 100, 12_500, 4),  # 2.5 MB a view: four of them are the limit
        (5, 100, 12_500, 4),
        (4, 100, 12_501, 3),
        (1, 100, 12_500, 1),
        (4, 100, 50_000, 1),
        (4, 100, 50_001, 0),
        (4, 10**6, 10**6, 0),
    ],
)
def test_as_many_views_as_fit_the_limit(where, asked, pictures, numbers, expected):
    assert affordable_views(asked, pictures, numbers, where) == expected
    assert where.cache_dir.is_dir()


def test_half_of_the_free_disk_is_left(where, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 10**7))
    assert affordable_views(4, 100, 12_500, where) == 2


def test_photos_are_decoded_in_order(pictures):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        assert np.array_equal(photos(pictures, 40, RECIPE, pool), [squared(picture, 40) for picture in pictures])


def test_a_picture_that_went_away_meanwhile_is_named(pictures, where, tmp_path):
    gone = tmp_path / "gone.png"
    with pytest.raises(DataError, match=r"gone\.png was there before and is no more \(cannot be read: no such file"):
        store([*pictures, gone], Corners(), RECIPE, (2, 4, 3), 1, nothing, where=where)
