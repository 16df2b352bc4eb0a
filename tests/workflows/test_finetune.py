"""Tests of `tl finetune` and `tl.finetune`, with a tiny random network."""

import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl as library
import tl.workflows.finetune as workflow
from support.data_sets import photo, write
from support.recorder import Recorder
from support.runs import change_run, pin
from support.session import ROOT, TINY
from tl.data.dataset import Dataset
from tl.data.splits import Split
from tl.errors import DataError, RunError, UsageError
from tl.features.extract import Features
from tl.learning.head_fit import fit_head
from tl.networks.backbones import backbone
from tl.networks.weights import Weights
from tl.runs.catalogue import list_runs
from tl.runs.cross_validation import read_cross_validation
from tl.runs.finetune_options import FinetuneOptions, read_options
from tl.runs.run import load_run
from tl.views.terminal.evaluation import lines as evaluation_lines
from tl.views.terminal.runs import list_text, summary_text
from tl.workflows.finetune import log_data
from tl.workflows.finetune_backbone import Setup

WITH = ("--backbone", TINY, "--weights", "none")


def test_run_folder_is_complete(tiny_run):
    names = "grid.png head.npz manifest.json metrics.json predictions.csv report.html run.toml skipped.csv split.csv "
    names = names.replace("head.npz", "head.npz heads.csv") + "training_images.npz trunk.bin trunk.xml"
    assert sorted(path.name for path in tiny_run.iterdir()) == names.split()
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    assert (manifest["format"], manifest["classes"]) == (2, ["noise", "stripes"])
    assert manifest["data"]["split"] == {"train": 20, "validation": 4, "test": 0}
    assert manifest["weights"]["choice"] == "none"
    assert (tiny_run.parent / "latest").resolve() == tiny_run
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{TINY}-shapes", tiny_run.name)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_predictions_and_split_agree_with_the_metrics(tiny_run):
    rows = table(tiny_run / "predictions.csv")
    metrics = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert metrics["count"] == len(rows) == 4
    assert metrics["top1"] == sum(row["label"] == row["predicted"] for row in rows) / 4
    split = {row["path"]: row["split"] for row in table(tiny_run / "split.csv")}
    assert {row["path"] for row in rows} == {path for path, part in split.items() if part == "validation"}


def test_defaults_judge_every_image_by_heads_without_it(tl, validated_run, shapes, tmp_path):
    rows = table(validated_run / "predictions.csv")
    metrics = json.loads((validated_run / "metrics.json").read_text())["validation"]
    assert metrics["count"] == len(rows) == 24
    assert metrics["folds"] == 10
    assert {row["split"] for row in table(validated_run / "split.csv")} == {"train"}
    kept = read_cross_validation(load_run(validated_run))
    assert len(kept.row_of) == 24
    own = np.exp(kept.log_probabilities).max(axis=1)
    assert sorted(own) == pytest.approx(sorted(float(row["confidence"]) for row in rows), abs=2e-3)
    assert "Temperature scaling" not in (validated_run / "report.html").read_text()  # the weights calibrate
    # A label that is wrong is held against the image: the heads that judge it have not seen it.
    data = shutil.copytree(shapes, tmp_path / "data")
    shutil.move(data / "noise" / "00.png", data / "stripes" / "wrong.png")
    done = tl("finetune", data, *WITH, "--out", "run", cwd=tmp_path, expect=0)
    assert "accuracy    95.8%" in done.stdout
    wrong = [row["path"] for row in table(tmp_path / "run" / "predictions.csv") if row["label"] != row["predicted"]]
    assert wrong == ["stripes/wrong.png"]


