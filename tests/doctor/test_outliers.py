"""Photos that show nothing, and photos unlike all others."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from support.data_sets import dataset, photo, write
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.findings import Diagnosis
from tl.doctor.outliers import far, outliers
from tl.views.pages.doctor import page
from tl.views.terminal.data import listing


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
    looks = measure_images(images.images)
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


def test_what_is_odd_is_to_be_looked_at_before_anything_is_done_to_it(tmp_path: Path):
    folder = write(
        tmp_path / "photos", {f"{label}/{at:02}.png": photo(at) for label in ("cat", "dog") for at in range(20)}
    )
    images = load(folder)
    features = np.abs(np.eye(2, 40)[np.arange(40) // 20] * 5 + 0.3 * np.random.default_rng(0).standard_normal((40, 40)))
    features[25] = np.r_[np.zeros(30), np.full(10, 3.0)]
    (odd,) = outliers(images, measure_images(images.images), features.astype(np.float32), np.arange(40))
    assert (odd.kind, odd.files) == ("outlier", ("dog/05.png",))
    assert odd.mend.startswith("look at it: keep it if it shows dog")
    shown = " ".join(listing(Diagnosis(images, (odd,), (), 1.0), 80).split())
    assert "→ look at it: keep it if it shows dog" in shown
    for text in (shown, page(Diagnosis(images, (odd,), (), 1.0))):
        assert "rm -- " not in text
