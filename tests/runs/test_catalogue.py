"""Lists of runs, whatever is in their folder, and removing runs, and nothing but runs."""

import json
import os
import shutil

import pytest
from filelock import FileLock

from support.runs import accuracy, change_run, copy_run
from tl.errors import RunError, StorageError, UsageError
from tl.runs.catalogue import find_all_but_best, find_removals, is_being_written, list_runs, remove
from tl.runs.folder import newest_run, partial_folder
from tl.runs.summary import summarize
from tl.workflows.runs import plan_removal


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder `runs` in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def interrupted(folder, text='data = "shapes"\nbackbone = "lenet5"\n'):
    scratch = partial_folder(folder)
    scratch.mkdir(parents=True)
    if text is not None:
        (scratch / "run.toml").write_text(text)
    return scratch


def test_list_runs_needs_a_folder_of_runs(tiny_run, tmp_path, runs):
    assert list_runs() == []
    runs.rmdir()
    assert list_runs() == []
    with pytest.raises(RunError, match="is a run itself: `tl runs show"):
        list_runs(tiny_run)
    with pytest.raises(RunError, match="elsewhere cannot be read"):
        list_runs(tmp_path / "elsewhere")


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def comparison(folder):
    folder.mkdir()
    (folder / "comparison.json").write_text("{}")


def test_list_runs_describes_a_run(tiny_run, runs):
    copy_run(tiny_run, runs / "a")
    (one,) = list_runs(runs)
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    validation = manifest["metrics"]["validation"]
    assert (one.name, one.state, one.backbone, one.weights) == ("a", "complete", "mobilenetv3small", "none")
    assert (one.data, one.images, one.classes, one.unfreeze, one.kept) == ("shapes", 24, 2, "none", None)
    assert (one.part, one.count) == ("validation", validation["count"])
    assert (one.top1.value, one.top1.low) == (validation["top1"], validation["top1_interval"][0])
    assert one.as_dict()["top1_interval"] == validation["top1_interval"]
    assert json.loads(json.dumps(one.as_dict()))["created"].startswith(manifest["created"][:19])
    comparison(runs / "side")
    copy_run(tiny_run, runs / "side" / "lenet5-scratch", metrics__test=accuracy(0.25, 8))
    _, other = list_runs(runs, sort="name")
    assert (other.name, other.part, other.top1.value, other.count) == ("side/lenet5-scratch", "test", 0.25, 8)


def test_list_runs_sorts(tiny_run, runs):
    for name, day, share in (("b", 1, 0.5), ("c", 3, 0.25), ("a", 2, 1.0)):
        copy_run(tiny_run, runs / name, created=f"2026-01-0{day}T00:00:00+00:00", metrics__validation=accuracy(share))
    (runs / "d").mkdir()
    (runs / "d" / "head.npz").touch()
    named = {sort: "".join(one.name for one in list_runs(runs, sort=sort)) for sort in ("created", "accuracy", "name")}
    assert named == {"created": "dcab", "accuracy": "abcd", "name": "abcd"}


def test_newest_run_follows_latest(tiny_run, runs):
    for name in ("a", "b"):
        copy_run(tiny_run, runs / name)
    os.utime(runs / "a" / "manifest.json", (1, 1))
    assert newest_run(runs) == runs / "b"
    (runs / "latest").symlink_to("a")
    assert [one.name for one in list_runs(runs) if one.newest] == ["a"]
    assert len(list_runs(runs)) == 2


def test_list_runs_shows_the_state_of_incomplete_runs(runs):
    interrupted(runs / "새 a")
    (runs / ".새 a.lock").touch()  # left by a killed process
    interrupted(runs / "b", None)
    interrupted(runs / "c", "epochs = ")
    interrupted(runs / "d", "x = " + "[" * 100_000)
    interrupted(runs / "e")
    with FileLock(runs / ".e.lock"):
        assert is_being_written(runs / "e")
        found = {one.name: one for one in list_runs(runs, sort="name")}
    states = [found[name].state for name in ("새 a", *"bcde")]
    assert states == ["interrupted", "unfinished", "unfinished", "unfinished", "being written"]
    first = found["새 a"]
    assert (first.backbone, first.data, first.weights) == ("lenet5", "shapes", "imagenet")
    assert f"`tl finetune --resume --out '{runs / '새 a'}'`" in first.note
    assert "is not TOML" in found["c"].note