def test_image_size_auto_keeps_the_size_with_the_lowest_log_loss(tmp_path, monkeypatch):
    draw, labels, names = np.random.default_rng(0), np.arange(40) % 2, tuple(f"{at}.png" for at in range(40))
    dataset = Dataset("photos", None, ("a", "b"), tuple(map(Path, names)), names, labels, (None,) * 40)
    values = {size: draw.normal(size=(40, 8)).astype(np.float32) for size in (224, 288, 336)}
    values[288][:, 0] += 6 * labels
    hashes = tuple(bytes([at]) for at in range(40))

    def compute(setup, _dataset):
        size = setup.backbone.recipe.image_size
        return Features(values[size], np.arange(40), hashes, {}, cached=0, seconds=60.0), None

    monkeypatch.setattr(workflow, "_compute", compute)
    about = {"fingerprints": hashes, "imagenet": None, "seed": 0}
    first = fit_head(values[224], labels, 2, **about)
    for budget, size, end in ((None, 288, "%)"), ("1m", 224, "; 288 left out for --budget")):
        recorder = Recorder()
        options = FinetuneOptions(image_size="auto", budget=budget)
        weights = Weights("imagenet", None, "", "")
        started = time.monotonic()
        setup = Setup(
            options, backbone("resnet50"), weights, tmp_path, "none", None, started=started, progress=recorder
        )
        features = compute(setup, dataset)[0]
        chosen, kept, head = workflow._choose_size(
            setup, dataset, np.arange(40), computed=(features, first), about=about
        )
        assert chosen.backbone.recipe.image_size == size
        assert kept.values is values[size]
        assert head.logits.shape == (40, 2)
        [line] = recorder.lines
        assert line.startswith(f"image size: auto: {size} pixels; log-loss (accuracy) of each, cross-validated: 224: ")
        assert line.endswith(end)


def test_image_size_auto_needs_pretrained_weights(shapes, tmp_path):
    with pytest.raises(UsageError, match="--image-size auto compares what pretrained weights see"):
        library.finetune(shapes, backbone=TINY, weights="none", image_size="auto", out=tmp_path / "run")


def test_figures_of_a_cross_validated_run_are_called_so(validated_run, shapes):
    run, recorder = load_run(validated_run), Recorder()
    assert "cross-validated accuracy" in repr(run)
    assert ">cross-validated accuracy</td>" in run._repr_html_()
    assert "cross-validated accuracy" in library.runs.show(validated_run)._repr_html_()
    evaluation = library.evaluate(run=validated_run, progress=recorder)
    assert "the 24 cross-validated images of " in " ".join(recorder.lines)
    assert "24 cross-validated images" in dict(evaluation_lines(evaluation))["accuracy"]
    assert "held_out='cross-validated'" in repr(evaluation)
    assert "24 cross-validated images of" in evaluation._repr_html_()
    assert " on its cross-validated images of " in library.grid(run=str(validated_run)).title
    listed = list_text(list_runs(validated_run.parent), validated_run.parent)
    assert "24 CV" in listed
    assert "CV: cross-validated." in " ".join(listed.split())
    assert "24 images, 10-fold cross-validation: " in " ".join(summary_text(library.runs.show(validated_run)).split())


def test_evaluate_and_grid_judge_training_images_by_heads_without_them(validated_run, shapes):
    run = load_run(validated_run)
    for data in (None, shapes):
        evaluation = library.evaluate(data, run=validated_run)
        assert evaluation.metrics.count == 24
        assert evaluation.metrics.folds == 10
        assert evaluation.metrics.log_loss == pytest.approx(run.metrics["validation"]["log_loss"], abs=2e-3)
        assert evaluation.trained_on == 0
        grid = library.grid(data, run=str(validated_run))
        assert (grid.labelled, grid.trained) == (24, 0)
        every = {round(float(row["confidence"]), 2) for row in table(validated_run / "predictions.csv")}
        assert {round(entry.prediction.confidence, 2) for entry in grid.shown} <= every


