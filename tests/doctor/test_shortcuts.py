"""Classes that can be told by something else are named with how well, and others are not."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from support.data_sets import dataset, photo, write
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.findings import Finding
from tl.doctor.shortcuts import shortcuts

COUNT = 24


def found(images: dict[str, Image.Image]) -> list[Finding]:
    made = dataset(images)
    places = np.arange(len(images))
    return shortcuts(made, measure_images(made.images), places, places)


def classes(*labels: str) -> dict[str, Image.Image]:
    return {
        f"{label}/{at:02}.png": photo(100 * place + at, 60, 60)
        for place, label in enumerate(labels)
        for at in range(COUNT)
    }


def test_classes_that_are_alike_in_all_this_have_none():
    assert found(classes("cat", "dog")) == []
    assert found(classes("cat", "dog", "horse")) == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("size", lambda image: image.resize((90, 60))),
        ("border", lambda image: ImageOps.expand(image.crop((6, 6, 54, 54)), 6, (128, 128, 128))),
        ("mean colour", lambda image: ImageEnhance.Brightness(image).enhance(0.5)),
    ],
)
def test_one_that_differs_is_named(what: str, change):
    images = {name: change(image) if name.startswith("dog") else image for name, image in classes("cat", "dog").items()}
    told = [one for one in found(images) if f"the {what} alone tells the classes" in one.evidence]
    assert len(told) == 1
    assert told[0].severity == "warning"
    assert "by chance 50.0 %" in told[0].evidence
    assert told[0].score > 0.7


def test_a_single_class_among_many_is_named():
    images = {
        name: image.resize((60, 100)) if name.startswith("dog") else image
        for name, image in classes("ant", "bee", "cat", "dog", "eel", "fox").items()
    }
    told = found(images)
    assert [one.evidence.split(":")[0] for one in told] == ["the size alone tells class dog"]


def test_the_format_tells_and_files_in_one_format_do_not(tmp_path: Path):
    files: dict[str, Image.Image | bytes] = {}
    for name, image in classes("cat", "dog").items():
        content = BytesIO()
        image.save(content, "JPEG" if name.startswith("dog") else "PNG")
        files[name.replace(".png", ".jpg") if name.startswith("dog") else name] = content.getvalue()
    made = load(write(tmp_path / "photos", files))
    places = np.arange(len(made.names))
    (told,) = shortcuts(made, measure_images(made.images), places, places)
    assert told.evidence.startswith("the format alone tells the classes: balanced accuracy 100.0 %")


def test_few_photos_tell_nothing():
    assert (
        found({f"{label}/{at}.png": photo(at, 40 + 20 * (label == "b"), 40) for label in "ab" for at in range(5)}) == []
    )
