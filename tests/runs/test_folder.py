"""A run's folder is claimed, appears whole or not at all, and can go on after an interruption."""

import os
import time

import pytest

from tl.errors import RunError, StorageError
from tl.runs.folder import CHECKPOINT, claim_folder, find_interrupted, find_run, is_taken, partial_folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder that is the present one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home):
    return home / "runs" / "a"


def interrupt(run, *files):
    """Leave a run as an exception in the middle of its training leaves it, with these files written."""
    with pytest.raises(KeyboardInterrupt):
        write_until_interrupted(run, files)


def write_until_interrupted(run, files):
    with claim_folder(run) as scratch:
        for name in files:
            (scratch / name).write_text(name)
        raise KeyboardInterrupt


def test_a_folder_appears_only_when_it_is_done(run):
    with claim_folder(run) as scratch:
        (scratch / "x").touch()
        assert not run.exists()
        assert is_taken(run)
    assert (run / "x").exists()
    assert is_taken(run)
    assert not partial_folder(run).exists()
    assert (run.parent / "latest" / "x").exists()
    assert sorted(path.name for path in run.parent.iterdir()) == ["a", "latest"]


def test_a_folder_that_another_writes_is_refused(run):
    with (
        claim_folder(run),
        pytest.raises(RunError, match="a is being written by another process: wait"),
        claim_folder(run),
    ):
        pass


def test_a_run_that_exists_is_refused(run):
    with claim_folder(run):
        pass
    for resume in (False, True):
        with (
            pytest.raises(RunError, match="a exists already: give another name with --out"),
            claim_folder(run, resume=resume),
        ):
            pass


def test_without_a_checkpoint_nothing_is_left(run):
    interrupt(run, "run.toml", "head.npz")
    assert list(run.parent.iterdir()) == []
    assert not is_taken(run)


def test_a_checkpoint_is_kept_and_not_overwritten(run):
    interrupt(run, "run.toml", CHECKPOINT)
    assert not run.exists()
    assert (partial_folder(run) / CHECKPOINT).read_text() == CHECKPOINT
    assert is_taken(run)
    way_on = r"a was interrupted while it trained: go on with `tl finetune --resume --out .*a`, or remove .*partial"
    with pytest.raises(RunError, match=way_on), claim_folder(run):
        pass
    assert (partial_folder(run) / CHECKPOINT).read_text() == CHECKPOINT
    assert (partial_folder(run) / "run.toml").exists()
    assert not list(run.parent.glob("*.lock"))  # once the user has removed the partial run, the name is free


def test_a_checkpoint_is_gone_on_from(run):
    interrupt(run, "run.toml", CHECKPOINT)
    with claim_folder(run, resume=True) as scratch:
        assert scratch == partial_folder(run)
        assert (scratch / CHECKPOINT).exists()
        (scratch / CHECKPOINT).unlink()
    assert [path.name for path in run.iterdir()] == ["run.toml"]
    assert not partial_folder(run).exists()
    assert os.readlink(run.parent / "latest") == "a"


def test_a_second_interruption_keeps_the_checkpoint_again(run):
    interrupt(run, "run.toml", CHECKPOINT)
    with pytest.raises(ZeroDivisionError), claim_folder(run, resume=True):
        1 / 0  # noqa: B018
    assert (partial_folder(run) / CHECKPOINT).exists()


def test_what_a_killed_process_left_without_a_checkpoint_is_cleared(run):
    partial_folder(run).mkdir(parents=True)
    (partial_folder(run) / "half-written").touch()
    (run.parent / ".a.lock").touch()  # nobody holds it
    with claim_folder(run) as scratch:
        assert list(scratch.iterdir()) == []
    assert list(run.iterdir()) == []


def test_an_unwritable_place_is_named(home):
    (home / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/a cannot be written: .*give another --out"),
        claim_folder(home / "file/a"),
    ):
        pass


def test_the_newest_interrupted_run_is_found(home, run):
    with pytest.raises(RunError, match=r"no interrupted run in .*runs: give its --out"):
        find_interrupted()
    for age, name in ((20, "b"), (10, "c"), (30, "a")):
        interrupt(run.with_name(name), "run.toml", CHECKPOINT)
        then = time.time() - age
        os.utime(partial_folder(run.with_name(name)) / "run.toml", (then, then))
    assert find_interrupted().resolve() == run.with_name("c")
    assert find_interrupted("a").resolve() == run
    assert find_interrupted(run) == run
    with claim_folder(run.with_name("c"), resume=True) as scratch:
        (scratch / CHECKPOINT).unlink()
    assert find_interrupted().resolve() == run.with_name("b")


def test_an_interrupted_run_elsewhere_is_found_by_its_folder(home):
    interrupt(home / "elsewhere" / "x.y", "run.toml", CHECKPOINT)
    assert find_interrupted(home / "elsewhere" / "x.y") == home / "elsewhere" / "x.y"
    with pytest.raises(RunError, match="no interrupted run 'x.y' here or in runs/: start it without --resume"):
        find_interrupted("x.y")


def test_a_complete_run_is_no_interrupted_one(run):
    with claim_folder(run) as scratch:
        (scratch / "run.toml").touch()
    with pytest.raises(RunError, match="no interrupted run 'a'"):
        find_interrupted("a")


def test_an_interrupted_run_is_no_run_to_predict_with(run):
    interrupt(run, "run.toml", "manifest.json", CHECKPOINT)
    with pytest.raises(RunError, match=r"no run in .*runs: make one with"):
        find_run(None)
    with pytest.raises(RunError, match="no run 'a'"):
        find_run("a")
