"""`tl compare`: a run and a row for each network, on the same split."""

import csv
import json

import pytest

from tl.errors import DataError, RunError, UsageError
from tl.runs.folder import newest_run
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


@pytest.fixture(scope="module")
def at_64_pixels(tl, shapes, tmp_path_factory):
    home = tmp_path_factory.mktemp("sixty-four")
    options = ("--scratch", "lenet5,simple-cnn", "--epochs", 1, "--image-size", 64, "--gradients", "--out", "runs/one")
    return tl("compare", shapes, *options, cwd=home, expect=0), home / "runs"


def test_run_of_the_best_network_becomes_the_newest(at_64_pixels, tl):
    done, runs = at_64_pixels
    best = json.loads((runs / "one" / "comparison.json").read_text())["entries"][0]["folder"]
    assert newest_run(runs) == runs / "one" / best
    assert f"* one/{best}" in tl("runs", "list", cwd=runs.parent, expect=0).stdout
    assert "next        tl predict PHOTO.jpg   or   tl grid   or   tl report --show" in done.stdout
    assert f"{best}" in tl("runs", "show", cwd=runs.parent, expect=0).stdout


def test_parameters_are_those_at_the_image_size(at_64_pixels):
    _, runs = at_64_pixels
    for entry in json.loads((runs / "one" / "comparison.json").read_text())["entries"]:
        manifest = load_run(runs / "one" / entry["folder"]).manifest
        assert entry["parameters"] == manifest["metrics"]["fine-tuning"]["trained_parameters"]
        assert entry["parameters"] > manifest["backbone"]["parameters"]


def test_comparison_shows_curves_and_gradients(at_64_pixels):
    _, runs = at_64_pixels
    page = (runs / "one" / "comparison.html").read_text()
    titles = ["Learning curves", *(f"Gradients of {name} from random weights" for name in ("lenet5", "simple-cnn"))]
    assert all(page.count(f'alt="{title}"') == 1 for title in titles)
    assert (runs / "one" / "curves.png").is_file()


def test_data_set_is_described_once(at_64_pixels):
    lines = at_64_pixels[0].stdout.splitlines()
    assert [line for line in lines if "24 images" in line] == [
        "data        shapes: 24 images, 2 classes (noise 12, stripes 12)"
    ]


def test_comparison_outside_of_runs_names_its_run(shapes, tl, tmp_path):
    done = tl("compare", shapes, "--scratch", "lenet5", "--epochs", 1, "--out", "one", cwd=tmp_path, expect=0)
    assert "tl report one/lenet5-scratch --show" in done.stdout
    assert not (tmp_path / "latest").exists()


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
