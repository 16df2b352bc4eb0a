"""A run's folder appears complete or not at all and can be resumed; its history is read back."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.runs import RATE, write_tuned_run
from tl.errors import RunError, StorageError
from tl.learning.loop import RangeTest
from tl.runs.folder import CHECKPOINT, claim_folder, find_interrupted, find_run, is_taken, partial_folder, read_history


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty working directory."""
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


def test_claimed_folder_appears_when_it_is_complete(run):
    with claim_folder(run) as scratch:
        (scratch / "x").touch()
        assert not run.exists()
        assert is_taken(run)
    assert (run / "x").exists()
    assert is_taken(run)
    assert not partial_folder(run).exists()
    assert (run.parent / "latest" / "x").exists()
    assert sorted(path.name for path in run.parent.iterdir()) == ["a", "latest"]


def test_folder_written_by_another_process_is_refused(run):
    with (
        claim_folder(run),
        pytest.raises(RunError, match="a is being written by another process: wait"),
        claim_folder(run),
    ):
        pass


def test_existing_folder_is_refused(run):
    with claim_folder(run):
        pass
    for resume in (False, True):
        with (
            pytest.raises(RunError, match="a exists already: give another name with --out"),
            claim_folder(run, resume=resume),
        ):
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
    with claim_folder(run, resume=True) as scratch:
        assert scratch == partial_folder(run)
        assert (scratch / CHECKPOINT).exists()
        (scratch / CHECKPOINT).unlink()
    assert [path.name for path in run.iterdir()] == ["run.toml"]
    assert not partial_folder(run).exists()
    assert os.readlink(run.parent / "latest") == "a"


def test_second_interruption_keeps_the_checkpoint(run):
    interrupt(run, "run.toml", CHECKPOINT)
    with pytest.raises(ZeroDivisionError), claim_folder(run, resume=True):
        1 / 0  # noqa: B018
    assert (partial_folder(run) / CHECKPOINT).exists()


def test_remains_of_a_killed_process_are_cleared(run):
    partial_folder(run).mkdir(parents=True)
    (partial_folder(run) / "half-written").touch()
    (run.parent / ".a.lock").touch()  # nobody holds it
    with claim_folder(run) as scratch:
        assert list(scratch.iterdir()) == []
    assert list(run.iterdir()) == []


def test_unwritable_folder_is_named(home):
    (home / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/a cannot be written: .*give another --out"),
        claim_folder(home / "file/a"),
    ):
        pass


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


def test_find_interrupted_by_path(home):
    interrupt(home / "elsewhere" / "x.y", "run.toml", CHECKPOINT)
    assert find_interrupted(home / "elsewhere" / "x.y") == home / "elsewhere" / "x.y"
    with pytest.raises(RunError, match="no interrupted run 'x.y' here or in runs/: start it without --resume"):
        find_interrupted("x.y")


def test_complete_run_is_not_interrupted(run):
    with claim_folder(run) as scratch:
        (scratch / "run.toml").touch()
    with pytest.raises(RunError, match="no interrupted run 'a'"):
        find_interrupted("a")


def test_find_run_ignores_interrupted_runs(run):
    interrupt(run, "run.toml", "manifest.json", CHECKPOINT)
    with pytest.raises(RunError, match=r"no run in .*runs: train one with"):
        find_run(None)
    with pytest.raises(RunError, match="no run 'a'"):
        find_run("a")


