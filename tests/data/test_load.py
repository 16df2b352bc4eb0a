"""What the user typed: a path, a name, or a mistake."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from support.data_sets import put
from support.known_data import cifar_folder
from tl.data.dataset import Skipped
from tl.data.images import read
from tl.data.load import load
from tl.errors import DataError, ImageError, UsageError


def test_load_recognises_each_kind_of_source(tmp_path):
    put(tmp_path, "photos/cat/a.jpg", "photos/dog/b.jpg")
    (tmp_path / "photos.csv").write_text("path,label\nphotos/cat/a.jpg,cat\nphotos/dog/b.jpg,dog\n")
    assert load(tmp_path / "photos").names == ("cat/a.jpg", "dog/b.jpg")
    assert load(str(tmp_path / "photos") + "/").name == "photos"
    assert load(tmp_path / "photos.csv").names == ("photos/cat/a.jpg", "photos/dog/b.jpg")
    assert load(cifar_folder(tmp_path / "cifar")).name == "cifar100"
    with pytest.raises(DataError, match="is a file, but not a table"):
        load(tmp_path / "photos" / "cat" / "a.jpg")


def test_names_of_folders_are_expanded_and_come_before_known_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(put(tmp_path / "pets", "cat/a.jpg", "dog/b.jpg"))
    assert load(".").name == load("~/pets").name == "pets"
    monkeypatch.chdir(put(tmp_path, "dogs-vs-cats/cat/a.jpg", "dogs-vs-cats/dog/b.jpg"))
    assert load("dogs-vs-cats").class_names == ("cat", "dog")


@pytest.mark.parametrize(("text", "hint"), [
    ("cifar-100", "did you mean 'cifar100'?"),
    ("Dogs_vs_Cats", "did you mean 'dogs-vs-cats'?"),
    ("nowhere/data", "one of cifar100, dogs-vs-cats"),
    ("x" * 5000, "no such folder or table"),
    ("a\0b", "no such folder or table"),
    ("~nosuchuser/data", "no such folder or table"),
    ("https://example.org/data.zip", "no such folder or table"),
])  # fmt: skip
def test_missing_source_is_a_data_error_with_a_hint(tmp_path, monkeypatch, text, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load(text)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Root may read everything: for the length of the block, be somebody else, with a folder that others may enter."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if before == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(before)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_unreadable_files_and_folders_are_errors():
    with unprivileged() as folder:
        put(folder, "data/cat/a.jpg", "data/dog/b.jpg", "data/horse/c.jpg")
        horse, cat = folder / "data" / "horse", folder / "data" / "cat" / "a.jpg"
        horse.chmod(0)
        cat.chmod(0)
        data = load(folder / "data")
        with pytest.raises(ImageError, match=r"^cannot be read: permission denied$"):
            read(data.images[0])
        with pytest.raises(DataError, match=r"folder '.*horse' cannot be read: permission denied"):
            load(horse)
        horse.chmod(0o755)
    assert data.skipped == (Skipped("horse", "folder cannot be read: permission denied"),)


def test_lists_of_paths_and_arrays_are_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(put(tmp_path, "a.jpg", "b.jpg"))
    pixels = np.zeros((4, 5, 3), np.uint8)
    files = load([("a.jpg", "cat"), (Path("./b.jpg"), "dog"), ("gone.jpg", "cat")])
    assert (files.names, files.images, files.root) == (("a.jpg", "b.jpg"), (Path("a.jpg"), Path("b.jpg")), Path())
    assert [skipped.reason for skipped in files.skipped] == ["no such file"]
    mixed = load(iter([("a.jpg", "cat", "train"), (pixels, "dog", "train"), (b"encoded", "dog", "val")]))
    assert mixed.names == ("a.jpg", "00001", "00002")
    assert mixed.parts == ("train", "train", "validation")
    assert (mixed.name, mixed.root) == ("images", None)
    assert mixed.images[1] is pixels
    assert read(mixed.images[2]) == b"encoded"
    assert load(mixed) is mixed
    assert load([(pixels, 3), (pixels, 11)]).class_names == ("3", "11")
    assert load([pixels, (pixels,)], labelled=False).labels.tolist() == [-1, -1]


def test_data_frames_are_data_sets(tmp_path):
    pandas = pytest.importorskip("pandas")
    put(tmp_path, "a.jpg", "b.jpg")
    paths = [str(tmp_path / "a.jpg"), tmp_path / "b.jpg", np.zeros((4, 5, 3), np.uint8)]
    frame = pandas.DataFrame({"Filename": paths, "class": ["cat", "dog", "dog"], "split": ["train", "train", None]})
    data = load(frame)
    assert data.names == (*map(str, paths[:2]), "00002")
    assert data.parts == ("train", "train", None)
    missing = pandas.DataFrame({"path": paths[:2], "label": ["cat", float("nan")]})
    assert load(missing, labelled=False).labels.tolist() == [0, -1]
    nullable = missing.assign(is_valid=pandas.array([True, None], "boolean"), label=missing["label"].astype("string"))
    data = load(nullable, labelled=False)
    assert (data.labels.tolist(), data.parts) == ([0, -1], ("validation", None))
    with pytest.raises(DataError, match="row 2 of the data has no label"):
        load(missing)
    with pytest.raises(DataError, match="DataFrame has no column 'path': .* found 'label'"):
        load(frame[["class"]].rename(columns={"class": "label"}))


@pytest.mark.parametrize(("source", "kind", "message"), [
    (7, UsageError, "data cannot be given as int: give a path, a list of"),
    (b"x", UsageError, "data cannot be given as bytes"),
    ([], DataError, "list of images has no rows"),
    ([("a", "b", "c", "d")], UsageError, "entry 1 of the data has 4 values"),
    ([(7, "cat")], UsageError, "an image cannot be given as int"),
    ([(b"1", "cat"), (b"2", "dog", "holdout")], DataError, "list of images, entry 2: no such split: 'holdout'"),
])  # fmt: skip
def test_data_in_memory_that_is_no_data_set(source, kind, message):
    with pytest.raises(kind, match=message):
        load(source)
