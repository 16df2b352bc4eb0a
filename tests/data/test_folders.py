"""Folders as people have them: class folders, split folders, flat ones, and everything else that lies about."""

import os
import unicodedata
from pathlib import Path

import pytest

from support.data_sets import put
from tl.data.dataset import Dataset, Skipped
from tl.data.folders import nesting_warning
from tl.data.load import load
from tl.errors import DataError


def labels(data: Dataset) -> dict[str, str | None]:
    return {sample.name: sample.label for sample in data.samples()}


def test_class_folders_are_classes(tmp_path):
    root = put(tmp_path / "my photos (2)", "dog/b.JPG", "dog/a.png", "cat/deep/er/c.webp", "cat/x.jpeg")
    data = load(root)
    assert (data.name, data.root, data.class_names) == ("my-photos-2", root, ("cat", "dog"))
    assert data.names == ("cat/deep/er/c.webp", "cat/x.jpeg", "dog/a.png", "dog/b.JPG")
    assert data.images == tuple(root / name for name in data.names)
    assert (data.labels.tolist(), data.parts) == ([0, 0, 1, 1], (None,) * 4)
    assert data.skipped == data.notes == ()


def test_files_that_are_no_images_are_skipped(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg", "cat/notes.TXT", "cat/README", "LICENSE.md", "README.md")
    put(tmp_path, "cat/Thumbs.db", "cat/.DS_Store", "cat/._a.jpg", "__MACOSX/cat/a.jpg", ".git/x.jpg", "desktop.ini")
    data = load(put(tmp_path, "cat/__MACOSX/a.jpg", "cat/.hidden/a.jpg"))
    assert data.names == ("cat/a.jpg", "dog/b.jpg")
    assert data.skipped == (
        Skipped("cat/README", "not an image file (no suffix)"),
        Skipped("cat/notes.TXT", "not an image file (.txt)"),
    )
    assert data.notes == (
        "2 files outside of the class folders left out: 'LICENSE.md', 'README.md'",
        "left out: '.git', '.hidden' (hidden), '__MACOSX' (put there by the system)",
    )


def test_images_beside_class_folders_are_skipped(tmp_path):
    data = load(put(tmp_path, "cat/a.jpg", "dog/b.jpg", "c.jpg"))
    assert data.skipped == (Skipped("c.jpg", "not in a class folder"),)
    assert data.notes == ("1 file outside of the class folders left out: 'c.jpg'",)
    assert labels(load(tmp_path, labelled=False)) == {"c.jpg": None, "cat/a.jpg": "cat", "dog/b.jpg": "dog"}


def test_empty_class_folder_is_noted(tmp_path):
    (tmp_path / "horse").mkdir()
    data = load(put(tmp_path, "cat/a.jpg", "dog/b.jpg"))
    assert (data.class_names, data.notes) == (("cat", "dog"), ("folder 'horse' is left out: it holds no images",))


@pytest.mark.parametrize(("train", "validation", "test"), [
    ("train", "val", "test"), ("Training", "VALID", "Testing"), ("train", "dev", "test"),
    ("TRAIN", "validation", "test"),
])  # fmt: skip
def test_split_folders_are_parts(tmp_path, train, validation, test):
    for folder in (train, validation, test):
        put(tmp_path, f"{folder}/cat/a.jpg", f"{folder}/dog/b.jpg")
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    (note,) = data.notes
    for folder, part in ((train, "train"), (validation, "validation"), (test, "test")):
        assert {sample.part for sample in data.samples() if sample.name.startswith(f"{folder}/")} == {part}
        assert (f"{folder} (as {part})" if folder != part else folder) in note


TRAIN = ["train/cat/a.jpg", "train/dog/b.jpg"]


@pytest.mark.parametrize(("files", "classes", "parts"), [
    (TRAIN, ("cat", "dog"), ("train", "train")),
    ([f"set/{file}" for file in TRAIN], ("cat", "dog"), ("train", "train")),
    ([f"set/{file}" for file in (*TRAIN, "val/cat/c.jpg")], ("cat", "dog"), ("train", "train", "validation")),
    (["train/a.jpg", "bus/b.jpg", "car/deep/c.jpg"], ("bus", "car", "train"), (None,) * 3),  # not all are parts
])  # fmt: skip
def test_folders_are_parts_or_classes(tmp_path, files, classes, parts):
    data = load(put(tmp_path, *files))
    assert (data.class_names, data.parts) == (classes, parts)


def test_flat_test_folder_has_no_labels(tmp_path):
    data = load(put(tmp_path, *TRAIN, "test/1.jpg", "test/2.jpg"))
    assert data.names == tuple(TRAIN)
    assert "'test' is left out: it has no class folders" in data.notes
    assert {skipped.path for skipped in data.skipped} == {"test/1.jpg", "test/2.jpg"}
    loose = load(tmp_path, labelled=False)
    assert labels(loose)["test/1.jpg"] is None
    assert loose.parts[0] == "test"


def test_folder_around_the_classes_is_entered(tmp_path):
    data = load(put(tmp_path / "data", "photos/PetImages/cat/a.jpg", "photos/PetImages/dog/b.jpg", "README.md"))
    assert data.root == tmp_path / "data" / "photos" / "PetImages"
    assert (data.names, data.name) == (("cat/a.jpg", "dog/b.jpg"), "data")
    assert data.notes == (f"the data set is the folder 'photos/PetImages' inside {str(tmp_path / 'data')!r}",)


@pytest.mark.parametrize(("files", "message"), [
    ([], "is empty: put the images into one folder a class"),
    (["a.jpg", "b.jpg"], "holds 2 images but no class folders: put the images into one folder a class"),
    (["cat/a.jpg", "cat/b.jpg"], "one class only, 'cat': at least two are needed"),
    (["cat/persian/a.jpg"], "one class only, 'cat'"),
    (["cat/a.txt", "dog/b.jpg"], "only, 'dog' .folder 'cat' is left out: it holds no images among its 1 file"),
    (["cat/a.txt", "dog/b.txt"], r"no images in folder .*not an image file \(.txt\)"),
    (["a.txt"], r"no images in folder .*other files"),
    (["train/a.jpg", "test/b.jpg"], "has split folders, but 'train' no class folders: put the images into"),
    ([*TRAIN, "val/Cat/a.jpg"], "validation has classes that train has not: 'Cat'; train has 'cat', 'dog'"),
])  # fmt: skip
def test_folders_that_are_no_data_set_are_errors_of_one_line(tmp_path, files, message):
    folder = tmp_path / "odd\nname"
    folder.mkdir()
    with pytest.raises(DataError, match=message) as caught:
        load(put(folder, *files))
    assert "\n" not in str(caught.value)


def test_flat_folder_is_loaded_where_not_labelled(tmp_path):
    data = load(put(tmp_path, "b.jpg", "a.png", "notes.txt"), labelled=False)
    assert data.names == ("a.png", "b.jpg")
    assert data.labels.tolist() == [-1, -1]
    assert data.class_names == ()
    assert data.notes == ("1 file outside of the class folders left out: 'notes.txt'",)
    assert load(put(tmp_path / "one", "cat/a.jpg"), labelled=False).class_names == ("cat",)


def test_unicode_forms_of_a_name_are_one_class(tmp_path):
    nfd, nfc = unicodedata.normalize("NFD", "고양이"), unicodedata.normalize("NFC", "고양이")
    data = load(put(tmp_path, f"train/{nfd}/a.jpg", "train/개/b.jpg", f"val/{nfc}/c.jpg"))
    assert data.class_names == (unicodedata.normalize("NFC", "개"), nfc)
    assert all(Path(picture).is_file() for picture in data.images)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX file names may be other than Unicode")
def test_names_that_are_not_unicode_are_replaced(tmp_path):
    odd = os.fsdecode(b"caf\xe9.jpg")
    data = load(put(tmp_path, f"cat/{odd}", "dog/b.jpg"))
    assert data.names[0].encode() == "cat/caf\ufffd.jpg".encode()
    assert Path(data.images[0]).is_file()


def test_links_are_followed_out_of_the_data_set_alone(tmp_path):
    root = put(tmp_path / "data", "cat/a.jpg", "dog/b.jpg")
    put(tmp_path, "elsewhere/h.jpg", "c.jpg")
    (root / "cat" / "loop").symlink_to(root)
    (root / "back").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "cat" / "c.jpg").symlink_to(tmp_path / "c.jpg")
    (root / "cat" / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / "horse").symlink_to(tmp_path / "elsewhere")
    data = load(root)
    assert labels(data) == {"cat/a.jpg": "cat", "cat/c.jpg": "cat", "dog/b.jpg": "dog", "horse/h.jpg": "horse"}
    assert data.skipped == (
        Skipped("back", "a link back into the data set"),
        Skipped("cat/gone.jpg", "no such file"),
        Skipped("cat/loop", "a link back into the data set"),
        Skipped("up", "a link back into the data set"),
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_called_jpg_is_skipped(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    assert load(tmp_path).skipped == (Skipped("cat/pipe.jpg", "not a file"),)


PETS, BIRDS = ("pets/cat/a.jpg", "pets/dog/b.jpg", "pets/dog/c.jpg"), ("birds/owl/a.jpg", "birds/kite/b.jpg")


def test_nesting_warning_names_a_data_set_inside(tmp_path):
    warning = nesting_warning(load(put(tmp_path, *PETS, *BIRDS, "cars/a.jpg")))
    assert warning == (
        "this looks like several data sets: 'birds', 'pets' hold folders of images and no images of their own; "
        f"if so, give one, such as {str(tmp_path / 'pets')!r}"
    )


@pytest.mark.parametrize("files", [
    ("cat/a.jpg", "dog/b.jpg"),
    ("cat/indoor/a.jpg", "cat/b.jpg", "dog/indoor/c.jpg", "dog/outdoor/d.jpg"),
    ("cat/all/a.jpg", "dog/all/b.jpg"),
    (*PETS, "cars/a.jpg"),
    ("train/cat/x/a.jpg", "train/cat/y/a.jpg", "train/dog/x/b.jpg", "train/dog/y/b.jpg", "val/dog/x/c.jpg"),
])  # fmt: skip
def test_nesting_warning_ignores_classes_with_deeper_folders(files, tmp_path):
    assert nesting_warning(load(put(tmp_path, *files))) == ""
