"""Classes that size, format, border or mean colour alone predict."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from support.data_sets import dataset, photo, write
from tl.data.dataset import Dataset
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.findings import Finding
from tl.doctor.shortcuts import shortcut_findings


def findings(images: Dataset) -> list[Finding]:
    rows = np.arange(len(images.names))
    return shortcut_findings(images, measure_images(images.images), rows, rows)


def classes(*labels: str) -> dict[str, Image.Image]:
    numbers = {f"{label}/{at:02}.png": 100 * order + at for order, label in enumerate(labels) for at in range(24)}
    return {name: photo(number, 60, 60) for name, number in numbers.items()}


def test_classes_without_shortcuts():
    assert findings(dataset(classes("cat", "dog"))) == []
    assert findings(dataset(classes("cat", "dog", "horse"))) == []
    few = {f"{label}/{at}.png": photo(at, 40 + 20 * (label == "b"), 40) for label in "ab" for at in range(5)}
    assert findings(dataset(few)) == []


@pytest.mark.parametrize(("name", "change"), [
    ("size", lambda image: image.resize((90, 60))),
    ("border", lambda image: ImageOps.expand(image.crop((6, 6, 54, 54)), 6, (128, 128, 128))),
    ("mean colour", lambda image: ImageEnhance.Brightness(image).enhance(0.5)),
])  # fmt: skip
def test_a_property_that_predicts_the_class(name, change):
    images = {file: change(image) if file.startswith("dog") else image for file, image in classes("cat", "dog").items()}
    (finding,) = [each for each in findings(dataset(images)) if f"the {name} alone predicts the" in each.evidence]
    assert finding.severity == "warning"
    assert finding.evidence.endswith("chance 50.0%")
    assert finding.score > 0.7


def test_a_property_that_predicts_one_class_of_many():
    images = classes("ant", "bee", "cat", "dog", "eel", "fox")
    images |= {file: image.resize((60, 100)) for file, image in images.items() if file.startswith("dog")}
    evidence = [each.evidence for each in findings(dataset(images))]
    assert evidence == ["the size alone predicts class dog: recall 100%, precision 100%"]


def test_a_format_that_predicts_the_class(tmp_path):
    files: dict[str, Image.Image | bytes] = {}
    for name, image in classes("cat", "dog").items():
        content = BytesIO()
        image.save(content, "JPEG" if name.startswith("dog") else "PNG")
        files[name.replace(".png", ".jpg") if name.startswith("dog") else name] = content.getvalue()
    (finding,) = findings(load(write(tmp_path / "photos", files)))
    assert finding.evidence.startswith("the format alone predicts the class: balanced accuracy 100.0% (95% CI ")
