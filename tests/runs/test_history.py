"""A run's history as its files hold it: when nothing was held out, cut short, empty, damaged."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl.errors import RunError
from tl.learning.loop import Epoch, RangeTest, schedule
from tl.runs.records import write_history
from tl.views.terminal.runs import read

RATE, WARMUP = 2e-4, 0.1


def write_run(
    folder: Path,
    epochs: int,
    *,
    planned: int | None = None,
    per_epoch: int = 12,
    held_out: bool = True,
    test: RangeTest | None = None,
    kept: bool = True,
    last_step: int | None = None,
    stopped: str = "",
    spread: float = 8.0,
) -> Path:
    """The files of a fine-tuned run, as a run writes them: losses falling by `spread`, the best in the middle."""
    folder.mkdir(parents=True)
    total = last_step or per_epoch * (planned or epochs)
    rows = []
    for epoch in range(1, epochs + 1):
        step = min(epoch * per_epoch, total)
        best = -(-epochs // 2)
        loss, top1 = 0.2 + 0.1 * abs(epoch - best) / epochs, 0.9 + 0.05 * epoch / epochs
        held = (loss, top1) if held_out else (math.nan, math.nan)
        rate = RATE * schedule(step - 1, total, WARMUP)
        rows.append(Epoch(epoch, step, rate, spread ** (-epoch / epochs), *held, 3.0 * epoch))
    write_history(folder, rows, test)
    manifest = {"metrics": {"fine-tuning": about(planned or epochs, total, kept, stopped)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def about(epochs: int, steps: int, kept: bool, stopped: str) -> dict[str, Any]:
    rule = {"optimizer": "adamw", "learning_rate": RATE, "warmup": WARMUP, "batch": 32, "epochs": epochs}
    return {
        "kept": kept,
        "unfreeze": "last",
        "head_only": {"validation": {"top1": 0.95, "log_loss": 0.2, "count": 102}},
        "tuned": {"validation": {"top1": 0.98, "log_loss": 0.1, "count": 102}},
        "rule": rule | {"augment": "light"},
        "steps": steps,
        "stopped": stopped,
    }


def change(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["metrics"]["fine-tuning"] |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_read(tmp_path: Path):
    tested = RangeTest((1e-7, 1e-5, 1e-3), (1.0, 0.5, 3.0), 1e-6)
    history = read(write_run(tmp_path / "run", 5, test=tested, kept=False, stopped="the time is up"))
    assert history is not None
    assert history.name == "run"
    assert history.epochs["step"].tolist() == [12, 24, 36, 48, 60]
    assert history.ends.tolist() == [1, 2, 3, 4, 5]
    assert (history.best, history.best_epoch) == (2, 3)
    assert history.test is not None
    assert history.test["loss"].tolist() == [1.0, 0.5, 3.0]
    figures = "top-1 95.0 to 98.0 %, log-loss 0.200 to 0.100 on 102 photos"
    assert history.verdict == f"No more right on validation, so the head alone is kept: {figures}"
    plan = "Trained: the last stage of the backbone, 60 steps of 32 photos, adamw, augmentation light"
    assert history.plan == f"{plan}; stopped early: the time is up"
    kept = read(write_run(tmp_path / "kept", 1))
    assert kept is not None
    assert kept.verdict == f"The tuned network is kept: {figures}"


def test_nothing_held_out_is_no_best_epoch(tmp_path: Path):
    history = read(write_run(tmp_path / "run", 3, held_out=False))
    assert history is not None
    assert history.best is None
    assert np.isnan(history.epochs["held_out_top1"]).all()


@pytest.mark.parametrize("choice", [{}, {"planned": 9}, {"planned": 9, "last_step": 31}])
def test_the_schedule_goes_through_what_was_recorded(tmp_path: Path, choice: dict[str, int]):
    """Of a whole training, one stopped early, and one that a budget made shorter, whose rate came down to 0."""
    history = read(write_run(tmp_path / "run", 3, **choice))
    assert history is not None
    planned = history.schedule()
    assert planned is not None
    epochs, rates = planned
    assert epochs[-1] == history.ends[-1] == choice.get("last_step", 36) / 12
    assert rates.max() == pytest.approx(RATE, rel=0.02)
    assert np.interp(history.ends, epochs, rates) == pytest.approx(history.epochs["learning_rate"])
    assert (rates[-1] == 0) == (choice != {"planned": 9})


def test_a_long_schedule_is_thinned(tmp_path: Path):
    history = read(write_run(tmp_path / "run", 300, per_epoch=100))
    assert history is not None
    planned = history.schedule()
    assert planned is not None
    assert len(planned[0]) == 2000
    assert planned[0][-1] == 300


def test_another_schedule_is_not_made_up(tmp_path: Path):
    folder = write_run(tmp_path / "run", 3)
    text = (folder / "history.csv").read_text().splitlines()
    cells = text[2].split(",")
    (folder / "history.csv").write_text("\n".join([*text[:2], ",".join([*cells[:2], "1.5e-4", *cells[3:]]), text[3]]))
    history = read(folder)
    assert history is not None
    assert history.schedule() is None


def test_nothing_fine_tuned_is_no_history(tmp_path: Path):
    assert read(tmp_path) is None
    head_only = write_run(tmp_path / "head", 2)
    (head_only / "manifest.json").write_text('{"metrics": {"validation": {}}}')
    assert read(head_only) is None
    assert read(write_run(tmp_path / "diverged-at-once", 0, stopped="step 1 diverged")) is None


def test_a_range_test_that_diverged_at_once_is_none(tmp_path: Path):
    history = read(write_run(tmp_path / "run", 2, test=RangeTest((), (), 1e-7)))
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
def test_a_damaged_table_is_named(tmp_path: Path, table: str):
    folder = write_run(tmp_path / "run", 2)
    (folder / "history.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(RunError, match=r"run is damaged, its history cannot be read .*: make it again") as caught:
        read(folder)
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
def test_a_damaged_manifest_is_named(tmp_path: Path, damage: dict[str, Any]):
    folder = write_run(tmp_path / "run", 2)
    change(folder, **damage)
    with pytest.raises(RunError, match="is damaged"):
        read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metrics": 1}', "[" * 100_000])
def test_a_manifest_that_is_none(tmp_path: Path, text: str):
    folder = write_run(tmp_path / "run", 2)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        read(folder)


def test_infinite_losses_are_gaps(tmp_path: Path):
    folder = write_run(tmp_path / "run", 2)
    (folder / "history.csv").write_text(HEADER + "1,12,1e-4,inf,nan,nan,1\n2,24,1e-4,0.5,inf,1,1\n")
    history = read(folder)
    assert history is not None
    assert np.isnan(history.epochs["loss"]).tolist() == [True, False]
    assert history.best is None
