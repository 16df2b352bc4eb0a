"""Several networks on the same split: table, files, and answers that belong to the runs."""

import csv
import json

import pytest

import tl as library
from tl.errors import DataError, RunError, UsageError
from tl.runs.run import load_run


@pytest.fixture(scope="module")
def compared(tl, shapes, tmp_path_factory):
    home = tmp_path_factory.mktemp("compare")
    words = (
        "--backbones",
        "efficientnet-lite0,vgg19",
        "--scratch",
        "lenet5",
        "--epochs",
        "2",
        "--gradients",
        "--offline",
    )
    done = tl("compare", shapes, *words, "--out", home / "runs" / "side", cwd=home)
    return done, home / "runs" / "side"


@pytest.mark.weights
def test_each_network_has_its_row_and_its_run(compared, imagenet):
    done, folder = compared
    assert done.returncode == 0, done.stderr
    about = json.loads((folder / "comparison.json").read_text())
    entries = {entry["name"]: entry for entry in about["entries"]}
    assert set(entries) == {"efficientnet-lite0", "vgg19", "lenet5"}
    assert "no imagenet weights" in entries["vgg19"]["error"]  # offline: it is an entry, not the end
    assert about["entries"][-1]["name"] == "vgg19"
    for name in ("efficientnet-lite0", "lenet5"):
        entry, run = entries[name], load_run(folder / entries[name]["folder"])
        assert entry["top1"]["value"] == run.manifest["metrics"]["validation"]["top1"]
        assert entry["speed"] > 0
        assert entry["seconds"] > 0
        assert entry["size"] > 10_000
    assert entries["lenet5"]["scratch"]
    assert entries["lenet5"]["parameters"] == 61_156 + 84 * 2 + 2
    assert (folder / entries["lenet5"]["folder"] / "gradients.png").is_file()


@pytest.mark.weights
def test_the_table_fits_the_terminal_and_the_files_are_there(compared, imagenet):
    done, folder = compared
    assert {"comparison.csv", "comparison.html", "comparison.png", "grid.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    with (folder / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows][-1] == "vgg19"
    assert float(rows[0]["p_value"]) == 1.0


@pytest.mark.weights
def test_both_were_asked_about_the_same_photos(compared, imagenet):
    _, folder = compared
    splits = [(folder / name / "split.csv").read_text() for name in ("efficientnet-lite0", "lenet5-scratch")]
    assert splits[0] == splits[1]


def test_a_comparison_is_not_the_newest_run(tl, shapes, tmp_path):
    made = library.compare(shapes, scratch=["lenet5"], epochs=1, out=tmp_path / "runs" / "one")
    assert made.ranked[0].name == "lenet5"
    assert not (tmp_path / "runs" / "latest").exists()


def test_what_cannot_be_compared(shapes, tmp_path):
    with pytest.raises(UsageError, match="nothing to compare"):
        library.compare(shapes)
    with pytest.raises(UsageError, match="named twice"):
        library.compare(shapes, scratch=["lenet5", "LeNet-5"])
    with pytest.raises(RunError, match="no network could be trained"):
        library.compare(shapes, scratch=["lenet5"], epochs=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_is_not_there_is_said_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such folder or table"):
        library.compare("nowhere", backbones=["resnet50", "lenet5"])
    assert list(tmp_path.iterdir()) == []