def test_list_runs_explains_damaged_runs(tiny_run, runs):
    (copy_run(tiny_run, runs / "a") / "trunk.bin").unlink()
    (copy_run(tiny_run, runs / "b") / "manifest.json").write_text("{")
    (copy_run(tiny_run, runs / "c") / "head.npz").write_bytes(b"PK")
    (copy_run(tiny_run, runs / "d") / "manifest.json").unlink()
    head = copy_run(tiny_run, runs / "e") / "head.npz"
    head.unlink()
    os.mkfifo(head)
    copy_run(tiny_run, runs / "f", format=9)
    (copy_run(tiny_run, runs / "g") / "manifest.json").write_text("[" * 100_000)
    (runs / "notes").mkdir()
    (runs / "notes" / "todo.txt").touch()
    (runs / "loop").symlink_to("loop")
    notes = {one.name: one.note for one in list_runs(runs)}
    assert sorted(notes) == list("abcdefg")
    assert {one.state for one in list_runs(runs)} == {"damaged"}
    reasons = {
        "a": "is damaged (trunk.bin is missing): train it again",
        "b": "manifest.json cannot be read",
        "c": "BadZipFile",
        "d": "manifest.json is missing",
        "e": "head.npz is missing",
        "f": "upgrade tl",
        "g": "manifest.json cannot be read",
    }
    assert [name for name, reason in reasons.items() if reason not in notes[name]] == []
    remove(find_removals(sorted(notes)))
    assert listing(runs) == ["loop", "notes"]


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
def test_invalid_manifest_is_damaged(tiny_run, runs, way):
    folder = copy_run(tiny_run, runs / "a")
    for value in HOSTILE[way]:
        change_run(folder, **{way: value})
        (one,) = list_runs(runs)
        assert one.state == "damaged", value
        assert "\n" not in one.note
        with pytest.raises(RunError, match="damaged"):
            summarize(folder)


def test_remove_deletes_a_run_and_moves_latest(tiny_run, runs):
    for day, name in enumerate("abc", 1):
        copy_run(tiny_run, runs / name, created=f"2026-01-0{day}T00:00:00+00:00")
    (runs / "latest").symlink_to("c")
    (chosen,) = find_removals(["c"])
    assert (chosen.kind, [piece.absolute() for piece in chosen.pieces]) == ("run", [runs / "c"])
    assert chosen.size.own > 1000
    remove([chosen])
    assert listing(runs) == ["a", "b", "latest"]
    assert (runs / "latest").readlink().name == "b"
    (runs / "a" / "head.npz").write_bytes(b"")  # `latest` does not move to a damaged run
    remove(find_removals(["b", "runs/b", runs / "b"]))
    assert listing(runs) == ["a"]


def test_find_removals_refuses_what_is_not_a_run(tiny_run, runs):
    extension = runs / "extension"
    extension.mkdir()
    (extension / "manifest.json").write_text('{"manifest_version": 3, "name": "of a browser"}')
    (extension / "split.txt").touch()
    photos = runs.parent / "photos"
    (photos / "cat").mkdir(parents=True)
    for name in ("extension", "photos", ".", "..", "runs", "runs/..", "/", str(runs)):
        with pytest.raises(RunError, match=r"is not a run, and only runs are removed|no run .* here or in"):
            find_removals([name])
    with pytest.raises(RunError, match="no run 'nothing' here or in runs/"):
        find_removals(["nothing"])
    assert listing(extension) == ["manifest.json", "split.txt"]


