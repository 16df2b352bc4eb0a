"""`tl data convert`: each form is written and read back; places that are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from support.data_sets import photo, write
from tl.commands.main import cli
from tl.data.load import load
from tl.errors import DataError, UsageError
from tl.workflows.data import convert


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    files = {
        f"{part}/{label}/{at}.png": photo(at) for part in ("train", "test") for label in ("새", "cat") for at in (1, 2)
    }
    return write(tmp_path / "photos", files | {"train/cat/deep/er.png": photo(9)})


@pytest.mark.parametrize(("to", "out"), [("folders", "out"), ("csv", "out.csv"), ("tfrecord", "out")])
def test_each_form_is_read_back(photos_folder: Path, tmp_path: Path, to: str, out: str):
    result = convert(photos_folder, to=to, out=tmp_path / out)
    assert (result.parts, result.classes, result.left_out) == ({"train": 5, "test": 4}, 2, {})
    before, after = load(photos_folder), load(tmp_path / out)
    assert after.class_names == before.class_names
    for part in ("train", "test"):
        labels = [sorted(data.labels[at] for at in range(9) if data.parts[at] == part) for data in (before, after)]
        assert labels[0] == labels[1]


def test_folders_keep_bytes_and_deeper_folders_and_link(photos_folder: Path, tmp_path: Path):
    convert(photos_folder, to="folders", out=tmp_path / "copy")
    convert(photos_folder, to="folders", out=tmp_path / "linked", link=True)
    original = photos_folder / "train/cat/deep/er.png"
    copy, linked = (tmp_path / name / "train/cat/deep/er.png" for name in ("copy", "linked"))
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)
    assert linked.samefile(original)


def test_table_names_files_where_they_are(photos_folder: Path, tmp_path: Path):
    convert(photos_folder, to="csv", out=tmp_path / "beside.csv")
    convert(photos_folder, to="csv", out=tmp_path / "elsewhere" / "far.csv")
    assert (tmp_path / "beside.csv").read_text(encoding="utf-8").splitlines()[:2] == [
        "path,label,split",
        "photos/test/cat/1.png,cat,test",
    ]
    far = load(tmp_path / "elsewhere" / "far.csv")
    assert sorted(map(str, far.images)) == sorted(map(str, photos_folder.rglob("*.png")))


def test_images_in_memory_become_files_but_no_table(tmp_path: Path):
    data = [(np.asarray(photo(at)), label) for at, label in enumerate("aabb")]
    convert(data, to="folders", out=tmp_path / "f")
    assert load(tmp_path / "f").names == tuple(f"{label}/{at:05d}.png" for at, label in enumerate("aabb"))
    with pytest.raises(DataError, match="no files of their own"):
        convert(data, to="csv", out=tmp_path / "x.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_places_that_are_taken_or_inside_the_data_are_refused(photos_folder: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "way").symlink_to(photos_folder)
    for out, message in (
        (tmp_path / "there", "is there already"),
        (tmp_path / "dangling", "is there already"),
        (photos_folder / "clean", "lies inside of"),
        (tmp_path / "way" / "train" / "clean", "lies inside of"),
        (photos_folder / ".." / "photos" / "clean", "lies inside of"),
        (Path("/"), "give the name of a new"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(photos_folder, to="folders", out=out)
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        convert(photos_folder, to="csv", out=tmp_path / "table.txt")
    with pytest.raises(UsageError, match="--to zip: choose folders, csv, tfrecord"):
        convert(photos_folder, to="zip", out=tmp_path / "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling", "photos", "there", "way"]


def test_command_converts_there_and_back(photos_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["data", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = run("convert", "photos", "--to", "tfrecord", "--out", "r")
    assert shown.splitlines() == ["images      5 train, 4 test in 2 classes", "tfrecord    r"]
    done = json.loads(run("convert", "r", "--to", "folders", "--out", "f", "--json"))
    assert done == {"out": "f", "parts": {"train": 5, "test": 4}, "classes": 2, "left_out": {}}
    assert json.loads(run("stats", "r", "--json"))["classes"] == {"cat": 5, "새": 4}
