"""Near duplicates: copies are found whatever was done to them, and other photos are not taken for copies."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from support.data_sets import dataset, measured, photo
from tl.data.image_stats import measure_images
from tl.data.near_duplicates import find_copies, find_originals, overlap, remove_blur


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
def test_changed_copy_is_found_and_nothing_else(change):
    images = {f"a/{seed:02}.png": photo(seed) for seed in range(40)}
    images |= {"b/copy.png": CHANGES[change](photo(7)), "b/new.png": photo(50), "b/odd.png": photo(51)}
    data = dataset(images)
    values = measured(data)
    # The copy's features are near those of its source, as a network's are; the rest of the work is to be seen.
    values.features[40] = values.features[7] * np.float32(1.02)
    result = find_copies(values.stats, values.features, values.usable)
    assert [(copy.first, copy.second, copy.identical) for copy in result] == [(7, 40, False)]
    assert result[0].mirrored == (change == "mirrored")
    own, shown = values.stats.fingerprints, find_originals(values.stats, data.labels)
    assert shown.fingerprints == (*own[:7], min(own[7], own[40]), *own[8:40], min(own[7], own[40]), *own[41:])
    assert shown.notes == ()


def test_identical_files_are_copies_of_the_first_of_them():
    images = {"a/1.png": photo(1), "a/2.png": photo(2), "b/1.png": photo(1), "b/2.png": photo(1)}
    values = measured(dataset(images))
    result = find_copies(values.stats, values.features, values.usable)
    assert [(copy.first, copy.second, copy.likeness) for copy in result] == [(0, 2, 1.0), (0, 3, 1.0)]
    assert all(copy.identical for copy in result)


def test_similar_and_blank_images_are_no_copies():
    data = dataset({f"a/{seed:02}.png": photo(seed) for seed in range(20)} | {"b/1.png": photo(3).resize((60, 45))})
    values = measured(data)
    values.features[20] = -values.features[3]
    assert find_copies(values.stats, values.features, values.usable) == []
    blank = {f"a/{level}.png": Image.new("RGB", (50, 40), (level, level, level)) for level in range(100, 140)}
    values = measured(dataset(blank))
    for few in (0, 1, 40):
        assert find_copies(values.stats, np.ones((few, 8), np.float32), values.usable[:few]) == []


def test_broken_images_do_not_shift_the_others_and_are_their_own_originals():
    values = measured(dataset({f"a/{seed}.png": photo(seed) for seed in range(6)} | {"b/1.png": photo(4)}))
    usable = np.array([0, 2, 4, 6], np.int64)
    result = find_copies(values.stats, values.features[usable], usable)
    assert [(copy.first, copy.second) for copy in result] == [(4, 6)]
    stats = measure_images([*(np.asarray(photo(seed)) for seed in range(4)), np.zeros((0, 0, 3), np.uint8)])
    assert list(stats.errors) == [4]
    assert find_originals(stats, np.zeros(5, np.int64)).fingerprints == stats.fingerprints


def test_overlap_knows_a_crop_from_either_side():
    images = [photo(1), photo(1).crop((8, 6, 112, 82)), photo(2)]
    whole, part, other = remove_blur(measure_images([np.asarray(image) for image in images]).grey)
    assert overlap(whole, part) > 0.8
    assert overlap(part, whole) > 0.8
    assert overlap(whole, other) < 0.6
    assert overlap(whole, np.zeros_like(whole)) == 0


def test_overlap_is_the_best_match_of_the_shrunk_image_anywhere():
    first = remove_blur(measure_images([np.asarray(photo(at)) for at in range(8)]).grey)
    second = remove_blur(measure_images([np.asarray(photo(at).crop((at, 2 * at, 120, 90))) for at in range(8)]).grey)

    def best(whole, part, scales) -> float:
        sizes = [(round(32 * across), round(32 * down)) for across in scales for down in scales]
        parts = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for size in sizes]
        return max(float(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED).max()) for small in parts)

    for at, (one, other) in enumerate(zip(first, second, strict=True)):
        coarse = [best(*pair, [scale]) for scale in (1.0, 0.9, 0.8) for pair in ((one, other), (other, one))]
        fine = [best(*pair, (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)) for pair in ((one, other), (other, one))]
        value = overlap(one, other)
        assert max(coarse) - 1e-5 <= value <= max(fine) + 1e-5
        assert (value > 0.9999) == (at == 0)


def counted(images: dict[str, Image.Image]):
    data = dataset(images)
    stats = measure_images(data.images)
    return stats.fingerprints, find_originals(stats, data.labels)


def test_originals_do_not_depend_on_the_order_of_files():
    images = {f"a/{seed:02}.png": photo(seed % 20).resize((120 - seed, 90)) for seed in range(40)}
    images["b/1.png"] = photo(99)
    _, result = counted(images)
    _, turned = counted(dict(reversed(images.items())))
    assert result.fingerprints == turned.fingerprints[::-1]
    assert len(set(result.fingerprints)) == 21


def test_photos_that_all_look_alike_are_different_photos():
    part = np.asarray(photo(1)).astype(np.int16)
    draw = np.random.default_rng(0)
    belt = {
        f"{label}/{at:02}.png": Image.fromarray((part + draw.integers(-3, 4, part.shape)).clip(0, 255).astype(np.uint8))
        for label in ("good", "bad")
        for at in range(15)
    }
    own, result = counted(belt)
    assert result.fingerprints == own
    assert result.notes == ("30 images look alike: they are taken for different photos",)


def test_class_of_copies_of_one_photo_is_left_as_it_is():
    images = {"a/1.png": photo(1), "a/2.png": photo(1).resize((90, 70)), "b/1.png": photo(3), "b/2.png": photo(4)}
    own, result = counted(images)
    assert (result.fingerprints, result.alike) == (own, 2)
