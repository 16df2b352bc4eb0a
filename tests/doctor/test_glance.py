"""The line that training shows: nothing where nothing is wrong, and the worst where something is."""

import numpy as np

from support.data_sets import dataset, photo
from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.doctor.glance import glance

COUNT = 60


def made(*labels: str) -> tuple[Dataset, np.ndarray, Split]:
    each = COUNT // len(labels)
    images = dataset({f"{label}/{at:02}.png": photo(0, 8, 8) for label in labels for at in range(each)})
    features = np.abs(np.random.default_rng(0).standard_normal((len(images.names), 200))).astype(np.float32)
    held = np.arange(len(images.names)) % 3 == 0
    return images, features, Split(np.flatnonzero(~held), np.flatnonzero(held), np.zeros(0, np.int64), (), 0)


def test_a_data_set_in_order_is_not_talked_about():
    images, features, split = made("cat", "dog")
    assert glance(images, features, split, "photos/") == ""


def test_what_is_wrong_is_counted():
    images, features, split = made("Cat", "cat", "dog")
    features[3], features[6] = features[1], features[7]  # across the split
    features[25] = features[5] * 1.01  # in training, under two labels
    assert glance(images, features, split, "photos/") == (
        "2 photos seem to be on both sides of the split, 1 photo seems to be under two labels,"
        " 1 class may have two names: look with `tl data check photos/`"
    )


def test_a_class_with_few_photos():
    images, features, split = made("ant", "bee", "cat", "dog", "eel")
    assert glance(images, features, split, "photos/") == "5 classes have few photos: look with `tl data check photos/`"
    assert glance(images, features, split, "한국 사진/").endswith(": look with `tl data check '한국 사진/'`")
