"""The backbone is trained from its head: what is printed, kept, resumed, stopped and compared."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tl as library
from support.session import ROOT, TINY
from tl.errors import DataError, RunError, UsageError
from tl.learning.trainer import Trainer
from tl.progress import Progress
from tl.runs.run import load_run

TUNE = {"backbone": "simple-cnn", "weights": "none", "unfreeze": "last", "epochs": 2, "batch": 8}


class Heard(Progress):
    """Remembers all that is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, topic: str, text: str) -> None:
        self.lines.append(f"{topic}: {text}")

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def uninterrupted(shapes, tmp_path_factory):
    heard = Heard()
    run = library.finetune(
        shapes, out=tmp_path_factory.mktemp("tuning") / "run", progress=heard, tensorboard=True, **TUNE
    )
    return run, heard


def test_a_tuning_leaves_its_curves_and_none_of_its_scaffolding(uninterrupted):
    run, _ = uninterrupted
    names = {path.name for path in run.folder.iterdir()}
    assert {"history.csv", "curves.png", "run.toml", "tensorboard"} <= names
    assert not names & {"checkpoint.npz", "tuned"}
    assert list((run.folder / "tensorboard").glob("events.*"))
    rows = history(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["3", "6"]  # 20 photos in batches of 8
    figures = run.manifest["metrics"]["fine-tuning"]
    assert figures["steps"] == 6
    assert figures["trained_parameters"] > 200_000
    assert figures["images_per_second"] > 0
    assert ("trunk.weights.h5" in names) == figures["kept"]


def test_the_account_says_what_is_trained_and_which_is_better(uninterrupted):
    _, heard = uninterrupted
    assert "fine-tuning: last of the backbone on 20 photos" in heard.text
    assert "epoch 1: loss" in heard.text
    assert "McNemar" in heard.text or "no difference" in heard.text
    assert re.search("is kept$", heard.lines[-1]), heard.lines[-1]


def test_the_better_of_the_two_is_the_one_in_the_run(uninterrupted):
    run, _ = uninterrupted
    figures = run.manifest["metrics"]["fine-tuning"]
    better = figures["tuned" if figures["kept"] else "head_only"]["validation"]
    assert run.manifest["metrics"]["validation"] == better
    gained, lost = figures["comparison"]["gained"], figures["comparison"]["lost"]
    assert figures["kept"] == (gained > lost)


def test_the_same_run_again_from_its_own_configuration(uninterrupted, tl, tmp_path):
    run, _ = uninterrupted
    done = tl("finetune", "--config", run.folder / "run.toml", "--out", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    again = history(tmp_path / "again")
    for first, second in zip(history(run.folder), again, strict=True):
        assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-3)
    assert json.loads(done.stdout)["options"]["epochs"] == 2


def test_killed_at_a_step_it_goes_on_to_the_same_result(uninterrupted, shapes, tl, tmp_path):
    run, _ = uninterrupted
    words = [f"--{name}={value}" for name, value in TUNE.items()]
    command = [sys.executable, str(ROOT / "cli.py"), "finetune", str(shapes), *words, "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        checkpoint = tmp_path / ".run.partial" / "checkpoint.npz"
        limit = time.monotonic() + 300
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert checkpoint.exists()
    assert not (tmp_path / "run").exists()
    refused = tl("finetune", shapes, *words, "--out", tmp_path / "run", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--resume" in refused.stderr
    done = tl("finetune", "--resume", "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resumed" in done.stdout
    for first, second in zip(history(run.folder), history(tmp_path / "run"), strict=True):
        assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-3)
    ours, theirs = (load_run(folder).manifest["metrics"]["fine-tuning"] for folder in (tmp_path / "run", run.folder))
    assert ours["tuned"]["validation"]["log_loss"] == pytest.approx(theirs["tuned"]["validation"]["log_loss"], rel=0.02)


def test_there_must_be_something_to_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no interrupted run"):
        library.finetune(resume=True)


def test_resume_takes_no_other_options(tl, tmp_path):
    done = tl("finetune", "--resume", "--epochs", "5", cwd=tmp_path)
    assert done.returncode == 2
    assert "leave out --epochs" in done.stderr


def test_a_diverging_run_is_named_and_leaves_the_head(shapes, tmp_path):
    heard = Heard()
    wild = {"lr": 99, "weight_decay": 1, "epochs": 10}  # each step multiplies every weight by up to -98
    run = library.finetune(shapes, out=tmp_path / "run", progress=heard, **TUNE | wild)
    figures = run.manifest["metrics"]["fine-tuning"]
    assert re.match(
        r"step \d+ diverged \(the loss is (nan|inf|\S+, a gradient is not finite)\) at", figures["stopped"]
    ), figures
    assert figures["steps"] < 30
    assert figures["stopped"] in heard.text
    assert np.isfinite(run.head.kernel).all()
    assert library.load(run.folder).predict(next(shapes.rglob("*.png")))[0].label in run.classes


def test_batches_that_do_not_fit_the_memory_are_halved(shapes, tmp_path, monkeypatch):
    import tensorflow as tf

    original = Trainer.step

    def step(self, inputs, labels, rate):
        if len(inputs) > 4:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    heard = Heard()
    run = library.finetune(shapes, out=tmp_path / "run", progress=heard, **TUNE)
    assert "batches of 8 do not fit the memory" in heard.text
    assert run.manifest["metrics"]["fine-tuning"]["rule"]["batch"] == 4
    assert run.manifest["metrics"]["fine-tuning"]["steps"] == 10


def test_a_budget_ends_the_training_in_time(shapes, tmp_path):
    started = time.monotonic()
    library.finetune(shapes, out=tmp_path / "short", **TUNE | {"epochs": 1})
    seconds = time.monotonic() - started
    started = time.monotonic()
    budget = seconds + 10
    run = library.finetune(shapes, out=tmp_path / "run", budget=f"{budget:.0f}s", **TUNE | {"epochs": 5000})
    assert (
        time.monotonic() - started < budget + 120
    )  # of hours; how exactly it is kept depends on who shares the machine
    assert 0 < run.manifest["metrics"]["fine-tuning"]["steps"] < 15_000


def test_the_learning_rate_can_be_looked_for(shapes, tmp_path):
    run = library.finetune(shapes, out=tmp_path / "run", lr="auto", **TUNE)
    with (run.folder / "learning_rates.csv").open() as stream:
        curve = [(float(row["learning_rate"]), float(row["loss"])) for row in csv.DictReader(stream)]
    chosen = run.manifest["metrics"]["fine-tuning"]["rule"]["learning_rate"]
    assert len(curve) > 20
    assert chosen == pytest.approx(max(1e-7, min(curve, key=lambda point: point[1])[0] / 10))


def test_all_of_the_network_can_be_trained(shapes, tmp_path, uninterrupted):
    run = library.finetune(shapes, out=tmp_path / "run", **TUNE | {"unfreeze": "all", "epochs": 1})
    last = uninterrupted[0].manifest["metrics"]["fine-tuning"]["trained_parameters"]
    assert run.manifest["metrics"]["fine-tuning"]["trained_parameters"] > last


def test_auto_leaves_few_photos_at_the_head(tmp_path, shapes):
    few = tmp_path / "few"
    for path in sorted(shapes.rglob("*.png")):
        if int(path.stem) < 6:
            (few / path.parent.name).mkdir(parents=True, exist_ok=True)
            (few / path.parent.name / path.name).write_bytes(path.read_bytes())
    heard = Heard()
    run = library.finetune(few, out=tmp_path / "run", progress=heard, **TUNE | {"unfreeze": "auto", "backbone": TINY})
    assert "auto: none" in heard.text
    assert "fine-tuning" not in run.manifest["metrics"]


def test_options_that_count_only_for_the_backbone_are_named_where_it_is_not_trained(shapes, tmp_path):
    heard = Heard()
    few = tmp_path / "few"
    for path in sorted(shapes.rglob("*.png")):
        if int(path.stem) < 5:
            (few / path.parent.name).mkdir(parents=True, exist_ok=True)
            (few / path.parent.name / path.name).write_bytes(path.read_bytes())
    library.finetune(few, out=tmp_path / "run", progress=heard, backbone=TINY, weights="none", epochs=3, lr=0.1)
    assert "--epochs, --lr count only where the backbone is trained" in heard.text


@pytest.mark.parametrize(
    ("balance", "said"), [("auto", "weighted"), ("sampling", "each is drawn as often"), ("none", "")]
)
def test_uneven_classes_are_balanced_and_said(balance, said, shapes, tmp_path):
    uneven = tmp_path / "uneven"
    for path in sorted(shapes.rglob("*.png")):
        if path.parent.name == "noise" or int(path.stem) < 4:
            (uneven / path.parent.name).mkdir(parents=True, exist_ok=True)
            (uneven / path.parent.name / path.name).write_bytes(path.read_bytes())
    heard = Heard()
    library.finetune(uneven, out=tmp_path / "run", progress=heard, balance=balance, **TUNE | {"epochs": 1})
    assert said in heard.text
    assert ("classes have 3 to 9 photos" in heard.text or "classes have" in heard.text) == bool(said)


def test_stored_activations_keep_to_their_limit(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_ACTIVATIONS_LIMIT", "250K")
    heard = Heard()
    library.finetune(shapes, out=tmp_path / "run", progress=heard, **TUNE | {"epochs": 1})
    assert re.search(r"\d of 4 views of each photo fit", heard.text), heard.text
    monkeypatch.setenv("TL_ACTIVATIONS_LIMIT", "1K")
    with pytest.raises(UsageError, match="TL_ACTIVATIONS_LIMIT"):
        library.finetune(shapes, out=tmp_path / "none", **TUNE)
    assert not (tmp_path / "none").exists()


@pytest.mark.cifar
@pytest.mark.weights
def test_a_kept_network_saves_loads_and_predicts_the_same_on_both_engines(cifar_tar, tmp_path):
    import tarfile

    data = tmp_path / "data"
    seen: dict[str, int] = {}
    with tarfile.open(cifar_tar) as archive:
        for member in archive:
            label = Path(member.name).parent.name
            if member.isfile() and label in ("maple_tree", "oak_tree", "pine_tree") and seen.get(label, 0) < 60:
                seen[label] = seen.get(label, 0) + 1
                (data / label).mkdir(parents=True, exist_ok=True)
                (data / label / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    run = library.finetune(
        data,
        backbone="efficientnet-lite0",
        out=tmp_path / "run",
        image_size=64,
        unfreeze="all",
        lr=5e-4,
        epochs=8,
        seed=1,
    )
    assert run.manifest["metrics"]["fine-tuning"]["kept"]
    assert (run.folder / "trunk.weights.h5").is_file()
    photos = sorted(data.rglob("*.png"))[::10]
    shares = []
    for engine in ("openvino", "tensorflow"):
        answers = library.load(run.folder, engine=engine, precision="f32").predict(photos, top=3)
        shares.append([[dict(answer.top)[name] for name in run.classes] for answer in answers])
    assert np.abs(np.array(shares[0]) - np.array(shares[1])).max() < 2e-3
    stored = {}
    with (run.folder / "predictions.csv").open() as stream:
        stored = {Path(row["path"]).name: row for row in csv.DictReader(stream)}
    again = library.load(run.folder).predict([path for path in sorted(data.rglob("*.png")) if path.name in stored])
    assert [answer.label for answer in again] == [stored[Path(answer.name).name]["predicted"] for answer in again]


def test_a_photo_that_vanishes_is_named(shapes, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    original = Trainer.step

    def step(self, inputs, labels, rate):
        for path in data.rglob("*.png"):
            path.unlink()
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    everything = TUNE | {"unfreeze": "all", "epochs": 50, "augment": "none", "val": 0.2}
    with pytest.raises(DataError, match=r"\.png can no longer be read"):
        library.finetune(data, out=tmp_path / "run", **everything)
