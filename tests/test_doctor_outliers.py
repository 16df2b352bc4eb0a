"""Photos that show nothing, and photos unlike all others."""

import numpy as np
from doctored import dataset, photo
from PIL import Image, ImageFilter, ImageOps

from tl.doctor.looking import look
from tl.doctor.outliers import far, outliers


def test_photos_that_show_nothing_are_named_for_what_they_are():
    sharp = ImageOps.autocontrast(photo(0, 300, 240).convert("L"))
    images = dataset(
        {
            "a/blank.png": Image.new("RGB", (60, 60), (90, 120, 90)),
            "a/blurred.png": ImageOps.autocontrast(sharp.filter(ImageFilter.GaussianBlur(12))),
            "a/bright.png": sharp.point(lambda level: 227 + level // 9),
            "a/dark.png": sharp.point(lambda level: level // 6),
            "a/sharp.png": sharp,
            "a/small.png": sharp.resize((20, 16)),
        }
    )
    looks = look(images.pictures)
    found = outliers(images, looks, np.ones((6, 4), np.float32), np.arange(6))
    assert {one.files[0]: one.kind for one in found} == {
        "a/blank.png": "blank",
        "a/blurred.png": "blurred",
        "a/bright.png": "too bright",
        "a/dark.png": "too dark",
    }
    assert {one.severity for one in found} == {"warning"}


def test_what_is_unlike_all_others_is_far():
    draw = np.random.default_rng(0)
    features = np.abs(np.eye(2, 40)[np.arange(300) % 2] * 5 + 0.3 * draw.standard_normal((300, 40))).astype(np.float32)
    features[17, :] = 0
    features[17, 30:] = 3
    found = far(features)
    assert found[0][0] == 17
    assert len(found) <= 3


def test_copies_of_an_outlier_do_not_hide_it():
    draw = np.random.default_rng(0)
    features = np.abs(np.eye(2, 40)[np.arange(900) % 2] * 5 + 0.3 * draw.standard_normal((900, 40))).astype(np.float32)
    features[100:108, :] = 0
    features[100:108, 30:] = 3
    assert sorted(place for place, _, _ in far(features)[:8]) == list(range(100, 108))


def test_few_photos_have_no_outliers():
    assert far(np.random.default_rng(0).random((20, 8)).astype(np.float32)) == []
    assert far(np.zeros((0, 8), np.float32)) == []
