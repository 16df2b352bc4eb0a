"""Statistics of images: measured without a network, kept in the cache, and perceptual hashes."""

from collections import Counter
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from support.data_sets import photo, write
from support.image_kinds import deep_png, encoded, white_drawing
from support.recorder import Recorder
from tl.cache import FeatureCache
from tl.data.decoding import count_remarks
from tl.data.image_stats import ImageStats, measure_images, perceptual_hashes
from tl.data.images import fingerprint
from tl.errors import CacheError


def test_headers_errors_and_hashes_are_those_of_their_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, grey = BytesIO(), BytesIO()
    photo(1).save(turned, "JPEG", exif=exif)
    photo(2).convert("L").save(grey, "PNG")
    write(tmp_path, {"a.jpg": turned.getvalue(), "b.png": grey.getvalue(), "c.jpg": b"", "d.webp": photo(3)})
    files = [tmp_path / name for name in ("a.jpg", "b.png", "c.jpg", "d.webp")]
    stats = measure_images([*files, np.asarray(photo(4))])
    headers = [(h.format, h.width, h.height, h.mode, h.orientation) if h else None for h in stats.headers]
    assert headers == [
        ("JPEG", 120, 90, "YCbCr", 6),
        ("PNG", 120, 90, "L", 1),
        None,
        ("WEBP", 120, 90, "RGB", 1),
        ("", 120, 90, "RGB", 1),
    ]
    assert stats.errors == {2: "empty file"}
    assert stats.fingerprints[0] == fingerprint(turned.getvalue())


def test_what_was_decided_while_decoding_is_kept_and_counted(tmp_path):
    files = {
        "a.png": encoded(white_drawing(), "PNG"),
        "b.png": encoded(white_drawing(), "PNG", compress_level=1),
        "c.png": deep_png(np.asarray(photo(1)).astype(np.uint16) * 16),
        "d.jpg": encoded(photo(2), "JPEG")[:2000] + b"\xff\xd9",
        "e.gif": encoded(photo(3), "GIF", save_all=True, append_images=[photo(4)]),
        "f.png": photo(5),
        "g.webp": encoded(white_drawing(), "WEBP", lossless=True, save_all=True, append_images=[photo(4, 60, 60)]),
    }
    write(tmp_path, files)
    images = [tmp_path / name for name in files]
    with FeatureCache(tmp_path / "cache", 1 << 24) as cache:
        first, again = (measure_images(images, cache=cache) for _ in range(2))
    kinds = [[kind for kind, _ in remarks] for remarks in first.remarks]
    several = ["transparency", "several images"]
    expected = [["transparency"], ["transparency"], ["bit depth"], ["damaged part"], ["several images"], [], several]
    assert kinds == expected
    assert again.remarks == first.remarks
    assert count_remarks(Counter(chain.from_iterable(kinds))) == [
        "1 image with a damaged part",
        "3 images drawn in white on a transparent ground, put over black",
        "2 images in files of several, of which one is used",
        "1 image of unusual bit depth, scaled to 8 bits",
    ]


def test_light_colour_border_and_sharpness_are_measured():
    red = np.zeros((80, 80, 3), np.uint8)
    red[..., 0] = 200
    framed = np.asarray(photo(5, 160, 160)).copy()
    framed[:12] = framed[-12:] = framed[:, :12] = framed[:, -12:] = 255
    blurred = np.asarray(photo(6, 160, 160).filter(ImageFilter.GaussianBlur(6)))
    stats = measure_images([red, framed, blurred, np.asarray(photo(6, 160, 160))])
    assert stats.colour[0] == pytest.approx([200, 0, 0, 0, 0, 0], abs=1)
    assert stats.light[0] == pytest.approx([60, 60], abs=10)
    assert stats.border[1] == pytest.approx([255, 255, 255, 0, 0, 0, 0], abs=3)
    assert stats.sharpness[2] < stats.sharpness[3] / 5


def test_more_images_than_a_chunk_keep_their_order():
    stats = measure_images([np.full((8, 8, 3), at, np.uint8) for at in range(200)])
    assert stats.grey[:, 0, 0].tolist() == list(range(200))
    assert stats.colour[:, 0].tolist() == list(range(200))


def test_hash_is_that_of_imagehash_and_also_of_the_mirror_image():
    imagehash = pytest.importorskip("imagehash", reason="needs the package imagehash")
    grey = measure_images([np.asarray(photo(seed)) for seed in range(8)]).grey
    plain, mirrored = perceptual_hashes(grey)
    theirs = [imagehash.phash(Image.fromarray(images)).hash.ravel() for images in grey]
    assert np.array_equal(plain, np.where(theirs, 1, -1))
    assert np.array_equal((mirrored, plain), perceptual_hashes(np.ascontiguousarray(grey[:, :, ::-1])))


class Counting(FeatureCache):
    """A cache that counts the rows written, and fails when it is full."""

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


def same(one: ImageStats, other: ImageStats) -> bool:
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


def test_files_with_cached_statistics_are_not_read(cache, files):
    plain = measure_images(files)
    assert same(plain, measure_images(files, fingerprints=plain.fingerprints))
    for _ in range(2):
        assert same(plain, measure_images(files, cache=cache))
    for path in files[:100]:
        path.unlink()
    assert same(plain, measure_images(files, fingerprints=plain.fingerprints, cache=cache))
    assert cache.written == len(files)


def test_broken_file_is_an_error_each_time(cache, files):
    files[3].write_bytes(b"\x89PNG broken")
    first, again = (measure_images(files, cache=cache) for _ in range(2))
    assert list(first.errors) == list(again.errors) == [3]
    assert first.headers[3] is None
    assert same(first, again)


def test_cache_that_fails_is_warned_of_once(cache, files):
    recorder = Recorder()
    cache.full = True
    assert same(measure_images(files), measure_images(files, cache=cache, progress=recorder))
    assert recorder.lines == ["warning: no space; continuing without it"]
