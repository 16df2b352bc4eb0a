"""Folders that may be data sets and not classes are said to look so."""

from pathlib import Path

import pytest

from support.data_sets import put
from tl.data.folders import several
from tl.data.load import load

PETS, BIRDS = ("pets/cat/a.jpg", "pets/dog/b.jpg", "pets/dog/c.jpg"), ("birds/owl/a.jpg", "birds/kite/b.jpg")


def test_several_data_sets_in_one_folder_are_told(tmp_path: Path):
    said = several(load(put(tmp_path, *PETS, *BIRDS, "cars/a.jpg")))
    assert said == (
        "this looks like several data sets: 'birds', 'pets' hold folders of images and no images of their own; "
        f"if so, give one, such as {str(tmp_path / 'pets')!r}"
    )


@pytest.mark.parametrize(
    "files",
    [
        ("cat/a.jpg", "dog/b.jpg"),
        ("cat/indoor/a.jpg", "cat/b.jpg", "dog/indoor/c.jpg", "dog/outdoor/d.jpg"),
        ("cat/all/a.jpg", "dog/all/b.jpg"),
        (*PETS, "cars/a.jpg"),
        ("train/cat/x/a.jpg", "train/cat/y/a.jpg", "train/dog/x/b.jpg", "train/dog/y/b.jpg", "val/dog/x/c.jpg"),
    ],
)
def test_classes_with_deeper_folders_are_not(files: tuple[str, ...], tmp_path: Path):
    assert several(load(put(tmp_path, *files))) == ""
