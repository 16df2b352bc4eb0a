"""What each photo counts as in a split: itself, or the photo that it shows once more."""

import numpy as np
import pytest
from PIL import Image

from data.test_copies import CHANGES
from support.data_sets import dataset, photo
from tl.data.image_stats import measure_images
from tl.data.near_duplicates import originals


def counted(images: dict[str, Image.Image]):
    made = dataset(images)
    looks = measure_images(made.images)
    return looks.fingerprints, originals(looks, made.labels)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_counts_as_its_source_and_all_others_as_themselves(change: str):
    images = {f"a/{seed:02}.png": photo(seed) for seed in range(40)} | {"b/1.png": photo(50), "b/2.png": photo(51)}
    images["b/copy.png"] = CHANGES[change](photo(7))
    own, found = counted(images)
    assert found.fingerprints[7] == found.fingerprints[42] == min(own[7], own[42])
    rest = [at for at in range(43) if at not in (7, 42)]
    assert [found.fingerprints[at] for at in rest] == [own[at] for at in rest]
    assert found.notes == ()


def test_it_does_not_depend_on_the_order_of_the_files():
    images = {f"a/{seed:02}.png": photo(seed % 20).resize((120 - seed, 90)) for seed in range(40)}
    images["b/1.png"] = photo(99)
    _, found = counted(images)
    _, turned = counted(dict(reversed(images.items())))
    assert found.fingerprints == turned.fingerprints[::-1]
    assert len(set(found.fingerprints)) == 21


def test_photos_that_all_look_alike_are_different_photos():
    part = np.asarray(photo(1)).astype(np.int16)
    draw = np.random.default_rng(0)
    belt = {
        f"{label}/{at:02}.png": Image.fromarray((part + draw.integers(-3, 4, part.shape)).clip(0, 255).astype(np.uint8))
        for label in ("good", "bad")
        for at in range(15)
    }
    own, found = counted(belt)
    assert found.fingerprints == own
    assert found.notes == ("30 images look all alike: they are taken for different photos",)


def test_a_class_of_copies_of_one_photo_is_left_as_it_is():
    images = {"a/1.png": photo(1), "a/2.png": photo(1).resize((90, 70)), "b/1.png": photo(3), "b/2.png": photo(4)}
    own, found = counted(images)
    assert found.fingerprints == own
    assert found.alike == 2


def test_a_broken_photo_counts_as_nothing_else():
    made = dataset({f"a/{seed}.png": photo(seed) for seed in range(4)})
    pictures = (*made.images, np.zeros((0, 0, 3), np.uint8))
    looks = measure_images(pictures)
    assert list(looks.errors) == [4]
    found = originals(looks, np.zeros(5, np.int64))
    assert found.fingerprints == looks.fingerprints
