"""Activations of a frozen part: in order, in 16 bits, within the limits of the disk, deleted after use."""

import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tl.data.images import decode, fit, read
from tl.errors import DataError, EngineError, StorageError
from tl.features.activations import MARGIN, affordable_views, store
from tl.networks.backbones import Recipe
from tl.progress import Progress
from tl.settings import Settings

RECIPE = Recipe(32, "crop", bgr=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHAPE = (2, 4, 3)


class Corners:
    """An engine whose activations are a part of each photo and a constant; it returns batches in swapped pairs."""

    name, precision, key, batch = "corners", "f32", "corners", 5

    def __init__(self, constant: float = 0.0, dtype: type = np.float32) -> None:
        self.constant, self.dtype, self.sizes = constant, dtype, []

    def run(self, batches):
        waiting = []
        for tag, pixels in batches:
            assert (pixels.dtype, pixels.shape[1:]) == (np.uint8, (32, 32, 3))
            self.sizes.append(len(pixels))
            with np.errstate(over="ignore"):
                waiting.insert(0, (tag, (corner(pixels) + self.constant).astype(self.dtype)))
            if len(waiting) == 2:
                yield from waiting
                waiting = []
        yield from waiting


def corner(pixels):
    return pixels[:, 10:12, 10:14].astype(np.float32)


def nothing(photos, number):
    raise AssertionError("no image needs augmenting")


@pytest.fixture
def where(tmp_path):
    return Settings(tmp_path / "cache", 10**9, offline=True, keras_dir=tmp_path, activations_limit=10**7)


@pytest.fixture
def images(shapes, where):
    where.cache_dir.mkdir()
    return [*sorted(shapes.glob("*/*.png"))[:6], np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)]


def squared(image, side=32):
    return fit(decode(read(image), side), side, RECIPE.resize)


def test_store_keeps_the_plain_image_as_first_view(images, where):
    engine = Corners()
    stored = store(images, engine, RECIPE, SHAPE, views=1, transform=nothing, where=where)
    assert (stored.shape, stored.dtype) == ((1, 7, *SHAPE), np.float16)
    assert np.array_equal(stored[0], corner(np.stack([squared(image) for image in images])))
    assert engine.sizes == [5, 2]


def test_store_keeps_views_in_order(images, where):
    calls = []

    def transform(batch, number):
        calls.append((number, batch))
        return batch[:, :32, :32] // 2 + 10 * np.uint8(number)

    report = Counting()
    options = {"views": 3, "transform": transform, "progress": report, "where": where}
    stored = store(images, Corners(), RECIPE, SHAPE, **options)
    assert (report.total, report.done) == (21, 21)
    assert [number for number, _ in calls] == [0, 1, 2]
    side = round(MARGIN * 32)
    larger = np.concatenate([batch for _, batch in calls])
    assert np.array_equal(larger, [squared(image, side) for image in images] * 2)
    assert np.array_equal(stored[0], corner(np.stack([squared(image) for image in images])))
    augmented = np.concatenate([batch[:, :32, :32] // 2 + 10 * np.uint8(number) for number, batch in calls])
    assert np.array_equal(stored[1:].reshape(14, 2, 4, 3), corner(augmented))


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
def test_store_leaves_out_views_that_are_not_complete_at_the_deadline(images, where):
    late = {"views": 3, "transform": lambda batch, number: batch[:, :32, :32], "deadline": 0.0, "where": where}
    stored = store(images, Corners(), RECIPE, SHAPE, **late)  # seven images in batches of five, in swapped pairs
    assert len(stored) == 1
    assert stored[0] == pytest.approx(store(images, Corners(), RECIPE, SHAPE, **late | {"views": 1})[0])


def test_file_is_deleted_with_the_activations(images, where):
    stored = store(images, Corners(), RECIPE, SHAPE, views=1, transform=nothing, where=where)
    assert list(where.cache_dir.iterdir()) == []  # it has no name that a killed process would leave behind
    assert str(where.cache_dir) in Path("/proc/self/maps").read_text()
    stored[0] = 7
    assert float(stored.sum()) == 7 * stored.size
    del stored
    assert str(where.cache_dir) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("constant", [1e6, np.nan, np.inf])
def test_store_refuses_activations_that_do_not_fit_16_bits(images, where, constant):
    engine = Corners(constant, np.float16)  # as engines do for a frozen part
    with pytest.raises(EngineError, match="activations do not fit 16 bits: train with --unfreeze all"):
        store(images, engine, RECIPE, SHAPE, views=1, transform=nothing, where=where)


def test_store_names_a_full_or_missing_folder_and_an_image_that_disappeared(images, where, tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .* MB of activations to .*cache \(.*TL_ACTIVATIONS_LIMIT"):
        store(images, Corners(), RECIPE, (2**20, 2**20, 3), views=1, transform=nothing, where=where)
    gone = replace(where, cache_dir=where.cache_dir / "nowhere")
    with pytest.raises(StorageError, match=r"nowhere \(No such file or directory\)"):
        store(images, Corners(), RECIPE, SHAPE, views=1, transform=nothing, where=gone)
    with pytest.raises(DataError, match=r"gone\.png can no longer be read \(cannot be read: no such file"):
        store([*images, tmp_path / "gone.png"], Corners(), RECIPE, SHAPE, views=1, transform=nothing, where=where)


@pytest.mark.parametrize(("views", "images", "activations", "expected"), [
    (4, 100, 12_500, 4),  # 2.5 MB a view: four of them are the limit
    (5, 100, 12_500, 4),
    (4, 100, 12_501, 3),
    (1, 100, 12_500, 1),
    (4, 100, 50_000, 1),
    (4, 100, 50_001, 0),
    (4, 10**6, 10**6, 0),
])  # fmt: skip
def test_affordable_views_fit_the_limit(where, views, images, activations, expected):
    assert affordable_views(views, images, activations, where) == expected
    assert where.cache_dir.is_dir()


def test_affordable_views_leave_half_of_the_disk(where, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 10**7))
    assert affordable_views(4, 100, 12_500, where) == 2