def test_find_removals_follows_no_links(tiny_run, runs):
    kept = copy_run(tiny_run, runs.parent / "kept")
    precious = runs.parent / "precious"
    precious.mkdir()
    (precious / "photo.png").touch()
    (runs / "linked").symlink_to(kept)
    copy_run(tiny_run, runs / "a")
    (runs / "latest").symlink_to("a")
    for name in ("linked", "latest", "runs/latest"):
        with pytest.raises(RunError, match="is a symbolic link: name the run itself"):
            find_removals([name])
    (runs / "a" / "tensorboard").symlink_to(precious)
    os.link(precious / "photo.png", runs / "a" / "photo.png")
    remove(find_removals(["a"]))
    assert listing(runs) == ["linked"]
    assert listing(precious) == ["photo.png"]
    assert (kept / "manifest.json").is_file()


def test_run_being_written_is_not_removed(tiny_run, runs):
    partial_folder(runs / "a").mkdir()
    copy_run(tiny_run, runs / "b")
    chosen = find_removals(["b"])
    with FileLock(runs / ".a.lock"), FileLock(runs / ".b.lock"):
        with pytest.raises(RunError, match="a is being written by another process"):
            find_removals(["a"])
        with pytest.raises(RunError, match="b is being written by another process"):
            remove(chosen)
    assert (runs / "b" / "manifest.json").is_file()


def test_interrupted_runs_are_removed(runs):
    for name in ("a/run.toml", "c/lenet5/manifest.json", "d/letters.txt"):
        path = partial_folder(runs / name[0]) / name[2:]
        path.parent.mkdir(parents=True)
        path.touch()
    partial_folder(runs / "b").mkdir()
    (runs / ".b.lock").touch()
    chosen = find_removals(["a", "runs/b", "c"])
    assert [one.kind for one in chosen] == ["interrupted run", "interrupted run", "interrupted comparison"]
    remove(chosen)
    assert listing(runs) == [".d.partial"]
    with pytest.raises(RunError, match="no run 'd'"):
        find_removals(["d"])


def test_comparison_is_removed_as_a_whole(tiny_run, runs):
    comparison(runs / "side")
    for name in ("lenet5", "vgg16"):
        copy_run(tiny_run, runs / "side" / name)
    with pytest.raises(RunError, match="part of the comparison runs/side: remove the whole comparison"):
        find_removals(["side/lenet5"])
    (chosen,) = find_removals(["side"])
    assert chosen.kind == "comparison of 2 runs"
    remove([chosen])
    assert listing(runs) == []


def test_killed_removal_is_completed(tiny_run, runs, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    copy_run(tiny_run, runs / "a")
    chosen = find_removals(["a"])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(chosen)
    assert listing(runs) == [".a.removed"]
    (chosen,) = find_removals(["a"])
    assert chosen.kind == "half-removed run"
    remove([chosen])
    assert listing(runs) == []


def test_remove_names_a_folder_without_permission(tiny_run, runs, monkeypatch):
    def denied(*paths):
        raise PermissionError(13, "Permission denied")

    copy_run(tiny_run, runs / "a")
    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(StorageError, match="a cannot be removed"):
        remove(find_removals(["a"]))


def test_find_all_but_best_keeps_the_best_of_each_data_set(tiny_run, runs):
    for day, (data, top1) in enumerate([("pets", 0.5), ("pets", 0.75), ("pets", 0.75), ("cars", 0.1)], 1):
        created = f"2026-01-0{day}T00:00:00+00:00"
        changes = {"data__name": data, "metrics__validation": accuracy(top1), "created": created}
        copy_run(tiny_run, runs / ".abcd"[day], **changes)
    (copy_run(tiny_run, runs / "e") / "head.npz").unlink()

    for arguments, expected in (((1,), "ab"), ((2,), "a"), ((1, ["a", "b"]), "a"), ((3,), "")):
        assert sorted(one.folder.name for one in find_all_but_best(*arguments)) == list(expected)
    with pytest.raises(UsageError, match="--keep-best 0: give a number of at least 1"):
        plan_removal(keep_best=0)
