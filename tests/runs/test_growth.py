"""Runs that grow: their photos and new ones, copies and labels, missing photos, and which answers change."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tl as library
from support.data_sets import photo, write
from support.recorder import Recorder
from support.runs import change_run, pin, read_csv
from support.session import TINY, draw_shapes
from tl.commands.main import cli
from tl.errors import DataError, RunError, UsageError
from tl.runs.finetune_options import read_options
from tl.runs.photos import RunImages
from tl.runs.run import Run, load_run
from tl.workflows.grid import grid


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on 8 photos a class, trained in a folder of its own, where it is called first/."""
    monkeypatch.chdir(tmp_path)
    draw_shapes(Path("first"), 8, seed=3)
    return library.finetune("first", backbone=TINY, weights="none", unknown_rate=0.05, seed=4, out="runs/first")


def labels_of(run: Run) -> dict[str, str]:
    return {row["path"]: row["label"] for row in read_csv(run.folder / "split.csv")}


def test_run_grows_by_photos_and_classes(first, tmp_path):
    draw_shapes(Path("more"), 11, seed=3)  # of each class the same 8, and 3 more under the same names as others
    for at in range(8):
        Path(f"more/noise/{at:02}.png").rename(f"more/noise/renamed{at}.png")
    for at in (8, 9, 10):
        Path(f"more/stripes/{at:02}.png").rename(f"more/stripes/{at - 8:02}.png")
    write(Path("more"), {f"blank/{at}.png": photo(at) for at in range(6)})
    recorder = Recorder()
    run = library.finetune("more", from_run=first, out="runs/second", progress=recorder)
    assert run.classes == ("blank", "noise", "stripes")
    assert run.backbone == first.backbone
    labels = labels_of(run)
    assert [list(labels.values()).count(name) for name in run.classes] == [6, 11, 11]
    assert {"stripes/00.png", "more/stripes/00.png", "noise/00.png", "noise/08.png"} < labels.keys()
    options = read_options(run.folder / "run.toml")
    assert (options["seed"], options["unknown_rate"], options["weights"]) == (4, 0.05, "none")
    assert options["from_run"] == "runs/first"
    about = run.manifest["from"]
    assert (about["run"], about["photos"], about["missing"], about["added"]) == ("first", 16, 0, 12)
    assert about["data"] == ["first", "more"]
    features = next(line for line in recorder.lines if line.startswith("features"))
    assert "16 from the cache, 12 computed" in features


def test_options_that_are_not_those_of_the_training_are_not_inherited(first):
    path = first.folder / "run.toml"
    path.write_text(path.read_text().replace("seed = 4", "seed = 5"))
    with pytest.raises(RunError, match=r"run\.toml is not the file that was written"):
        library.finetune("first", from_run=first, out="runs/second")


def test_grown_run_finds_the_photos_of_both_places(first):
    draw_shapes(Path("more"), 10, seed=9)
    run = library.finetune("more", from_run="first", out="runs/second")
    again = library.finetune(write(Path("third"), {"blank/1.png": photo(1)}), from_run=run, out="runs/third")
    assert again.manifest["from"]["data"] == ["first", "more", "third"]
    assert again.manifest["data"]["per_class"] == {"blank": 1, "noise": 18, "stripes": 18}
    images, missing = RunImages(again, None, Recorder()).everything()
    assert (len(images), missing) == (37, 0)
    assert grid(run="runs/third").total == 36  # the photo alone in its class has no answer
    report = library.report("runs/third").read_text()
    assert "data:image" in report
    assert "first + more + third</h1>" in report
    assert "first, more, third" in report
    assert "not found" not in report


def test_changes_lists_the_answers_that_differ(first, monkeypatch):
    """Half of the old answers are made wrong, so that the new run changes them."""
    path = first.folder / "predictions.csv"
    rows = read_csv(path)
    for at, row in enumerate(rows):
        row["predicted"] = row["label"] if at % 2 else "gone"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    pin(first.folder)
    recorder = Recorder()
    run = library.finetune(
        write(Path("more"), {"noise/new.png": photo(5)}), from_run=first, out="runs/second", progress=recorder
    )
    after = {row["path"]: row for row in read_csv(run.folder / "predictions.csv")}
    expected = [
        {"path": row["path"], "label": row["label"], "before": "gone", "after": after[row["path"]]["predicted"]}
        for row in rows[::2]
    ]
    changes = read_csv(run.folder / "changes.csv")
    assert [row for row in changes if row["before"] == "gone"] == expected
    about = run.manifest["from"]
    right = [after[row["path"]]["predicted"] == row["label"] for row in rows]
    assert about["changed"] == len(changes)
    assert about["accuracy"] == [0.5, pytest.approx(np.mean(right))]
    assert about["comparison"]["gained"] == sum(right[::2])
    assert about["comparison"]["count"] == 16
    line = next(line for line in recorder.lines if line.startswith("changes"))
    assert f"{len(changes)} of 16 photos of first change: {sum(right[::2])} to right, " in line


def test_label_of_the_new_data_counts(first):
    Path("more/stripes").mkdir(parents=True)
    shutil.copy("first/noise/03.png", "more/stripes/corrected.png")
    recorder = Recorder()
    run = library.finetune("more", from_run=first, out="runs/second", progress=recorder)
    labels = labels_of(run)
    assert len(labels) == 16
    assert labels["stripes/corrected.png"] == "stripes"
    assert "noise/03.png" not in labels
    assert "1 photo of first has another label in more: that one counts" in " ".join(recorder.lines)


