"""A folder of runs, with all that lies about in it, becomes a list; nothing in it can stop the list."""

import json
import os

import pytest
from filelock import FileLock

from support.runs import accuracy, make, rewrite
from tl.errors import RunError, UsageError
from tl.runs.catalogue import being_written, catalogue, newest_of
from tl.runs.folder import partial_folder
from tl.runs.summary import size_of, summarize


@pytest.fixture
def runs(tmp_path):
    """An empty folder of runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def interrupted(folder, text='data = "shapes"\nbackbone = "lenet5"\n'):
    scratch = partial_folder(folder)
    scratch.mkdir(parents=True)
    if text is not None:
        (scratch / "run.toml").write_text(text)
    return scratch


def test_no_runs(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    assert catalogue() == []
    runs.rmdir()
    assert catalogue() == []
    with pytest.raises(RunError, match="elsewhere cannot be read"):
        catalogue(tmp_path / "elsewhere")


def test_a_run_in_the_list(tiny_run, runs):
    make(tiny_run, runs / "a")
    (one,) = catalogue(runs)
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    validation = manifest["metrics"]["validation"]
    assert (one.name, one.state, one.backbone, one.weights) == ("a", "complete", "mobilenetv3small", "none")
    assert (one.data, one.images, one.classes, one.unfreeze, one.kept) == ("shapes", 24, 2, "none", None)
    assert (one.part, one.count) == ("validation", validation["count"])
    assert (one.top1.value, one.top1.low) == (validation["top1"], validation["top1_interval"][0])
    assert one.as_dict()["top1_interval"] == validation["top1_interval"]
    assert json.loads(json.dumps(one.as_dict()))["created"].startswith(manifest["created"][:19])


def test_test_photos_count_before_validation(tiny_run, runs):
    make(tiny_run, runs / "a", metrics__test=accuracy(0.25, 8))
    (one,) = catalogue(runs)
    assert (one.part, one.top1.value, one.count) == ("test", 0.25, 8)


def test_sorting(tiny_run, runs):
    for name, day, share in (("b", 1, 0.5), ("c", 3, 0.25), ("a", 2, 1.0)):
        make(tiny_run, runs / name, created=f"2026-01-0{day}T00:00:00+00:00", metrics__validation=accuracy(share))
    (runs / "d").mkdir()
    (runs / "d" / "head.npz").touch()
    named = {sort: "".join(one.name for one in catalogue(runs, sort=sort)) for sort in ("created", "accuracy", "name")}
    assert named == {"created": "dcab", "accuracy": "abcd", "name": "abcd"}
    with pytest.raises(UsageError, match="--sort size: choose created, accuracy, name"):
        catalogue(runs, sort="size")


def test_the_newest_is_what_latest_says(tiny_run, runs):
    for name in ("a", "b"):
        make(tiny_run, runs / name)
    os.utime(runs / "a" / "manifest.json", (1, 1))
    assert newest_of(runs) == runs / "b"
    (runs / "latest").symlink_to("a")
    assert [one.name for one in catalogue(runs) if one.newest] == ["a"]
    assert len(catalogue(runs)) == 2


def test_runs_of_a_comparison(tiny_run, runs):
    (runs / "side").mkdir()
    (runs / "side" / "comparison.json").write_text("{}")
    make(tiny_run, runs / "side" / "lenet5-scratch")
    assert [one.name for one in catalogue(runs)] == ["side/lenet5-scratch"]


def test_interrupted_runs(runs):
    interrupted(runs / "a")
    interrupted(runs / "b", None)
    interrupted(runs / "c", "epochs = ")
    interrupted(runs / "d", "x = " + "[" * 100_000)
    interrupted(runs / "e")
    with FileLock(runs / ".e.lock"):
        assert being_written(runs / "e")
        found = {one.name: one for one in catalogue(runs, sort="name")}
    states = {name: one.state for name, one in found.items()}
    unfinished = "unfinished"
    expected = {"a": "interrupted", "b": unfinished, "c": unfinished, "d": unfinished, "e": "being written"}
    assert states == expected
    assert (found["a"].backbone, found["a"].data, found["a"].weights) == ("lenet5", "shapes", "imagenet")
    assert f"`tl finetune --resume --out {runs / 'a'}`" in found["a"].note
    assert "is not TOML" in found["c"].note


def test_what_goes_on_with_a_run_is_quoted_for_the_shell(runs):
    interrupted(runs / "새 run")
    [note] = [one.note for one in catalogue(runs) if one.name == "새 run"]
    assert f"`tl finetune --resume --out '{runs / '새 run'}'`" in note


def test_a_lock_that_was_left_is_none(runs):
    (runs / ".a.lock").touch()
    assert not being_written(runs / "a")


def test_damaged_runs_are_named(tiny_run, runs):
    (make(tiny_run, runs / "a") / "trunk.bin").unlink()
    (make(tiny_run, runs / "b") / "manifest.json").write_text("{")
    (make(tiny_run, runs / "c") / "head.npz").write_bytes(b"PK")
    (make(tiny_run, runs / "d") / "manifest.json").unlink()
    head = make(tiny_run, runs / "e") / "head.npz"
    head.unlink()
    os.mkfifo(head)
    make(tiny_run, runs / "f", format=9)
    (make(tiny_run, runs / "g") / "manifest.json").write_text("[" * 100_000)
    (runs / "notes").mkdir()
    (runs / "notes" / "todo.txt").touch()
    (runs / "loop").symlink_to("loop")
    notes = {one.name: one.note for one in catalogue(runs)}
    assert sorted(notes) == list("abcdefg")
    assert {one.state for one in catalogue(runs)} == {"damaged"}
    assert notes["a"].startswith("is damaged (trunk.bin is missing): make it again")
    assert "manifest.json cannot be read" in notes["b"]
    assert "BadZipFile" in notes["c"]
    assert "manifest.json is missing" in notes["d"]
    assert "head.npz is missing" in notes["e"]
    assert "upgrade tl" in notes["f"]
    assert "manifest.json cannot be read" in notes["g"]


HOSTILE = {
    "created": ["2026", 7, "0001-01-01T00:00:00", None],
    "data": [[], None, {}],
    "data__images": ["many", None, 1e400],
    "data__per_class": [[1], {"a": "b"}],
    "options": [[], {"epochs": [1]}, {"lr": float("nan")}],
    "metrics": [None, [], {"seconds": None}],
    "metrics__validation": [3, {}, {"top1": 7, "count": 1}, {"top1": 0.5, "top1_interval": [0], "count": 1}],
    "metrics__fine-tuning": [3, {"kept": True}],
    "metrics__seconds": [{"a": "b"}, {"a": float("inf")}, {"a": 10**400}],
    "versions": [None, 3],
    "command": [3, None],
    "weights": [{}, "x"],
    "head": [None, 1],
    "engine": [None],
}


@pytest.mark.parametrize("way", HOSTILE)
def test_a_manifest_that_lies_is_damaged(tiny_run, runs, way):
    folder = make(tiny_run, runs / "a")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("digest")
    for value in HOSTILE[way]:
        *parents, last = way.split("__")
        told = json.loads(json.dumps(manifest))
        target = told[parents[0]] if parents else told
        target[last] = value
        rewrite(folder, told)
        (one,) = catalogue(runs)
        assert one.state == "damaged", value
        assert "\n" not in one.note
        with pytest.raises(RunError, match="damaged"):
            summarize(folder)


def test_tables_inside_of_figures_are_no_figures(tiny_run, runs):
    scores = accuracy(0.5) | {"per_class": {"noise": {"recall": 1.0}}, "reliability": [1], "brier": float("nan")}
    make(tiny_run, runs / "a", metrics__validation=scores, metrics__calibration={"before": 1}, metrics__unknown={})
    assert set(summarize(runs / "a").parts["validation"].figures) == {"top1", "log_loss"}


def test_size_counts_hard_links_as_shared(tmp_path):
    for name, count in (("own", 10), ("linked", 200)):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(bytes(count))
    os.link(tmp_path / "run" / "linked", tmp_path / "cached")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "run" / "own")
    size = size_of(tmp_path / "run")
    assert (size.shared, size.files) == (200, 3)
    assert size.own == 10 + os.lstat(tmp_path / "run" / "link").st_size
    assert size_of(tmp_path / "run", tmp_path / "run").shared == 200


def test_a_run_is_not_a_folder_of_runs(tiny_run):
    with pytest.raises(RunError, match="is a run itself: `tl runs show"):
        catalogue(tiny_run)


def test_summary_of_a_tuned_run(tiny_run, runs):
    tuning = {
        "kept": False,
        "unfreeze": "last",
        "comparison": {"gained": 1, "lost": 2, "p_value": 1.0, "count": 4},
        "head_only": {"validation": accuracy(0.75)},
        "tuned": {"validation": accuracy(0.5)},
        "steps": 9,
    }
    changes = {"metrics__fine-tuning": tuning}
    about = summarize(make(tiny_run, runs / "a", **changes))
    assert (about.unfreeze, about.tuning.kept, about.tuning.comparison.lost) == ("last", False, 2)
    assert about.tuning.after["validation"].top1.value == 0.5
    assert catalogue(runs)[0].kept is False
    changes = {"metrics__fine-tuning": tuning | {"head_only": {}, "comparison": None, "kept": True}}
    assert summarize(make(tiny_run, runs / "b", **changes)).unfreeze == "scratch"