@pytest.mark.parametrize(
    "change",
    [
        {"log_probabilities": np.zeros((24, 3), np.float16)},
        {"log_probabilities": np.full((24, 2), np.nan, np.float16)},
        {"sha256": np.zeros((23, 32), np.uint8)},
        {"log_probabilities": np.full((24, 2), 5, np.float16)},
        {"folds": np.int64(1)},
        {"folds": np.int64(10**9)},
        {"is_unknown": np.zeros(10**6, bool)},
        {"sha256": np.array([{}])},
    ],
)
def test_damaged_cross_validation_is_refused(validated_run, tmp_path, change):
    folder = Path(shutil.copytree(validated_run, tmp_path / "run"))
    path = folder / "cross_validation.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | change)
    with pytest.raises(RunError, match=r"cross_validation.npz: it is not the file that was written"):
        read_cross_validation(load_run(folder))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()  # a hostile run has the right one
    change_run(folder, **{"files__cross_validation.npz": sha256})
    with pytest.raises(RunError, match=r"cross_validation.npz: (?!it is not the file)"):
        read_cross_validation(load_run(folder))
    path.unlink()
    with pytest.raises(RunError, match=r"cross_validation.npz: it is missing"):
        library.evaluate(run=folder)


@pytest.mark.parametrize(("group_by", "groups"), [(0, 2), ("0", 2), (-1, 12)])
def test_groups_may_be_a_number_in_python(shapes, tmp_path, group_by, groups):
    recorder = Recorder()
    options = {"backbone": TINY, "weights": "none", "out": tmp_path / "run", "group_by": group_by}
    library.finetune(shapes, progress=recorder, **options)
    assert f"groups: {groups} (by {group_by}), each on one side" in recorder.lines


def test_none_for_an_option_that_needs_a_value_is_refused(shapes):
    with pytest.raises(UsageError, match="--head None: leave it out, or give a value"):
        library.finetune(shapes, head=None)


def test_log_of_a_run(tl, shapes, tmp_path):
    done = tl("finetune", shapes, *WITH, cwd=tmp_path, expect=0)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80 or any("/" in line for line in lines if len(line) > 80)
    for topic in ("data", "network", "features", "split", "head", "accuracy", "run", "next"):
        assert any(line.startswith(topic + " ") for line in lines), topic
    assert "accuracy    100.0% (95% CI 74.7–100.0) on 24 images, 10-fold cross-validation\n" in done.stdout
    assert "balanced accuracy" not in done.stdout


def test_run_predicts_the_accuracy_with_more_images(tl, shapes, tmp_path):
    done = tl("finetune", shapes, *WITH, "--out", "run", cwd=tmp_path)
    sentence = (
        r"more images about [\d.]+% \(95% CI [\d.]+–[\d.]+\) with twice as many; below 200 images a rough guess report"
    )
    assert re.search(sentence, " ".join(done.stdout.split()))
    curve = load_run(tmp_path / "run").metrics["learning_curve"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["learning_curve"] == curve
    assert [row["images"] for row in curve["predictions"]] == [48, 96]
    assert [point["images"] for point in curve["points"]] == [4, 6, 12, 18]
    assert set(curve["per_class"]) == {"noise", "stripes"}
    for path in (tmp_path / "run" / "report.html", library.report(tmp_path / "run", data=shapes)):
        assert "With twice as many images (48), the accuracy would be about" in path.read_text()


def test_accuracy_with_more_images_is_not_predicted_from_three_a_class(tl, shapes, tmp_path):
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in shapes.rglob("0[0-2].png")}
    done = tl("finetune", write(tmp_path / "data", files), *WITH, "--out", "run", cwd=tmp_path)
    assert "more images not predicted: that takes 4 different images a class\n" in done.stdout
    assert "learning_curve" not in load_run(tmp_path / "run").metrics
    assert "More images" not in (tmp_path / "run" / "report.html").read_text()


