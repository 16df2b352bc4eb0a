"""`tl compare`: a run and a row for each network, on the same split."""

import csv
import json

import pytest

from tl.errors import DataError, RunError, UsageError
from tl.runs.run import load_run
from tl.workflows.compare import compare


@pytest.fixture(scope="module")
def compared(tl, shapes, tmp_path_factory):
    home = tmp_path_factory.mktemp("compare")
    networks = ("--backbones", "efficientnet-lite0,vgg19", "--scratch", "lenet5")
    options = ("--epochs", "2", "--gradients", "--offline", "--out", home / "runs" / "side")
    done = tl("compare", shapes, *networks, *options, cwd=home)
    return done, home / "runs" / "side"


@pytest.mark.weights
def test_compare_writes_an_entry_and_a_run_for_each_network(compared, imagenet):
    done, folder = compared
    assert done.returncode == 0, done.stderr
    about = json.loads((folder / "comparison.json").read_text())
    entries = {entry["name"]: entry for entry in about["entries"]}
    assert set(entries) == {"efficientnet-lite0", "vgg19", "lenet5"}
    assert "cannot get imagenet weights" in entries["vgg19"]["error"]  # offline: it is an entry, not the end
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
    splits = [(folder / name / "split.csv").read_text() for name in ("efficientnet-lite0", "lenet5-scratch")]
    assert splits[0] == splits[1]


@pytest.mark.weights
def test_compare_prints_a_table_and_writes_files(compared, imagenet):
    done, folder = compared
    assert {"comparison.csv", "comparison.html", "comparison.png", "grid.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    with (folder / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows][-1] == "vgg19"
    assert float(rows[0]["p_value"]) == 1.0


def test_compare_does_not_become_the_latest_run(shapes, tmp_path):
    comparison = compare(shapes, scratch=("lenet5",), epochs=1, out=tmp_path / "runs" / "one")
    assert comparison.ranked[0].name == "lenet5"
    assert not (tmp_path / "runs" / "latest").exists()


@pytest.mark.parametrize(("options", "message"), [
    ({"backbones": ()}, "nothing to compare"),
    ({"scratch": ("lenet5", "LeNet-5")}, "named twice"),
    ({"scratch": ("lenet5",), "epochs": 0}, "--epochs 0"),
    ({"budget": "soon"}, "duration"),
])  # fmt: skip
def test_compare_refuses_wrong_options(shapes, options, message):
    with pytest.raises(UsageError, match=message):
        compare(shapes, **options)


def test_compare_fails_where_no_network_can_be_trained(shapes, tmp_path):
    with pytest.raises(RunError, match="no network could be trained"):
        compare(shapes, backbones=("vgg19",), offline=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compare_names_a_missing_data_set_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such folder or table"):
        compare("nowhere", backbones=("resnet50", "lenet5"))
    assert list(tmp_path.iterdir()) == []
