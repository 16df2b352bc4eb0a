"""A data set written in each form and read back; places that are refused; failures that leave nothing behind."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from support.data_sets import photo, write
from support.session import Tl
from tl.data.images import decode, fit, read
from tl.data.load import load
from tl.data.write import WRITERS, convert, fresh
from tl.errors import DataError, StorageError, UsageError


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    files = {
        f"{part}/{label}/{at}.png": photo(at) for part in ("train", "test") for label in ("새", "cat") for at in (1, 2)
    }
    return write(tmp_path / "photos", files | {"train/cat/deep/er.png": photo(9)})


@pytest.mark.parametrize(
    ("to", "out"), [("folders", "out"), ("csv", "out.csv"), ("tfrecord", "out"), ("cifar100", "out")]
)
def test_each_form_is_read_back(photos_folder: Path, tmp_path: Path, to: str, out: str):
    done = convert(photos_folder, to, tmp_path / out)
    assert (done.parts, done.classes, done.left_out) == ({"train": 5, "test": 4}, 2, {})
    before, after = load(photos_folder), load(tmp_path / out)
    assert after.class_names == before.class_names
    for part in ("train", "test"):
        labels = [sorted(data.labels[at] for at in range(9) if data.parts[at] == part) for data in (before, after)]
        assert labels[0] == labels[1]


def test_folders_keep_bytes_and_deeper_folders_and_link(photos_folder: Path, tmp_path: Path):
    convert(photos_folder, "folders", tmp_path / "copy")
    convert(photos_folder, "folders", tmp_path / "linked", link=True)
    original = photos_folder / "train/cat/deep/er.png"
    copy, linked = (tmp_path / name / "train/cat/deep/er.png" for name in ("copy", "linked"))
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)
    assert linked.samefile(original)


def test_a_table_names_files_where_they_are(photos_folder: Path, tmp_path: Path):
    convert(photos_folder, "csv", tmp_path / "beside.csv")
    convert(photos_folder, "csv", tmp_path / "elsewhere" / "far.csv")
    assert (tmp_path / "beside.csv").read_text(encoding="utf-8").splitlines()[:2] == [
        "path,label,split",
        "photos/test/cat/1.png,cat,test",
    ]
    far = load(tmp_path / "elsewhere" / "far.csv")
    assert sorted(map(str, far.images)) == sorted(map(str, photos_folder.rglob("*.png")))


def test_cifar_as_keras_and_torchvision_read_it(photos_folder: Path, tmp_path: Path):
    convert(photos_folder, "cifar100", tmp_path / "c")
    for encoding, key in (("bytes", b"data"), ("latin1", "data")):
        with (tmp_path / "c" / "train").open("rb") as file:
            found = pickle.load(file, encoding=encoding)
        assert found[key].shape == (5, 3072)
        assert found[key].dtype == np.uint8
    data = load(tmp_path / "c")
    assert data.class_names == ("cat", "새")
    wanted = fit(decode(read(photos_folder / "train/cat/1.png"), 32), 32)
    np.testing.assert_array_equal(data.images[0], wanted)
    convert(tmp_path / "c", "folders", tmp_path / "back")
    png = next((tmp_path / "back" / "train" / "cat").glob("00000.png"))
    np.testing.assert_array_equal(decode(read(png)), wanted)


def test_validation_becomes_the_test_of_cifar_where_there_is_no_other(tmp_path: Path):
    files = {f"{part}/{label}/{at}.png": photo(at) for part in ("train", "val") for label in "ab" for at in (1, 2)}
    write(tmp_path / "d", files | {"train/a/broken.jpg": b"x"})
    done = convert(tmp_path / "d", "cifar100", tmp_path / "c")
    assert done.left_out == {"train/a/broken.jpg": "not an image (starts with 'x')"}
    assert load(tmp_path / "c").parts == ("train",) * 4 + ("test",) * 4


def test_arrays_have_no_files_for_a_table(photos_folder: Path, tmp_path: Path):
    for to in ("cifar100", "tfrecord"):
        convert(photos_folder, to, tmp_path / to)
        with pytest.raises(DataError, match="no files of their own"):
            convert(tmp_path / to, "csv", tmp_path / "x.csv")
    assert not list(tmp_path.glob("*x.csv*"))


def test_places_that_are_refused(photos_folder: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "way").symlink_to(photos_folder)
    for out, why in (
        (tmp_path / "there", "is there already"),
        (tmp_path / "dangling", "is there already"),
        (photos_folder / "clean", "lies inside of"),
        (tmp_path / "way" / "train" / "clean", "lies inside of"),
        (photos_folder / ".." / "photos" / "clean", "lies inside of"),
        (Path("/"), "give the name of a new"),
    ):
        with pytest.raises(UsageError, match=why):
            convert(photos_folder, "folders", out)
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        convert(photos_folder, "csv", tmp_path / "table.txt")
    with pytest.raises(UsageError, match="no such form"):
        convert(photos_folder, "zip", tmp_path / "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling", "photos", "there", "way"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path):
    def broken(out: Path, error: Exception) -> None:
        with fresh(out) as scratch:
            scratch.mkdir()
            (scratch / "half").write_text("x")
            raise error

    with pytest.raises(KeyError):
        broken(tmp_path / "a", KeyError("x"))
    with pytest.raises(StorageError, match="no space left"):
        broken(tmp_path / "a", OSError(28, "No space left on device"))
    assert list(tmp_path.iterdir()) == []

    def overtaken() -> None:
        with fresh(tmp_path / "b") as scratch:
            scratch.mkdir()
            (tmp_path / "b").mkdir()

    with pytest.raises(UsageError, match="meanwhile"):
        overtaken()
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_the_command(tl: Tl, photos_folder: Path, tmp_path: Path):
    done = tl("data", "convert", photos_folder, "--to", "tfrecord", "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["images      5 train, 4 test in 2 classes", "tfrecord    r"]
    done = tl("data", "convert", "r", "--to", "folders", "--out", "f", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"out": "f", "parts": {"train": 5, "test": 4}, "classes": 2, "left_out": {}}
    again = tl("data", "convert", "r", "--to", "folders", "--out", "f", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    stats = json.loads(tl("data", "stats", "r", "--json", cwd=tmp_path).stdout)
    assert stats["classes"] == {"cat": 5, "새": 4}


def test_the_forms_of_the_command_are_those_of_the_library():
    from tl.commands.data import _FORMS

    assert tuple(WRITERS) == _FORMS