def change(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["metrics"]["fine-tuning"] |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_read_history(tmp_path: Path):
    tested = RangeTest((1e-7, 1e-5, 1e-3), (1.0, 0.5, 3.0), 1e-6)
    history = read_history(write_tuned_run(tmp_path / "run", 5, test=tested, kept=False, stopped="the time is up"))
    assert history is not None
    assert history.name == "run"
    assert history.epochs["step"].tolist() == [12, 24, 36, 48, 60]
    assert history.ends.tolist() == [1, 2, 3, 4, 5]
    assert (history.best, history.best_epoch) == (2, 3)
    assert history.test is not None
    assert history.test["loss"].tolist() == [1.0, 0.5, 3.0]
    figures = "accuracy 95.0% to 98.0%, log loss 0.200 to 0.100 on 102 images"
    assert history.verdict == f"No better on validation, so only the head is kept: {figures}"
    plan = "Trained: the last stage of the backbone, 60 steps of 32 images, adamw, augmentation light"
    assert history.plan == f"{plan}; stopped early: the time is up"
    kept = read_history(write_tuned_run(tmp_path / "kept", 1))
    assert kept is not None
    assert kept.verdict == f"The tuned network is kept: {figures}"


def test_history_without_held_out_images_has_no_best_epoch(tmp_path: Path):
    history = read_history(write_tuned_run(tmp_path / "run", 3, held_out=False))
    assert history is not None
    assert history.best is None
    assert np.isnan(history.epochs["held_out_top1"]).all()


@pytest.mark.parametrize("choice", [{}, {"planned": 9}, {"planned": 9, "last_step": 31}])
def test_schedule_matches_the_recorded_rates(tmp_path: Path, choice: dict[str, int]):
    """Of a whole training, one stopped early, and one that a budget made shorter, whose rate came down to 0."""
    history = read_history(write_tuned_run(tmp_path / "run", 3, **choice))
    assert history is not None
    planned = history.schedule()
    assert planned is not None
    epochs, rates = planned
    assert epochs[-1] == history.ends[-1] == choice.get("last_step", 36) / 12
    assert rates.max() == pytest.approx(RATE, rel=0.02)
    assert np.interp(history.ends, epochs, rates) == pytest.approx(history.epochs["learning_rate"])
    assert (rates[-1] == 0) == (choice != {"planned": 9})


def test_long_schedule_is_thinned(tmp_path: Path):
    history = read_history(write_tuned_run(tmp_path / "run", 300, per_epoch=100))
    assert history is not None
    planned = history.schedule()
    assert planned is not None
    assert len(planned[0]) == 2000
    assert planned[0][-1] == 300


def test_schedule_is_none_for_other_rates(tmp_path: Path):
    folder = write_tuned_run(tmp_path / "run", 3)
    text = (folder / "history.csv").read_text().splitlines()
    cells = text[2].split(",")
    (folder / "history.csv").write_text("\n".join([*text[:2], ",".join([*cells[:2], "1.5e-4", *cells[3:]]), text[3]]))
    history = read_history(folder)
    assert history is not None
    assert history.schedule() is None


def test_no_fine_tuning_has_no_history(tmp_path: Path):
    assert read_history(tmp_path) is None
    head_only = write_tuned_run(tmp_path / "head", 2)
    (head_only / "manifest.json").write_text('{"metrics": {"validation": {}}}')
    assert read_history(head_only) is None
    assert read_history(write_tuned_run(tmp_path / "diverged-at-once", 0, stopped="step 1 diverged")) is None


def test_range_test_without_rows_is_none(tmp_path: Path):
    history = read_history(write_tuned_run(tmp_path / "run", 2, test=RangeTest((), (), 1e-7)))
    assert history is not None
    assert history.test is None


HEADER = "epoch,step,learning_rate,loss,held_out_log_loss,held_out_top1,seconds\n"


@pytest.mark.parametrize(
    "table",
    [
        "strength,held_out_log_loss\n1,2\n",
        HEADER + "1,12,1e-4,one,nan,nan,1\n",
        HEADER + "0,0,1e-4,1,nan,nan,1\n",
        HEADER + "1,nan,1e-4,1,nan,nan,1\n",
        HEADER + "1,12,1e-4,1,nan,nan,1\n2,12,1e-4,1,nan,nan,1\n",
        HEADER + "1,12\n",
        HEADER + "\xff\x00",
        HEADER + "1,12,1e-4,1,nan,nan," + "9" * 10_000_000,
    ],
)
def test_damaged_history_is_named(tmp_path: Path, table: str):
    folder = write_tuned_run(tmp_path / "run", 2)
    (folder / "history.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(RunError, match=r"run is damaged \(its history cannot be read.*: train it again") as caught:
        read_history(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "damage",
    [
        {"rule": {}},
        {"rule": {"learning_rate": -1, "warmup": 0.1, "epochs": 1, "batch": 1, "optimizer": "", "augment": ""}},
        {"unfreeze": "everything"},
        {"tuned": []},
        {"steps": "many"},
    ],
)
def test_damaged_fine_tuning_in_the_manifest_is_named(tmp_path: Path, damage: dict[str, Any]):
    folder = write_tuned_run(tmp_path / "run", 2)
    change(folder, **damage)
    with pytest.raises(RunError, match="is damaged"):
        read_history(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": 1}', "[" * 100_000])
def test_damaged_manifest_is_named(tmp_path: Path, text: str):
    folder = write_tuned_run(tmp_path / "run", 2)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        read_history(folder)


def test_infinite_losses_are_gaps(tmp_path: Path):
    folder = write_tuned_run(tmp_path / "run", 2)
    (folder / "history.csv").write_text(HEADER + "1,12,1e-4,inf,nan,nan,1\n2,24,1e-4,0.5,inf,1,1\n")
    history = read_history(folder)
    assert history is not None
    assert np.isnan(history.epochs["loss"]).tolist() == [True, False]
    assert history.best is None
