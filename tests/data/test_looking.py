"""ImageStats are kept beside the features, and a file is not read where they are."""

from pathlib import Path

import numpy as np
import pytest

from support.data_sets import photo, write
from tl.cache import FeatureCache
from tl.data import image_stats as looking
from tl.data.image_stats import measure_images
from tl.data.images import read
from tl.errors import CacheError
from tl.progress import Progress


class Counting(FeatureCache):
    """A cache that counts the rows written, and fails when it is asked to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1 << 26)
        self.written, self.full = 0, False

    def put(self, rows) -> None:
        if self.full:
            raise CacheError("no space")
        self.written += len(rows)
        super().put(rows)


@pytest.fixture
def cache(tmp_path: Path):
    with Counting(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = [f"{at:03}.{kind}" for at in range(70) for kind in ("png", "jpg")]
    folder = write(tmp_path / "photos", {name: photo(at, 60, 44) for at, name in enumerate(names)})
    return [folder / name for name in names]


def same(one, other) -> bool:
    numbers = ("grey", "colour", "border", "light", "contrast", "sharpness")
    told = ("fingerprints", "headers", "errors")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in numbers) and all(
        getattr(one, name) == getattr(other, name) for name in told
    )


def test_what_was_seen_is_kept_to_the_last_bit(cache, files):
    plain = measure_images(files)
    first = measure_images(files, cache=cache)
    again = measure_images(files, cache=cache)
    assert cache.written == len(files)
    assert same(plain, first)
    assert same(first, again)


def test_known_photos_are_not_read_at_all(cache, files):
    first = measure_images(files, cache=cache)
    for path in files[:100]:
        path.unlink()
    again = measure_images(files, known=first.fingerprints, cache=cache)
    assert same(first, again)
    assert cache.written == len(files)


def test_without_a_cache_known_photos_are_read(files):
    plain = measure_images(files)
    assert same(plain, measure_images(files, known=plain.fingerprints))


def test_every_photo_is_told_of_once(cache, files):
    measure_images(files[:80], cache=cache)
    told: list[tuple[int, bytes]] = []
    looks = measure_images(files, cache=cache, seen=lambda *some: told.extend(zip(*some, strict=True)))
    assert sorted(told) == list(enumerate(looks.fingerprints))


def test_a_broken_photo_is_an_error_each_time(cache, files):
    files[3].write_bytes(b"\x89PNG broken")
    first, again = (measure_images(files, cache=cache) for _ in range(2))
    assert list(first.errors) == list(again.errors) == [3]
    assert first.headers[3] is None
    assert same(first, again)


def test_a_store_that_fails_is_said_once(cache, files):
    warnings: list[str] = []

    class Listening(Progress):
        def warn(self, text: str) -> None:
            warnings.append(text)

    cache.full = True
    assert same(measure_images(files), measure_images(files, cache=cache, progress=Listening()))
    assert warnings == ["no space; continuing without it"]


def test_of_large_photos_not_all_are_held_in_memory(files, monkeypatch):
    whole = measure_images(files)
    monkeypatch.setattr(looking, "_HELD", 100_000)
    asked: list[object] = []
    monkeypatch.setattr(looking, "read", lambda picture: asked.append(picture) or read(picture))
    assert same(whole, measure_images(files))
    assert len(files) < len(asked) < 2 * len(files)  # some are read for their hash and once more to be decoded
