"""One thing under two names is noticed, in the folders as they are read."""

from pathlib import Path

import pytest

from support.data_sets import dataset, photo, write
from tl.data.load import load
from tl.doctor.files import names

TINY = photo(0, 8, 8)


@pytest.mark.parametrize(
    "same",
    [
        ("cat", "Cat"),
        ("cat", "cats"),
        ("maple tree", "maple_tree"),
        ("Bus", "buses"),
        ("fly", "flies"),
        ("café", "cafe"),
    ],
)
def test_spellings_of_one_word(same: tuple[str, str]):
    (found,) = names(dataset({f"{label}/1.png": TINY for label in (*same, "dog")}))
    assert (found.kind, found.severity) == ("class names", "warning")
    assert all(f"{name} (1)" in found.evidence for name in same)


@pytest.mark.parametrize(
    "different", [("cat", "dog"), ("glass", "gla"), ("bus", "bu"), ("고양이", "강아지"), ("1", "10")]
)
def test_words_that_differ(different: tuple[str, str]):
    assert names(dataset({f"{label}/1.png": TINY for label in different})) == []


def test_the_largest_class_is_where_the_others_go():
    (found,) = names(dataset({"cats/1.png": TINY, "Cat/1.png": TINY, "Cat/2.png": TINY, "dog/1.png": TINY}))
    assert found.mend == "if they are one class, move the photos of all to Cat"


def test_folders_inside_of_classes(tmp_path: Path):
    files = {"cat/1.png": TINY, "cat/dog/2.png": TINY, "cat/new/3.png": TINY, "cat/new/4.png": TINY, "dog/5.png": TINY}
    found = names(load(write(tmp_path / "photos", files)))
    assert [(one.severity, one.evidence) for one in found] == [
        ("warning", "1 photo of cat in the folder cat/dog, though dog is a class of its own"),
        ("note", "2 photos of cat in the folder cat/new"),
    ]


def test_validation_under_two_names(tmp_path: Path):
    files = {f"{part}/{label}/1.png": TINY for part in ("train", "val", "validation") for label in ("cat", "dog")}
    (found,) = names(load(write(tmp_path / "photos", files)))
    assert found.evidence == "'val' and 'validation' are both there, and both taken as validation"
    assert found.severity == "warning"


def test_a_split_in_order_has_no_findings(tmp_path: Path):
    files = {f"{part}/{label}/1.png": TINY for part in ("train", "val", "test") for label in ("cat", "dog")}
    assert names(load(write(tmp_path / "photos", files))) == []