def test_log_of_uneven_classes_has_the_balanced_accuracy(tl, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "data")
    for file in sorted((data / "stripes").iterdir())[5:]:
        file.unlink()
    done = tl("finetune", data, *WITH, "--val", 0.2, cwd=tmp_path, expect=0)
    lines = done.stdout.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("accuracy "))
    assert lines[at] == "accuracy    100.0% (95% CI 43.9–100.0) on 3 validation images"
    assert lines[at + 1].strip() == "balanced accuracy 100.0% (95% CI 41.9–100.0), 1 to 2 per class"


def test_holding_out_of_one_image_a_class_is_refused_before_weights_are_fetched(shapes, tmp_path, monkeypatch):
    only = (shapes / "noise" / "00.png").read_bytes()
    data = write(tmp_path / "data", {"noise/only.png": only, "spots/only.png": only})
    monkeypatch.delattr("tl.workflows.finetune.resolve")
    with pytest.raises(DataError, match="no class has two images or groups, .* train on all .* without --val"):
        library.finetune(data, backbone=TINY, weights="none", val=0.2, out=tmp_path / "run")
    assert sorted(tmp_path.iterdir()) == [data]


def test_folder_that_looks_like_several_data_sets_is_warned_about(tl, shapes, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(shapes, tmp_path / name)
    done = tl("finetune", ".", *WITH, cwd=tmp_path)
    warning = "note this looks like several data sets: 'first', 'second' hold folders of images and no images"
    assert " ".join(done.stderr.split()).startswith(warning)


def test_next_commands_are_quoted_for_the_shell(tl, shapes, tmp_path):
    (tmp_path / "한국 사진").symlink_to(shapes)
    done = tl("finetune", "한국 사진", *WITH, "--out", "새 run; x", cwd=tmp_path, COLUMNS="300", expect=0)
    predict, grid, report = (shlex.split(line.removeprefix("next")) for line in done.stdout.splitlines()[-3:])
    assert predict == ["tl", "predict", "--run", "새 run; x", "PHOTO.jpg"]
    assert grid == ["tl", "grid", "--run", "새 run; x"]
    assert report == ["tl", "report", "새 run; x", "--show"]
    for words in (grid, report[:-1]):
        assert tl(*words[1:], cwd=tmp_path).returncode == 0


def test_json_and_quiet_output(tl, shapes, tmp_path):
    answer = json.loads(tl("finetune", shapes, *WITH, "--json", "--out", tmp_path / "a").stdout)
    assert (answer["run"], answer["metrics"]["validation"]["top1"]) == (str(tmp_path / "a"), 1.0)
    quiet = tl("finetune", shapes, *WITH, "--quiet", "--out", tmp_path / "b")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert load_run(tmp_path / "a").head.kernel.tobytes() == load_run(tmp_path / "b").head.kernel.tobytes()


def test_python_and_command_line_give_the_same_run(shapes, tmp_path, tiny_run):
    run = library.finetune(shapes, backbone=TINY, weights="none", val=0.2, out=tmp_path / "run", command="a b")
    assert run.manifest["command"] == ["a", "b"]
    assert run.head.kernel.tobytes() == load_run(tiny_run).head.kernel.tobytes()
    classifier = library.load(run.folder)
    image = next((shapes / "noise").iterdir())
    by_path, by_array = classifier.predict(image)[0], classifier.predict(np.asarray(Image.open(image)))[0]
    assert by_path.label == by_array.label == "noise"
    assert by_path.confidence == pytest.approx(by_array.confidence, abs=1e-4)
    errors = [item.error for item in classifier.predict([image, "nowhere.png"])]
    assert errors == ["", "cannot be read: no such file or directory"]
    assert classifier.grid(shapes, count=4, columns=2).width > 400


def test_broken_files_are_skipped_counted_and_named(tl, shapes, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "data")
    half = (data / "noise" / "00.png").read_bytes()[:500]
    broken = {"empty.jpg": b"", "page.jpg": b"<html>not found</html>", "notes.txt": b"notes", "cut.png": half}
    write(data / "noise", broken | {".hidden.jpg": b"x"})
    write(data / "owl", {"1.jpg": b"broken"})
    done = tl("finetune", data, *WITH, "--out", tmp_path / "run", expect=0)
    skipped = {row["path"]: row["reason"] for row in table(tmp_path / "run" / "skipped.csv")}
    assert set(skipped) == {f"noise/{name}" for name in broken} | {"owl/1.jpg"}
    assert "class 'owl' is left out: none of its images can be used" in " ".join(done.stderr.split())
    assert all(skipped.values())
    for name in skipped:
        assert name in done.stderr
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["skipped"] == 5


def test_test_part_has_its_own_metrics(tl, shapes, tmp_path):
    parts = {"10": "val", "11": "test"}
    rows = [f"{path},{path.parent.name},{parts.get(path.stem, 'train')}" for path in sorted(shapes.rglob("*.png"))]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label,split", *rows]))
    metrics = json.loads(tl("finetune", tmp_path / "photos.csv", *WITH, "--json", "--out", tmp_path / "run").stdout)[
        "metrics"
    ]
    assert (metrics["validation"]["count"], metrics["test"]["count"]) == (2, 2)


@contextmanager
def start(shapes: Path, out: Path, *more: str) -> "Iterator[subprocess.Popen[str]]":
    python = [sys.executable, "-X", "faulthandler"]
    command = [*python, str(ROOT / "cli.py"), "finetune", str(shapes), *WITH, "--out", str(out), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)  # it tells what its threads were at
                print(process.communicate()[1], file=sys.stderr)


@pytest.mark.parametrize(
    ("topic", "more"),
    [("data", ("--seed", "77")), ("network", ("--no-cache",)), ("features", ()), ("split", ()), ("head", ())],
    ids=["converting", "features", "split", "head", "writing"],
)
def test_interrupt_leaves_nothing_behind(shapes, tmp_path, topic, more):
    out = tmp_path / "runs" / "x"
    with start(shapes, out, *more) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(topic):
                break
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    if process.returncode == 0:  # it was done already: then the run is whole
        assert load_run(out).classes == ("noise", "stripes")
        return
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "error: interrupted; no incomplete files were left behind"
    assert [path for path in tmp_path.rglob("*") if path.name != "runs"] == []


def test_two_processes_cannot_write_one_run(shapes, tmp_path):
    out = tmp_path / "run"
    with start(shapes, out) as one, start(shapes, out) as other:
        errors = [process.communicate(timeout=120)[1] for process in (one, other)]
    assert sorted((one.returncode, other.returncode)) == [0, 1]
    refused = "".join(errors)
    assert re.search(r"error: .*run (is being written by another process|exists already)", refused)
    assert load_run(out).classes == ("noise", "stripes")


def test_kill_leaves_no_run_and_does_not_block_the_next(tl, shapes, tmp_path):
    out = tmp_path / "run"
    with start(shapes, out, "--seed", "78") as process:
        while not (tmp_path / ".run.partial").exists():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    assert tl("finetune", shapes, *WITH, "--out", out).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes on this system")
def test_full_disk_is_a_one_line_error_and_leaves_nothing(shapes, tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from tl.commands.main import start; start()"
    )
    command = [sys.executable, "-c", code, "finetune", str(shapes), *WITH, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*run cannot be written: File too large; .*--out", done.stderr.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []


def test_near_duplicates_stay_on_one_side_with_any_backbone(tl, tmp_path):
    images = {f"{label}/{at:02}.png": photo(40 * (label == "b") + at) for label in "ab" for at in range(15)}
    changed = {name.replace(".png", "-small.jpg"): image.resize((80, 60)) for name, image in images.items()}
    write(tmp_path / "photos", images | changed)
    sides = []
    for more in (WITH, ("--backbone", "simple-cnn", "--weights", "none", "--epochs", "1")):
        done = tl("finetune", "photos", *more, "--val", 0.2, "--out", f"run{len(sides)}", cwd=tmp_path, expect=0)
        assert "30 images look like another one; copies stay on one side" in " ".join(done.stdout.split())
        sides.append({row["path"]: row["split"] for row in table(tmp_path / f"run{len(sides)}" / "split.csv")})
    assert sides[0] == sides[1]
    assert list(sides[0].values()).count("validation") == 12
    for name in images:
        assert sides[0][name] == sides[0][name.replace(".png", "-small.jpg")], name


@pytest.mark.parametrize(
    ("more", "expected"), [(0, "2,000 images, 100 classes (20 each)"), (1, "2,001 images, 100 classes (20 to 21 each)")]
)
def test_log_data_of_many_classes(more: int, expected: str):
    labels = np.concatenate([np.arange(2000) % 100, np.zeros(more, np.int64)])
    names = tuple(f"{at}.png" for at in range(len(labels)))
    classes = tuple(f"class {at:02}" for at in range(100))
    recorder = Recorder()
    log_data(Dataset("photos", None, classes, tuple(map(Path, names)), names, labels, (None,) * len(labels)), recorder)
    assert recorder.lines == [f"data: photos: {expected}"]


def test_unknown_option_is_refused_with_the_nearest_name(shapes):
    with pytest.raises(UsageError, match="finetune: no option is called 'epoch': did you mean epochs"):
        library.finetune(shapes, epoch=3)


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Photos of ten patients, five of each class: every patient has a colour, no class has one."""
    colours = np.random.default_rng(3).integers(0, 256, (10, 3))
    images = {
        f"{'ill' if patient % 2 else 'well'}/p{patient}_{at}.png": Image.fromarray(
            (0.8 * colours[patient] + 0.2 * np.asarray(photo(10 * patient + at))).astype(np.uint8)
        )
        for patient in range(10)
        for at in range(4)
    }
    return write(tmp_path / "patients", images)


def test_groups_stay_on_one_side_of_folds_and_of_the_split(tl, patients, tmp_path):
    alone = library.finetune(patients, backbone=TINY, weights="none", out=tmp_path / "alone")
    assert alone.metrics["validation"]["top1"] > 0.9
    done = tl("finetune", patients, *WITH, "--group-by", r"(p\d)_", "--out", tmp_path / "grouped", "--json")
    grouped = json.loads(done.stdout)
    assert grouped["metrics"]["validation"]["top1"] < 0.8
    assert grouped["metrics"]["validation"]["folds"] == 5
    assert grouped["metrics"]["validation"]["groups"]["count"] == 10
    low, high = grouped["metrics"]["validation"]["top1_interval"]
    assert high - low > 0.4  # of ten patients, not of forty photos
    for data in (None, patients):
        evaluation = library.evaluate(
            data, run=tmp_path / "grouped", group_by=r"(p\d)_" if data else None, report=False
        )
        figures = evaluation.metrics.top1
        assert (evaluation.metrics.groups, figures.low, figures.high) == (10, pytest.approx(low), pytest.approx(high))
    assert grouped["options"]["group_by"] == r"(p\d)_"
    assert read_options(tmp_path / "grouped" / "run.toml")["group_by"] == r"(p\d)_"
    done = tl("finetune", patients, *WITH, "--group-by", r"(p\d)_", "--val", "0.3", "--out", tmp_path / "held-out")
    assert r"groups      10 (by (p\d)_), each on one side" in done.stdout
    assert re.search(r"accuracy .* on \d+ validation images in \d groups", " ".join(done.stdout.split()))
    sides = {(row["path"][-8:-6], row["split"]) for row in table(tmp_path / "held-out" / "split.csv")}
    assert len(sides) == 10
    assert len({side for _, side in sides}) == 2


def test_column_of_a_table_names_the_groups_and_compare_has_them_too(patients, tmp_path):
    rows = [f"{path},{path.parent.name},{path.name[:2]}" for path in sorted(patients.rglob("*.png"))]
    (tmp_path / "patients.csv").write_text("\n".join(["path,label,patient", *rows]), encoding="utf-8")
    run = library.finetune(
        tmp_path / "patients.csv", backbone=TINY, weights="none", group_by="patient", out=tmp_path / "run"
    )
    assert run.metrics["validation"]["top1"] < 0.8
    comparison = library.compare(
        tmp_path / "patients.csv", scratch="lenet5", epochs=1, group_by="patient", val=0.3, out=tmp_path / "comparison"
    )
    held_out = {photo.path.rsplit("/", 1)[1][:2] for photo in comparison.photos}
    assert len(comparison.photos) == 4 * len(held_out)


def test_early_stopping_watches_whole_groups_and_no_only_one_of_a_class():
    from tl.learning.hyperparameters import tuning_rule
    from tl.workflows.finetune_backbone import TuningInputs, _choose_monitor

    labels = np.array([1, 2] * 200 + [0] * 50)
    groups = [bytes([at // 10]) for at in range(400)] + [b"only"] * 50
    names = tuple(f"{at}.png" for at in range(450))
    dataset = Dataset("photos", None, ("a", "b", "c"), tuple(map(Path, names)), names, labels, (None,) * 450)
    every = np.arange(450)
    inputs = TuningInputs(dataset, groups, Split(every, every[:0], every[:0], (), 0), {}, None)
    monitor = _choose_monitor(inputs, tuning_rule(450, "last"), seed=0)
    assert 20 <= len(monitor) <= 60
    assert len(monitor) == 10 * len({groups[at] for at in monitor})
    assert labels[monitor].min() == 1


def test_table_without_such_a_column_is_refused_before_anything_is_read(shapes, tmp_path):
    with pytest.raises(UsageError, match="'patient' is a column, but 'shapes' is not a table"):
        library.finetune(shapes, group_by="patient", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_of_one_photo_a_class_works_everywhere_and_says_that_nothing_judges_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("photos"), {"a/1.png": photo(1), "b/1.png": photo(2), "c/1.png": photo(3)})
    recorder = Recorder()
    run = library.finetune("photos", backbone=TINY, weights="none", out="runs/one", progress=recorder)
    assert "one image or group a class says nothing about the accuracy" in " ".join(recorder.lines)
    assert not {"validation", "test"} & run.metrics.keys()
    assert "accuracy" not in repr(run) + run._repr_html_()
    for page in (run.folder / "report.html", library.report(run)):
        assert "Its accuracy is not known" in page.read_text()
    [listed] = library.runs.list()
    assert (listed.state, listed.top1) == ("complete", None)
    assert library.runs.show("one").parts == {}
    for command in (library.grid, library.evaluate):
        with pytest.raises(DataError, match="one was trained on all its images and judged on none: give other ones as"):
            command()
    assert library.grid("photos").trained == 3
    other = write(Path("other"), {"a/1.png": photo(4), "b/1.png": photo(5), "c/1.png": photo(7)})
    assert library.evaluate(other, run=run).metrics.count == 3
    assert library.export(run, to="openvino").proof.part == "train"
    before = Recorder()
    with pytest.raises(DataError, match="every class has one image or group, which leaves none to judge networks by"):
        library.compare("photos", backbones=TINY, scratch="lenet5", progress=before)
    assert before.lines == []
    grown = library.finetune(write(Path("more"), {"a/2.png": photo(6)}), from_run=run, out="runs/two")
    assert "changed" not in grown.manifest["from"]


def test_metrics_that_are_missing_though_images_were_judged_are_damage(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "metrics.json").write_text("{}")
    pin(run)
    with pytest.raises(RunError, match="metrics.json has no metrics"):
        library.report(run)
