"""Copies of photos are found, whatever was done to them, and other photos are not taken for copies."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from support.data_sets import dataset, measured, photo
from tl.data.image_stats import hashes, measure_images
from tl.data.near_duplicates import copies, overlaps, textured
from tl.neighbors import pairs_above, projected, unit


def compressed(image: Image.Image) -> Image.Image:
    content = BytesIO()
    image.save(content, "JPEG", quality=25)
    return Image.open(content)


CHANGES = {
    "resized": lambda image: image.resize((70, 52)),
    "re-compressed": compressed,
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((6, 4, 114, 88)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change: str):
    images = {f"a/{seed:02}.png": photo(seed) for seed in range(40)}
    images["b/copy.png"] = CHANGES[change](photo(7))
    made = dataset(images)
    looked = measured(made)
    # The copy's features are near those of its source, as a network's are; the rest of the work is to be seen.
    looked.features[40] = looked.features[7] * np.float32(1.02)
    found = copies(looked.stats, looked.features, looked.usable)
    assert [(copy.first, copy.second, copy.identical) for copy in found] == [(7, 40, False)]
    assert found[0].mirrored == (change == "mirrored")


def test_the_same_bytes_are_the_first_of_them_and_each_other_one():
    made = dataset({"a/1.png": photo(1), "a/2.png": photo(2), "b/1.png": photo(1), "b/2.png": photo(1)})
    found = copies(*_parts(made))
    assert [(copy.first, copy.second, copy.likeness) for copy in found] == [(0, 2, 1.0), (0, 3, 1.0)]
    assert all(copy.identical for copy in found)


def test_alike_pictures_with_features_of_different_things_are_no_copies():
    made = dataset({f"a/{seed:02}.png": photo(seed) for seed in range(20)} | {"b/1.png": photo(3).resize((60, 45))})
    looked = measured(made)
    looked.features[20] = -looked.features[3]
    assert copies(looked.stats, looked.features, looked.usable) == []


def test_pictures_of_nothing_are_no_copies():
    blank = {f"a/{level}.png": Image.new("RGB", (50, 40), (level, level, level)) for level in range(100, 140)}
    looked = measured(dataset(blank))
    assert copies(looked.stats, np.ones((40, 8), np.float32), looked.usable) == []


def test_broken_pictures_do_not_shift_the_others():
    made = dataset({f"a/{seed}.png": photo(seed) for seed in range(6)} | {"b/1.png": photo(4)})
    looked = measured(made)
    usable = np.array([0, 2, 4, 6], np.int64)
    found = copies(looked.stats, looked.features[usable], usable)
    assert [(copy.first, copy.second) for copy in found] == [(4, 6)]


def test_few_pictures():
    one = measured(dataset({"a/1.png": photo(1)}))
    assert copies(one.stats, one.features, one.usable) == []
    assert copies(one.stats, one.features[:0], one.usable[:0]) == []


def test_the_mirrored_hash_is_the_hash_of_the_mirror_image():
    grey = measure_images([np.asarray(photo(seed)) for seed in range(8)]).grey
    plain, mirrored = hashes(grey)
    again, back = hashes(np.ascontiguousarray(grey[:, :, ::-1]))
    assert np.array_equal(mirrored, again)
    assert np.array_equal(plain, back)
    assert set(np.unique(plain)) == {-1.0, 1.0}


def test_the_hash_is_that_of_imagehash():
    imagehash = pytest.importorskip("imagehash", reason="needs the package imagehash")
    grey = measure_images([np.asarray(photo(seed)) for seed in range(8)]).grey
    theirs = [imagehash.phash(Image.fromarray(picture)).hash.ravel() for picture in grey]
    assert np.array_equal(hashes(grey)[0] > 0, np.array(theirs))


def test_overlap_knows_a_crop_from_either_side():
    pictures = [photo(1), photo(1).crop((8, 6, 112, 82)), photo(2)]
    whole, part, other = textured(measure_images([np.asarray(picture) for picture in pictures]).grey)
    found = overlaps(np.stack([whole, part, whole, whole]), np.stack([part, whole, other, np.zeros_like(whole)]))
    assert min(found[:2]) > 0.8
    assert found[2] < 0.6
    assert found[3] == 0
    assert overlaps(whole[:0, None], part[:0, None]).shape == (0,)


def test_overlap_is_the_best_match_of_the_shrunk_picture_anywhere():
    first = textured(measure_images([np.asarray(photo(at)) for at in range(8)]).grey)
    second = textured(measure_images([np.asarray(photo(at).crop((at, 2 * at, 120, 90))) for at in range(8)]).grey)

    def best(whole, part, shares) -> float:
        sizes = [(round(32 * across), round(32 * down)) for across in shares for down in shares]
        parts = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for size in sizes]
        return max(float(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED).max()) for small in parts)

    found = overlaps(first, second)
    for one, other, over in zip(first, second, found, strict=True):
        coarse = [best(*pair, [share]) for share in (1.0, 0.9, 0.8) for pair in ((one, other), (other, one))]
        fine = [best(*pair, (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)) for pair in ((one, other), (other, one))]
        assert max(coarse) - 1e-5 <= over <= max(fine) + 1e-5
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[1:].max() < 0.9999


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 700), st.floats(-0.5, 1), st.integers(0, 10))
def test_pairs_are_those_of_the_whole_product(count: int, least: float, seed: int):
    rows = unit(np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32))
    first, second = np.nonzero(np.triu(rows @ rows.T >= np.float32(least), 1))
    found = pairs_above(rows, least)
    # A product on the line may round to either side of it in blocks.
    assert abs(len(found) - len(first)) <= 2
    assert len({tuple(pair) for pair in found.tolist()} ^ set(zip(first.tolist(), second.tolist(), strict=True))) <= 2


def test_projection_keeps_angles():
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((50, 600)).astype(np.float32)
    rows[1] = rows[0] + 0.3 * draw.standard_normal(600)
    exact = unit(rows - rows.mean(axis=0))
    near = projected(rows, 256)
    assert near.shape == (50, 256)
    assert abs(near @ near.T - exact @ exact.T).max() < 0.3
    assert near[0] @ near[1] == pytest.approx(exact[0] @ exact[1], abs=0.06)


def _parts(made):
    looked = measured(made)
    return looked.stats, looked.features, looked.usable
