"""Removing runs: whole ones, runs alone, never through a link, never one that is being written."""

import os
import shutil

import pytest
from filelock import FileLock

from support.runs import accuracy, make
from tl.errors import RunError, StorageError, UsageError
from tl.runs.catalogue import all_but_best, removable, remove
from tl.runs.folder import partial_folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder of runs, below the present folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_goes_whole_and_latest_moves_on(tiny_run, runs):
    for day, name in enumerate("abc", 1):
        make(tiny_run, runs / name, created=f"2026-01-0{day}T00:00:00+00:00")
    (runs / "latest").symlink_to("c")
    (chosen,) = removable(["c"])
    assert (chosen.what, [piece.absolute() for piece in chosen.pieces]) == ("run", [runs / "c"])
    assert chosen.size.own > 1000
    remove([chosen])
    assert listing(runs) == ["a", "b", "latest"]
    assert (runs / "latest").readlink().name == "b"
    remove(removable(["a"]))
    assert (runs / "latest").readlink().name == "b"
    remove(removable([runs / "b"]))
    assert listing(runs) == []


def test_latest_does_not_move_to_a_damaged_run(tiny_run, runs):
    for name in "abc":
        make(tiny_run, runs / name)
    (runs / "b" / "head.npz").write_bytes(b"")
    (runs / "latest").symlink_to("c")
    remove(removable(["c"]))
    assert (runs / "latest").readlink().name == "a"


def test_a_name_given_twice_is_one_run(tiny_run, runs):
    make(tiny_run, runs / "a")
    assert len(removable(["a", "runs/a", runs / "a"])) == 1


def test_what_is_no_run_stays(tiny_run, runs):
    extension = runs / "extension"
    extension.mkdir()
    (extension / "manifest.json").write_text('{"manifest_version": 3, "name": "of a browser"}')
    (extension / "split.txt").touch()
    photos = runs.parent / "photos"
    (photos / "cat").mkdir(parents=True)
    for name in ("extension", "photos", ".", "..", "runs", "runs/..", "/", str(runs)):
        with pytest.raises(RunError, match=r"is not a run: only runs are removed|no run .* here or in"):
            removable([name])
    with pytest.raises(RunError, match="no run 'nothing' here or in runs/"):
        removable(["nothing"])
    assert listing(extension) == ["manifest.json", "split.txt"]


def test_links_are_not_followed(tiny_run, runs):
    kept = make(tiny_run, runs.parent / "kept")
    precious = runs.parent / "precious"
    precious.mkdir()
    (precious / "photo.png").touch()
    (runs / "linked").symlink_to(kept)
    make(tiny_run, runs / "a")
    (runs / "latest").symlink_to("a")
    for name in ("linked", "latest", "runs/latest"):
        with pytest.raises(RunError, match="is a symbolic link, which is not followed: name the run itself"):
            removable([name])
    (runs / "a" / "tensorboard").symlink_to(precious)
    os.link(precious / "photo.png", runs / "a" / "photo.png")
    remove(removable(["a"]))
    assert listing(runs) == ["linked"]
    assert listing(precious) == ["photo.png"]
    assert (kept / "manifest.json").is_file()


def test_a_run_that_is_being_written_is_refused(tiny_run, runs):
    partial_folder(runs / "a").mkdir()
    make(tiny_run, runs / "b")
    chosen = removable(["b"])
    with FileLock(runs / ".a.lock"), FileLock(runs / ".b.lock"):
        with pytest.raises(RunError, match="a is being written by another process"):
            removable(["a"])
        with pytest.raises(RunError, match="b is being written by another process"):
            remove(chosen)
    assert (runs / "b" / "manifest.json").is_file()


def test_what_was_interrupted_goes(runs):
    for name, file in (("a", "run.toml"), ("b", None)):
        partial_folder(runs / name).mkdir()
        (runs / f".{name}.lock").touch()
        if file:
            (partial_folder(runs / name) / file).touch()
    (partial_folder(runs / "c") / "lenet5").mkdir(parents=True)
    (partial_folder(runs / "c") / "lenet5" / "manifest.json").touch()
    (partial_folder(runs / "d")).mkdir()
    (partial_folder(runs / "d") / "letters.txt").touch()
    chosen = removable(["a", "runs/b", "c"])
    assert [one.what for one in chosen] == ["interrupted run", "interrupted run", "interrupted comparison"]
    remove(chosen)
    assert listing(runs) == [".d.partial"]
    with pytest.raises(RunError, match="no run 'd'"):
        removable(["d"])


def test_a_damaged_run_goes(tiny_run, runs):
    (make(tiny_run, runs / "a") / "manifest.json").unlink()
    (make(tiny_run, runs / "b") / "manifest.json").write_text("{" * 10)
    remove(removable(["a", "b"]))
    assert listing(runs) == []


def test_a_comparison_goes_as_a_whole(tiny_run, runs):
    (runs / "side").mkdir()
    (runs / "side" / "comparison.json").write_text("{}")
    for name in ("lenet5", "vgg16"):
        make(tiny_run, runs / "side" / name)
    with pytest.raises(RunError, match="part of the comparison runs/side: remove that as a whole"):
        removable(["side/lenet5"])
    (chosen,) = removable(["side"])
    assert chosen.what == "comparison of 2 runs"
    remove([chosen])
    assert listing(runs) == []


def test_a_removal_that_was_killed_is_ended(tiny_run, runs, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    make(tiny_run, runs / "a")
    chosen = removable(["a"])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(chosen)
    assert listing(runs) == [".a.removed"]
    (chosen,) = removable(["a"])
    assert chosen.what == "half-removed run"
    remove([chosen])
    assert listing(runs) == []


def test_a_folder_that_cannot_be_changed(tiny_run, runs, monkeypatch):
    def denied(*paths):
        raise PermissionError(13, "Permission denied")

    make(tiny_run, runs / "a")
    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(StorageError, match="a cannot be removed whole"):
        remove(removable(["a"]))


def test_the_best_of_each_data_set_stay(tiny_run, runs):
    for name, data, share, day in (
        ("a", "pets", 0.5, 1),
        ("b", "pets", 0.75, 2),
        ("c", "pets", 0.75, 3),
        ("d", "cars", 0.1, 4),
    ):
        made = f"2026-01-0{day}T00:00:00+00:00"
        make(tiny_run, runs / name, data__name=data, metrics__validation=accuracy(share), created=made)
    (make(tiny_run, runs / "e") / "head.npz").unlink()

    def goes(*given):
        return sorted(one.folder.name for one in all_but_best(*given))

    assert goes(1) == ["a", "b"]
    assert goes(2) == ["a"]
    assert goes(1, ["a", "b"]) == ["a"]
    assert goes(3) == []
    with pytest.raises(UsageError, match="--keep-best 0"):
        all_but_best(0)