def test_missing_photos_are_left_out_with_a_warning_or_refused(first):
    more = write(Path("more"), {"noise/new.png": photo(5), "stripes/new.png": photo(6)})
    for at in range(5):
        Path(f"first/noise/{at:02}.png").unlink()
    Path("first/stripes/00.png").write_bytes(Path("first/stripes/01.png").read_bytes())
    recorder = Recorder()
    run = library.finetune(more, from_run=first, out="runs/second", progress=recorder)
    assert "6 photos of first are missing or have changed: trained without" in " ".join(recorder.lines)
    assert run.manifest["from"]["missing"] == 6
    assert len(labels_of(run)) == 12
    for at in (5, 6):
        Path(f"first/noise/{at:02}.png").unlink()
    for at in (2, 3):
        Path(f"first/stripes/{at:02}.png").unlink()
    with pytest.raises(DataError, match="10 of the 16 photos of first are missing or changed: put them back, or train"):
        library.finetune(more, from_run=first, out="runs/third")
    shutil.rmtree("first")
    with pytest.raises(DataError, match="16 of the 16 photos"):
        library.finetune(more, from_run=first, out="runs/third")
    assert not Path("runs/third").exists()


def test_photos_that_moved_into_the_new_data_are_not_missing(first):
    shutil.move("first/noise", "moved/noise")
    run = library.finetune("moved", from_run=first, out="runs/second")
    assert run.manifest["from"]["missing"] == 0
    assert sorted(labels_of(run)) == sorted(labels_of(first))


def test_class_without_photos_is_refused(first):
    shutil.rmtree("first/noise")
    with pytest.raises(DataError, match="all photos of 'noise' of first are missing"):
        library.finetune(write(Path("more"), {"blank/1.png": photo(5)}), from_run=first)


def test_data_without_labels_and_tuned_runs_are_refused(first):
    more = write(Path("more"), {"1.png": photo(5)})
    with pytest.raises(DataError, match="more has no labels: put its images into one folder a class"):
        library.finetune(more, from_run=first)
    change_run(first.folder, **{"files__trunk.weights.h5": "0", "options__unfreeze": "half"})
    with pytest.raises(RunError, match="first trained its backbone.*`tl finetune DATA --unfreeze half`"):
        library.finetune(more, from_run="first")


def test_typed_options_count_more_than_those_of_the_run(first):
    write(Path("more"), {"noise/new.png": photo(5), "stripes/new.png": photo(6)})
    done = CliRunner().invoke(
        cli, ["finetune", "more", "--from", "first", "--seed", "0", "--head", "mean", "--out", "runs/second"]
    )
    assert done.exit_code == 0, done.output
    options = read_options(Path("runs/second/run.toml"))
    assert (options["seed"], options["head"], options["unknown_rate"]) == (0, "mean", 0.05)
    assert "changes     " in done.output
    assert "data        first + more: 18 images, 2 classes (noise 9, stripes 9)\n" in done.output
    assert "16 photos of first, 2 added\n" in done.output


def test_groups_of_both_places_stay_on_one_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_shapes(Path("first"), 12, seed=1)
    run = library.finetune("first", backbone=TINY, weights="none", val=0.25, group_by=r"(\d)\.png", out="runs/first")
    draw_shapes(Path("more"), 14, seed=2)
    shutil.rmtree("more/noise")
    more = library.finetune("more", from_run=run, out="runs/second")
    sides = {(row["path"][-5], row["split"]) for row in read_csv(more.folder / "split.csv")}
    assert len(sides) == 10
    assert len(labels_of(more)) == 38
    assert load_run("second").manifest["from"]["run"] == "first"


def test_run_grouped_by_a_column_grows_from_a_folder_that_has_groups(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_shapes(Path("first"), 6, seed=1)
    rows = [f"{path},{path.parent.name},p{int(path.stem) % 3}" for path in sorted(Path("first").rglob("*.png"))]
    Path("first.csv").write_text("\n".join(["path,label,patient", *rows]))
    library.finetune("first.csv", backbone=TINY, weights="none", group_by="patient", out="runs/first")
    more = write(Path("more"), {f"noise/p{at}_{of}.png": photo(10 * at + of) for at in (3, 4) for of in (0, 1)})
    message = "'patient' is a column, but 'more' is not a table: give a place .*; the photos of first keep the groups"
    with pytest.raises(UsageError, match=message):
        library.finetune(more, from_run="first", out="runs/second")
    library.finetune(more, from_run="first", group_by=r"(p\d)_", out="runs/second")
    recorder = Recorder()
    run = library.finetune(
        write(Path("third"), {"noise/1.png": photo(1)}), from_run="second", out="runs/third", progress=recorder
    )
    assert "finds no group in third: each of its photos stands alone" in " ".join(recorder.lines)
    groups = {row["path"]: row["group"] for row in read_csv(run.folder / "split.csv")}
    assert (len(groups), set(groups.values())) == (17, {"p0", "p1", "p2", "p3", "p4", ""})
    assert (groups["first/noise/04.png"], groups["noise/p3_1.png"], groups["noise/1.png"]) == ("p1", "p3", "")
