"""Data sets counted, fetched, and converted: each form is read back, trained on and evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl
from support.data_sets import photo, write
from support.known_data import photos_zip, serve
from support.known_data import site as site
from support.session import TINY
from tl.data.load import load
from tl.errors import DataError, DownloadError, UsageError
from tl.workflows.data import convert, get, list_known


@pytest.fixture
def photos_folder(tmp_path: Path) -> Path:
    files = {
        f"{part}/{label}/{at}.png": photo(at) for part in ("train", "test") for label in ("새", "cat") for at in (1, 2)
    }
    return write(tmp_path / "photos", files | {"train/cat/deep/er.png": photo(9)})


@pytest.mark.parametrize(("to", "out"), [("folders", "out"), ("csv", "out.csv"), ("tfrecord", "out")])
def test_each_form_is_read_back(photos_folder, tmp_path, to, out):
    result = convert(photos_folder, to=to, out=tmp_path / out)
    assert (result.parts, result.classes, result.left_out) == ({"train": 5, "test": 4}, 2, {})
    before, after = (load(folder).samples() for folder in (photos_folder, tmp_path / out))
    assert sorted((one.part, one.label) for one in after) == sorted((one.part, one.label) for one in before)


def test_folders_keep_bytes_and_deeper_folders_and_link(photos_folder, tmp_path):
    convert(photos_folder, to="folders", out=tmp_path / "copy")
    convert(photos_folder, to="folders", out=tmp_path / "linked", link=True)
    original = photos_folder / "train/cat/deep/er.png"
    copy, linked = (tmp_path / name / "train/cat/deep/er.png" for name in ("copy", "linked"))
    assert copy.read_bytes() == original.read_bytes()
    assert (copy.samefile(original), linked.samefile(original)) == (False, True)


def test_table_names_files_where_they_are(photos_folder, tmp_path):
    convert(photos_folder, to="csv", out=tmp_path / "beside.csv")
    convert(photos_folder, to="csv", out=tmp_path / "elsewhere" / "far.csv")
    lines = (tmp_path / "beside.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["path,label,split", "photos/test/cat/1.png,cat,test"]
    assert set(load(tmp_path / "elsewhere" / "far.csv").images) == set(photos_folder.rglob("*.png"))


def test_images_in_memory_become_files_but_no_table(tmp_path):
    data = [(np.asarray(photo(at)), label) for at, label in enumerate("aabb")]
    convert(data, to="folders", out=tmp_path / "f")
    assert load(tmp_path / "f").names == tuple(f"{label}/{at:05d}.png" for at, label in enumerate("aabb"))
    with pytest.raises(DataError, match="no files of their own"):
        convert(data, to="csv", out=tmp_path / "x.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_places_that_are_taken_or_inside_the_data_are_refused(photos_folder, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "way").symlink_to(photos_folder)
    for to, out, message in (
        ("folders", tmp_path / "there", "is there already"),
        ("folders", tmp_path / "dangling", "is there already"),
        ("folders", photos_folder / "clean", "lies inside of"),
        ("folders", tmp_path / "way" / "train" / "clean", "lies inside of"),
        ("folders", photos_folder / ".." / "photos" / "clean", "lies inside of"),
        ("folders", Path("/"), "give the name of a new"),
        ("csv", tmp_path / "table.txt", r"ends in \.csv"),
        ("zip", tmp_path / "x", "--to zip: choose folders, csv, tfrecord"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(photos_folder, to=to, out=out)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling", "photos", "there", "way"]


def test_commands_convert_there_and_back_and_count(tl, photos_folder, tmp_path):
    shown = tl("data", "convert", "photos", "--to", "tfrecord", "--out", "r", cwd=tmp_path).stdout
    assert shown.splitlines() == ["images      5 train, 4 test in 2 classes", "tfrecord    r"]
    done = tl("data", "convert", "r", "--to", "folders", "--out", "f", "--json", cwd=tmp_path).stdout
    assert json.loads(done) == {"out": "f", "parts": {"train": 5, "test": 4}, "classes": 2, "left_out": {}}
    values = json.loads(tl("data", "stats", "r", "--json", cwd=tmp_path).stdout)
    assert (values["images"], values["broken"], values["classes"]) == (9, 0, {"cat": 5, "새": 4})
    shown = tl("data", "stats", "f", cwd=tmp_path).stdout
    assert shown.startswith("f: 9 images in 2 classes, ")
    assert "width     120 to 120, median 120, 90% from 120 to 120" in shown


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TL_OFFLINE", raising=False)
    return tmp_path


def test_get_downloads_once_and_copies(home, site, monkeypatch):
    served = photos_zip(site[0] / "photos.zip")
    serve(monkeypatch, "dogs-vs-cats", served, site[1])
    whole = served.read_bytes()
    served.write_bytes(whole + b"x")
    with pytest.raises(DownloadError, match=r"dogs-vs-cats cannot be fetched from .*: its checksum is wrong"):
        get("dogs-vs-cats")
    assert [one.path for one in list_known()] == [None, None]
    served.write_bytes(whole)
    result = get("dogs-vs-cats")
    assert result.path == home / "cache" / "datasets" / "dogs-vs-cats"
    assert result.checksum.startswith("sha256:")
    served.unlink()
    copied = get("dogs-vs-cats", out=home / "mine", offline=True)
    assert copied.path == home / "mine" / "dogs-vs-cats"
    assert load(copied.path).class_names == ("Cat", "Dog")
    assert [one.path is not None for one in list_known()] == [False, True]
    with pytest.raises(UsageError, match="is there already"):
        get("dogs-vs-cats", out=home / "mine")


def test_command_lists_and_gets_but_no_unknown_names_and_nothing_offline(tl, home):
    listing = tl("data", "get", cwd=home).stdout.splitlines()
    assert listing[1].startswith("data set    dogs-vs-cats: not here; 825 MB from download.")
    names = [one["name"] for one in json.loads(tl("data", "get", "--json", cwd=home).stdout)]
    assert names == ["cifar100", "dogs-vs-cats"]
    (home / "cache/datasets/dogs-vs-cats/Cat").mkdir(parents=True)
    done = tl("data", "get", "dogs-vs-cats", "--offline", "--out", "here", cwd=home)
    assert done.stdout.splitlines()[0] == "data set    dogs-vs-cats: here/dogs-vs-cats"
    assert (home / "here/dogs-vs-cats/Cat").is_dir()
    refused = tl("data", "get", "imagenet", cwd=home, expect=2)
    assert "there are cifar100, dogs-vs-cats" in refused.stderr
    refused = tl("data", "get", "cifar100", "--offline", cwd=home, expect=1)
    assert "cannot be fetched offline" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_arrays_data_frames_and_records_are_trained_on_and_evaluated(shapes: Path, tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    files = sorted(shapes.rglob("*.png"))
    arrays = [(np.asarray(Image.open(file).convert("RGB")), file.parent.name) for file in files]
    run = tl.finetune(arrays, backbone=TINY, weights="none", val=0.2, out=tmp_path / "run")
    assert run.classes == ("noise", "stripes")
    convert(shapes, to="tfrecord", out=tmp_path / "records")
    frame = pandas.DataFrame({"path": map(str, files), "label": [file.parent.name for file in files]})
    for data in (frame, tmp_path / "records"):
        evaluation = tl.evaluate(data, run=run.folder, include_trained=True, report=False)
        assert len(evaluation.dataset.names) == len(files)
    again = tl.evaluate(arrays, run=run.folder, report=False)  # without those that were trained on
    assert 0 < len(again.dataset.names) < len(files)
