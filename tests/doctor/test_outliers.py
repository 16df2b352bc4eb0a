"""Photos that show next to nothing, and photos unlike all others."""

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from support.data_sets import dataset, photo, write
from support.image_kinds import white_drawing
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.outliers import distant, outlier_findings


def two_clouds(count: int, outliers: slice) -> np.ndarray:
    features = np.eye(2, 40)[np.arange(count) % 2] * 5 + 0.3 * np.random.default_rng(0).standard_normal((count, 40))
    features[outliers] = np.r_[np.zeros(30), np.full(10, 3.0)]
    return np.abs(features).astype(np.float32)


def test_blank_dark_bright_and_blurred_photos():
    sharp = ImageOps.autocontrast(photo(0, 300, 240).convert("L"))
    photos = {
        "a/blank.png": Image.new("RGB", (60, 60), (90, 120, 90)),
        "a/blurred.png": ImageOps.autocontrast(sharp.filter(ImageFilter.GaussianBlur(12))),
        "a/bright.png": sharp.point(lambda level: 227 + level // 9),
        "a/dark.png": sharp.point(lambda level: level // 6),
        "a/sharp.png": sharp,
        "a/small.png": sharp.resize((20, 16)),
    }
    images = dataset(photos)
    findings = outlier_findings(images, measure_images(images.images), np.ones((6, 4), np.float32), np.arange(6))
    kinds = {"blank": "blank", "blurred": "blurred", "bright": "too bright", "dark": "too dark"}
    assert {each.files[0]: each.kind for each in findings} == {f"a/{name}.png": kind for name, kind in kinds.items()}
    assert {each.severity for each in findings} == {"warning"}
    assert all(each.fix.startswith("look at it") for each in findings)


def test_white_drawing_that_is_put_over_black_is_not_called_dark(tmp_path):
    small = Image.new("RGBA", (400, 400), (255, 255, 255, 0))
    small.paste(white_drawing(60), (20, 30))
    on_black = Image.alpha_composite(Image.new("RGBA", small.size, "black"), small).convert("RGB")
    images = load(write(tmp_path, {"a/1.png": small, "b/1.png": on_black}))
    findings = outlier_findings(images, measure_images(images.images), np.ones((2, 4), np.float32), np.arange(2))
    assert [(each.kind, each.files) for each in findings] == [("too dark", ("b/1.png",))]


@pytest.mark.parametrize(("count", "outliers"), [(300, slice(17, 18)), (900, slice(100, 108))])
def test_distant_photos_even_with_copies(count, outliers):
    rows = [row for row, _, _ in distant(two_clouds(count, outliers))]
    expected = list(range(count))[outliers]
    assert sorted(rows[: len(expected)]) == expected
    assert len(rows) <= max(3, len(expected) + 1)


def test_few_photos_have_no_outliers():
    assert distant(np.random.default_rng(0).random((20, 8)).astype(np.float32)) == []
    assert distant(np.zeros((0, 8), np.float32)) == []


def test_the_fix_of_an_outlier_is_to_look_at_it(tmp_path):
    files = {f"{label}/{at:02}.png": photo(at) for label in ("cat", "dog") for at in range(20)}
    images = load(write(tmp_path / "photos", files))
    findings = outlier_findings(images, measure_images(images.images), two_clouds(40, slice(25, 26)), np.arange(40))
    assert [(each.kind, each.severity, each.files) for each in findings] == [("outlier", "note", ("dog/05.png",))]
    assert findings[0].fix == "look at it: keep it if it shows dog, remove it if not"
