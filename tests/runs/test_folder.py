"""A run's folder appears complete or not at all and can be resumed; its history is read back."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from support.runs import RATE, fine_tuning, write_tuned_run
from tl.errors import RunError, StorageError
from tl.learning.loop import Epoch, RangeTest
from tl.runs.folder import (
    CHECKPOINT,
    History,
    claim_folder,
    find_interrupted,
    find_run,
    history_of,
    is_taken,
    partial_folder,
    read_history,
    write_history,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home):
    return home / "runs" / "a"


def interrupt(run, *files, resume=False):
    """Leave a run as an exception in the middle of its training leaves it, with these files written."""
    with suppress(KeyboardInterrupt), claim_folder(run, resume=resume) as scratch:
        for name in files:
            (scratch / name).write_text(name)
        raise KeyboardInterrupt


def test_claimed_folder_appears_when_it_is_complete(run):
    with claim_folder(run) as scratch:
        (scratch / "x").touch()
        assert not run.exists()
        assert is_taken(run)
        with pytest.raises(RunError, match="a is being written by another process: wait"), claim_folder(run):
            pass
    assert (run / "x").exists()
    assert is_taken(run)
    assert not partial_folder(run).exists()
    assert (run.parent / "latest" / "x").exists()
    assert sorted(path.name for path in run.parent.iterdir()) == ["a", "latest"]
    for resume in (False, True):
        taken = pytest.raises(RunError, match="a exists already: give another name with --out")
        with taken, claim_folder(run, resume=resume):
            pass
    unwritable = pytest.raises(StorageError, match=r"x/a cannot be written: .*give another --out")
    with unwritable, claim_folder(run / "x" / "a"):
        pass


def test_interruption_without_checkpoint_leaves_nothing(run):
    interrupt(run, "run.toml", "head.npz")
    assert list(run.parent.iterdir()) == []
    assert not is_taken(run)


def test_checkpoint_is_kept_and_not_overwritten(run):
    interrupt(run, "run.toml", CHECKPOINT)
    assert not run.exists()
    assert (partial_folder(run) / CHECKPOINT).read_text() == CHECKPOINT
    assert is_taken(run)
    way_on = r"a was interrupted while training: continue with `tl finetune --resume --out .*a`, or remove .*partial"
    with pytest.raises(RunError, match=way_on), claim_folder(run):
        pass
    assert (partial_folder(run) / CHECKPOINT).read_text() == CHECKPOINT
    assert (partial_folder(run) / "run.toml").exists()
    assert not list(run.parent.glob("*.lock"))  # once the user has removed the partial run, the name is free


def test_checkpoint_is_resumed(run):
    interrupt(run, "run.toml", CHECKPOINT)
    interrupt(run, resume=True)
    with claim_folder(run, resume=True) as scratch:
        assert scratch == partial_folder(run)
        assert (scratch / CHECKPOINT).exists()
        (scratch / CHECKPOINT).unlink()
    assert [path.name for path in run.iterdir()] == ["run.toml"]
    assert not partial_folder(run).exists()
    assert os.readlink(run.parent / "latest") == "a"


def test_remains_of_a_killed_process_are_cleared(run):
    partial_folder(run).mkdir(parents=True)
    (partial_folder(run) / "half-written").touch()
    (run.parent / ".a.lock").touch()  # nobody holds it
    with claim_folder(run) as scratch:
        assert list(scratch.iterdir()) == []
    assert list(run.iterdir()) == []


def test_find_interrupted_takes_the_newest(home, run):
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
    interrupt(home / "elsewhere" / "x.y", "run.toml", CHECKPOINT)
    assert find_interrupted(home / "elsewhere" / "x.y") == home / "elsewhere" / "x.y"
    for name in ("x.y", "c"):  # one elsewhere, and a complete one
        with pytest.raises(RunError, match=f"no interrupted run '{name}' here or in runs/: start it without --resume"):
            find_interrupted(name)


def test_find_run_ignores_interrupted_runs(run):
    interrupt(run, "run.toml", "manifest.json", CHECKPOINT)
    with pytest.raises(RunError, match=r"no run in .*runs: train one with"):
        find_run(None)
    with pytest.raises(RunError, match="no run 'a'"):
        find_run("a")


def read(folder: Path) -> History:
    history = read_history(folder)
    assert history is not None
    return history


def test_read_history(tmp_path: Path):
    tested = RangeTest((1e-7, 1e-5, 1e-3), (1.0, 0.5, 3.0), 1e-6)
    history = read(write_tuned_run(tmp_path / "run", 5, test=tested, kept=False, stopped="the time is up"))
    assert history.name == "run"
    assert history.epochs["step"].tolist() == [12, 24, 36, 48, 60]
    assert history.ends.tolist() == [1, 2, 3, 4, 5]
    assert (history.best, history.best_epoch) == (2, 3)
    assert history.test is not None
    assert history.test["loss"].tolist() == [1.0, 0.5, 3.0]
    figures = "accuracy 95.0% to 98.0%, log-loss 0.200 to 0.100 on 102 images"
    assert history.verdict == f"No better on validation, so only the head is kept: {figures}"
    plan = "Trained: the last stage of the backbone, 60 steps of 32 images, adamw, augmentation light"
    assert history.plan == f"{plan}; stopped early: the time is up"
    kept = read(write_tuned_run(tmp_path / "kept", 1, held_out=False, test=RangeTest((), (), 1e-7)))
    assert (kept.best, kept.test) == (None, None)
    assert np.isnan(kept.epochs["held_out_top1"]).all()
    assert kept.verdict == f"The tuned network is kept: {figures}"


@pytest.mark.parametrize("choice", [{}, {"planned": 9}, {"planned": 9, "last_step": 31}])
def test_schedule_matches_the_recorded_rates(tmp_path: Path, choice: dict[str, int]):
    """Of a whole training, one stopped early, and one that a budget made shorter, whose rate came down to 0."""
    history = read(write_tuned_run(tmp_path / "run", 3, **choice))
    planned = history.schedule()
    assert planned is not None
    epochs, rates = planned
    assert epochs[-1] == history.ends[-1] == choice.get("last_step", 36) / 12
    assert rates.max() == pytest.approx(RATE, rel=0.02)
    assert np.interp(history.ends, epochs, rates) == pytest.approx(history.epochs["learning_rate"])
    assert (rates[-1] == 0) == (choice != {"planned": 9})


def test_long_schedule_is_thinned(tmp_path: Path):
    planned = read(write_tuned_run(tmp_path / "run", 300, per_epoch=100)).schedule()
    assert planned is not None
    assert (len(planned[0]), planned[0][-1]) == (2000, 300)


HEADER = "epoch,step,learning_rate,loss,held_out_log_loss,held_out_top1,seconds\n"


def test_other_rates_have_no_schedule_and_infinite_losses_are_gaps(tmp_path: Path):
    folder = write_tuned_run(tmp_path / "run", 2)
    (folder / "history.csv").write_text(HEADER + "1,12,1e-4,inf,nan,nan,1\n2,24,1.5e-4,0.5,inf,1,1\n")
    history = read(folder)
    assert np.isnan(history.epochs["loss"]).tolist() == [True, False]
    assert (history.best, history.schedule()) == (None, None)


def test_history_of_a_training_is_the_one_in_its_folder(tmp_path: Path):
    folder = write_tuned_run(tmp_path / "run", 2)
    epochs = [Epoch(1, 12, 1e-4, np.inf, np.nan, np.nan, 1.0), Epoch(2, 24, 1.5e-4, 0.5, 0.4, 0.75, 1.0)]
    tested = RangeTest((1e-6, 1e-5), (1.0, 0.5), 1e-5)
    write_history(folder, epochs, tested)
    tuning = json.loads((folder / "manifest.json").read_text())["metrics"]["fine-tuning"]
    history, expected = vars(history_of("run", tuning, epochs, tested)), vars(read(folder))
    for table in ("epochs", "test"):
        ours, theirs = history.pop(table), expected.pop(table)
        for name, column in theirs.items():
            np.testing.assert_array_equal(ours[name], column)
    assert history == expected
    assert history_of("run", tuning, [], None) is None


def test_no_fine_tuning_has_no_history(tmp_path: Path):
    assert read_history(tmp_path) is None
    head_only = write_tuned_run(tmp_path / "head", 2)
    (head_only / "manifest.json").write_text('{"metrics": {"validation": {}}}')
    assert read_history(head_only) is None
    assert read_history(write_tuned_run(tmp_path / "diverged-at-once", 0, stopped="step 1 diverged")) is None


RULE = {"learning_rate": -1, "warmup": 0.1, "epochs": 1, "batch": 1, "optimizer": "", "augment": ""}
DAMAGES = ({"rule": {}}, {"rule": RULE}, {"unfreeze": "everything"}, {"tuned": []}, {"steps": "many"})
TUNED = fine_tuning(2, 24, kept=True, stopped="")


@pytest.mark.parametrize(("name", "text"), [
    ("history.csv", "strength,held_out_log_loss\n1,2\n"),
    ("history.csv", HEADER + "1,12,1e-4,one,nan,nan,1\n"),
    ("history.csv", HEADER + "0,0,1e-4,1,nan,nan,1\n"),
    ("history.csv", HEADER + "1,nan,1e-4,1,nan,nan,1\n"),
    ("history.csv", HEADER + "1,12,1e-4,1,nan,nan,1\n2,12,1e-4,1,nan,nan,1\n"),
    ("history.csv", HEADER + "1,12\n"),
    ("history.csv", HEADER + "\xff\x00"),
    ("history.csv", HEADER + "1,12,1e-4,1,nan,nan," + "9" * 10_000_000),
    *(("manifest.json", text) for text in ("", "[]", "{", '{"metrics": 1}', "[" * 100_000)),
    *(("manifest.json", json.dumps({"metrics": {"fine-tuning": TUNED | damage}})) for damage in DAMAGES),
])  # fmt: skip
def test_damaged_file_is_named(tmp_path: Path, name: str, text: str):
    folder = write_tuned_run(tmp_path / "run", 2)
    (folder / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"run is damaged \(its history cannot be read.*: train it again") as caught:
        read_history(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
