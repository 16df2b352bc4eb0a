"""Tests of training the backbone: from its fitted head, and from random weights."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tl as library
from support.recorder import Recorder
from support.session import ROOT, TINY, draw_shapes
from tl.errors import DataError, RunError, UsageError
from tl.features import activations
from tl.learning import loop, tuning
from tl.learning.trainer import Trainer
from tl.networks.backbones import backbone
from tl.runs.finetune_options import FinetuneOptions
from tl.runs.folder import partial_folder
from tl.runs.run import Run, load_run
from tl.workflows import finetune, finetune_backbone
from tl.workflows.finetune_backbone import Setup, random_head, trains_from_scratch

TUNE = {"backbone": "simple-cnn", "weights": "none", "unfreeze": "last", "epochs": 2, "batch": 8}


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def subset(shapes: Path, folder: Path, noise: int, stripes: int) -> Path:
    for label, count in (("noise", noise), ("stripes", stripes)):
        (folder / label).mkdir(parents=True)
        for path in sorted((shapes / label).iterdir())[:count]:
            shutil.copy(path, folder / label)
    return folder


def assert_engines_agree(run: Run, photos: list[Path], tolerance: float) -> None:
    shares = []
    for engine in ("openvino", "tensorflow"):
        answers = library.load(run.folder, engine=engine, precision="f32").predict(photos, top=3)
        shares.append([[dict(answer.top)[name] for name in run.classes] for answer in answers])
    assert np.abs(np.array(shares[0]) - np.array(shares[1])).max() < tolerance


@pytest.fixture(scope="module")
def uninterrupted(shapes, tmp_path_factory):
    recorder = Recorder()
    run = library.finetune(
        shapes, out=tmp_path_factory.mktemp("tuning") / "run", progress=recorder, tensorboard=True, **TUNE
    )
    return run, recorder


def test_tuned_run_has_its_curves_and_no_scratch_files(uninterrupted):
    run, _ = uninterrupted
    names = {path.name for path in run.folder.iterdir()}
    assert {"history.csv", "curves.png", "run.toml", "tensorboard"} <= names
    assert not names & {"checkpoint.npz", "tuned"}
    assert list((run.folder / "tensorboard").glob("events.*"))
    rows = history(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["3", "6"]  # 20 photos in batches of 8
    assert all(0 <= float(row["top1"]) <= 1 for row in rows)
    assert all(float(row["held_out_top1"]) * 4 % 1 == 0 for row in rows)  # the 4 validation photos, watched
    figures = run.manifest["metrics"]["fine-tuning"]
    assert figures["steps"] == 6
    assert figures["trained_parameters"] > 200_000
    assert figures["images_per_second"] > 0
    assert ("trunk.weights.h5" in names) == figures["kept"]


def test_run_has_the_more_accurate_network_and_the_log_says_which(uninterrupted):
    run, recorder = uninterrupted
    figures = run.manifest["metrics"]["fine-tuning"]
    better = figures["tuned" if figures["kept"] else "head_only"]["validation"]
    assert run.manifest["metrics"]["validation"] == better
    assert figures["kept"] == (figures["comparison"]["gained"] > figures["comparison"]["lost"])
    assert "fine-tuning: last of the backbone on 20 images" in recorder.text
    assert re.search(r"epoch 1: loss 0\.\d{3} \(held out 0\.\d{3}\), accuracy [\d.]+% \([\d.]+%\)", recorder.text)
    assert "McNemar" in recorder.text or "no difference" in recorder.text
    assert re.search("is kept$", recorder.lines[-1]), recorder.lines[-1]


def test_run_toml_reproduces_the_run(uninterrupted, tl, tmp_path):
    run, _ = uninterrupted
    done = tl("finetune", "--config", run.folder / "run.toml", "--out", tmp_path / "again", "--json", expect=0)
    again = history(tmp_path / "again")
    for first, second in zip(history(run.folder), again, strict=True):
        assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-3)
    assert json.loads(done.stdout)["options"]["epochs"] == 2


def test_resume_after_a_kill_gives_the_same_result(uninterrupted, shapes, tl, tmp_path):
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
    refused = tl("finetune", shapes, *words, "--out", tmp_path / "run", cwd=tmp_path, expect=1)
    assert "--resume" in refused.stderr
    done = tl("finetune", "--resume", "--out", tmp_path / "run", cwd=tmp_path, expect=0)
    assert "resumed" in done.stdout
    for first, second in zip(history(run.folder), history(tmp_path / "run"), strict=True):
        assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-3)
    ours, theirs = (load_run(folder).manifest["metrics"]["fine-tuning"] for folder in (tmp_path / "run", run.folder))
    assert ours["tuned"]["validation"]["log_loss"] == pytest.approx(theirs["tuned"]["validation"]["log_loss"], rel=0.02)


@pytest.fixture(scope="module")
def interrupted(shapes, tmp_path_factory):
    """The data of a training that was interrupted in its second epoch, and a copy of them, and its run folder."""
    home, original = tmp_path_factory.mktemp("interrupted"), Trainer.step
    steps = iter(range(4))

    def step(self, inputs, labels, rate):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return original(self, inputs, labels, rate)

    shutil.copytree(shapes, home / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        with pytest.raises(KeyboardInterrupt):
            library.finetune(home / "data", out=home / "run", **TUNE)
    return home / "data", shapes, home / "run"


@pytest.mark.parametrize(("change", "message"), [
    (lambda data: (data / "noise").rename(data / "zebra"),
     "1 class no longer there ('noise'); 1 class new ('zebra'); "
     "12 images no longer there ('noise/00.png' and 11 more); 12 images new ('zebra/00.png' and 11 more)"),
    (lambda data: shutil.copy(data / "noise/00.png", data / "noise/copy.png"), "1 image new ('noise/copy.png')"),
    (lambda data: (data / "noise/03.png").unlink(), "1 image no longer there ('noise/03.png')"),
    (lambda data: (data / "noise/03.png").write_bytes(b"no image"), "1 image no longer there ('noise/03.png')"),
    (lambda data: shutil.copy(data / "stripes/03.png", data / "noise/03.png"),
     "1 image with another content ('noise/03.png')"),
])  # fmt: skip
def test_resume_refuses_data_that_changed(change, message, interrupted):
    data, original, out = interrupted
    shutil.rmtree(data)
    shutil.copytree(original, data)
    change(data)
    with pytest.raises(RunError, match="interrupted with other data") as refused:
        library.finetune(resume=True, out=out)
    assert message in str(refused.value)
    assert f"remove {out.parent}/.run.partial/checkpoint.npz to start anew" in str(refused.value)
    assert not out.exists()


def test_resume_refuses_another_split_and_other_weights(interrupted, tmp_path):
    """As if the groups of a table, or a file of weights, had changed."""
    data, original, out = interrupted
    shutil.rmtree(data)
    shutil.copytree(original, data)
    options = partial_folder(out) / "run.toml"
    stored = options.read_text()
    try:
        options.write_text(re.sub("seed = .*", "seed = 1", stored))
        with pytest.raises(RunError, match=r"now other weights; \d+ images with another part of the split"):
            library.finetune(resume=True, out=out)
    finally:
        options.write_text(stored)


def test_resume_refuses_other_options_and_needs_an_interrupted_run(tl, tmp_path):
    for more, code, message in ((["--epochs", "5"], 2, "leave out --epochs"), ([], 1, "no interrupted run")):
        done = tl("finetune", "--resume", *more, cwd=tmp_path)
        assert done.returncode == code
        assert message in done.stderr


def test_diverged_training_is_logged_and_the_head_is_kept(shapes, tmp_path):
    recorder = Recorder()
    wild = {"lr": 99, "weight_decay": 1, "epochs": 10}  # each step multiplies every weight by up to -98
    run = library.finetune(shapes, out=tmp_path / "run", progress=recorder, **TUNE | wild)
    figures = run.manifest["metrics"]["fine-tuning"]
    assert re.match(
        r"step \d+ diverged \(the loss is (nan|inf|\S+, a gradient is not finite)\) at", figures["stopped"]
    ), figures
    assert figures["steps"] < 30
    assert figures["stopped"] in recorder.text
    assert np.isfinite(run.head.kernel).all()
    assert library.load(run.folder).predict(next(shapes.rglob("*.png")))[0].label in run.classes


def test_batches_that_do_not_fit_into_memory_are_halved(shapes, tmp_path, monkeypatch):
    import tensorflow as tf

    original = Trainer.step

    def step(self, inputs, labels, rate):
        if len(inputs) > 4:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    recorder = Recorder()
    run = library.finetune(shapes, out=tmp_path / "run", progress=recorder, **TUNE)
    assert "batches of 8 do not fit into memory" in recorder.text
    assert run.manifest["metrics"]["fine-tuning"]["rule"]["batch"] == 4
    assert run.manifest["metrics"]["fine-tuning"]["steps"] == 10


@pytest.fixture
def clock(monkeypatch):
    """The time, in a list, which passes only where a test lets it."""
    now = [time.monotonic()]
    for module in (finetune, finetune_backbone, activations, tuning, loop):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    extracted = finetune._extract
    monkeypatch.setattr(finetune, "_extract", lambda *setup: (extracted(*setup)[0], math.inf, "f32"))
    monkeypatch.setattr(Setup, "slowdown", lambda self: 1.0)
    return now


def test_budget_limits_the_steps(shapes, tmp_path, monkeypatch, clock):
    original = Trainer.step

    def step(self, inputs, labels, rate):
        clock[0] += 2.0
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    run = library.finetune(shapes, out=tmp_path / "run", budget="60s", **TUNE | {"epochs": 5000})
    figures = run.manifest["metrics"]["fine-tuning"]
    # 6 s are a margin, 19.5 for converting and writing, 0.5 for 4 photos at the end; 2.17 a step with these
    assert (figures["steps"], figures["stopped"]) == (16, "")


def test_budget_limits_the_search_of_a_learning_rate(shapes, tmp_path, monkeypatch, clock):
    original, recorder, started = Trainer.step, Recorder(), clock[0]

    def step(self, inputs, labels, rate):
        clock[0] += 0.5
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    run = library.finetune(
        shapes, out=tmp_path / "run", budget="40s", lr="auto", progress=recorder, **TUNE | {"epochs": 5000}
    )
    assert "learning rate 0.003, the default: the budget leaves no time to search for another" in recorder.text
    assert 20 < run.manifest["metrics"]["fine-tuning"]["steps"] < 50
    assert clock[0] - started < 40 - 4 - 19.5


def test_budget_that_is_used_up_keeps_the_head(shapes, tmp_path, monkeypatch, clock):
    original, recorder = finetune.fit_head, Recorder()

    def fit_head(*features, **options):
        clock[0] += 40
        return original(*features, **options)

    monkeypatch.setattr(finetune, "fit_head", fit_head)
    run = library.finetune(shapes, out=tmp_path / "run", budget="40s", progress=recorder, **TUNE)
    late = r"no time to train the backbone, which takes 40s and \d+ s more, by the speed of this machine now: the head"
    assert re.search(late, recorder.text)
    assert "fine-tuning" not in run.metrics


@pytest.mark.parametrize("found", [True, False])
def test_lr_auto_says_which_learning_rate_it_trains_with(found, shapes, tmp_path, monkeypatch):
    if found:  # a loss that falls up to a rate of 3e-3
        original = Trainer.step

        def step(self, inputs, labels, rate):
            original(self, inputs, labels, rate)
            return 1 + (math.log10(rate) + 2.5) ** 2 / 20 if rate else 1.0

        monkeypatch.setattr(Trainer, "step", step)
    recorder = Recorder()
    run = library.finetune(shapes, out=tmp_path / "run", lr="auto", progress=recorder, **TUNE)
    with (run.folder / "learning_rates.csv").open() as stream:
        curve = [(float(row["learning_rate"]), float(row["loss"])) for row in csv.DictReader(stream)]
    chosen = run.manifest["metrics"]["fine-tuning"]["rule"]["learning_rate"]
    assert len(curve) > 20
    assert "learning rate to be found" in recorder.text
    if found:
        assert chosen == pytest.approx(min(curve, key=lambda point: point[1])[0] / 10)
        assert re.search(rf"learning rate {chosen:.2g}, found in \d+ steps from 1e-07 up to", recorder.text)
    else:  # twenty photos that the fitted head classifies with a loss of nothing
        assert chosen == 0.003
        assert "learning rate 0.003, the default: no other lowers the loss clearly" in recorder.text


def test_unfreeze_all_trains_the_whole_network(shapes, tmp_path, uninterrupted):
    run = library.finetune(shapes, out=tmp_path / "run", **TUNE | {"unfreeze": "all", "epochs": 1})
    last = uninterrupted[0].manifest["metrics"]["fine-tuning"]["trained_parameters"]
    assert run.manifest["metrics"]["fine-tuning"]["trained_parameters"] > last


def test_unfreeze_auto_trains_the_head_alone_on_few_images(tmp_path, shapes):
    recorder, few = Recorder(), subset(shapes, tmp_path / "few", 6, 6)
    options = TUNE | {"unfreeze": "auto", "backbone": TINY}
    run = library.finetune(few, out=tmp_path / "run", progress=recorder, **options)
    assert "auto: none" in recorder.text
    assert "--epochs, --batch have no effect on the head alone" in recorder.text
    assert "fine-tuning" not in run.manifest["metrics"]


@pytest.mark.parametrize(
    ("balance", "said", "weights"),
    [
        ("auto", "smaller ones weigh more, loss weights 0.84 to 1.53", (0.840, 1.534)),
        ("sampling", "every class counts equally often, loss weights 0.65 to 2.17", None),
        ("none", "not balanced", None),
    ],
)
@pytest.mark.parametrize("options", [TUNE, {"backbone": "lenet5", "weights": "none"}], ids=["tuned", "scratch"])
def test_uneven_classes_are_balanced(options, balance, said, weights, shapes, tmp_path, monkeypatch):
    jobs, original = [], finetune_backbone.tune
    monkeypatch.setattr(finetune_backbone, "tune", lambda job, *more: jobs.append(job) or original(job, *more))
    recorder, uneven = Recorder(), subset(shapes, tmp_path / "uneven", 12, 4)
    library.finetune(uneven, out=tmp_path / "run", progress=recorder, balance=balance, **options | {"epochs": 1})
    assert f"balance: classes have 3 to 10 images: {said}" in recorder.text
    assert jobs[0].class_weights == (None if weights is None else pytest.approx(weights, abs=0.001))
    assert jobs[0].even_classes == (balance == "sampling")


def test_heads_are_balanced(shapes, tmp_path):
    uneven, kernels = subset(shapes, tmp_path / "uneven", 12, 4), {}
    for balance in ("none", "auto", "weights", "sampling"):
        run = library.finetune(uneven, out=tmp_path / balance, backbone=TINY, weights="none", balance=balance)
        kernels[balance] = run.head.kernel
    assert np.array_equal(kernels["auto"], kernels["weights"])
    assert not np.allclose(kernels["none"], kernels["weights"])
    assert not np.allclose(kernels["weights"], kernels["sampling"])


def test_stored_activations_keep_to_their_limit(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_ACTIVATIONS_LIMIT", "250K")
    recorder = Recorder()
    library.finetune(shapes, out=tmp_path / "run", progress=recorder, **TUNE | {"epochs": 1})
    assert re.search(r"\d of 4 augmented views per image fit", recorder.text), recorder.text
    monkeypatch.setenv("TL_ACTIVATIONS_LIMIT", "1K")
    with pytest.raises(UsageError, match="TL_ACTIVATIONS_LIMIT"):
        library.finetune(shapes, out=tmp_path / "none", **TUNE)
    assert not (tmp_path / "none").exists()


@pytest.mark.cifar
@pytest.mark.weights
def test_kept_network_predicts_the_same_on_both_engines(cifar_tar, tmp_path):
    import tarfile

    data = tmp_path / "data"
    seen: dict[str, int] = {}
    with tarfile.open(cifar_tar) as archive:
        for member in archive:
            label = Path(member.name).parent.name
            if member.isfile() and label in ("maple_tree", "oak_tree", "pine_tree") and seen.get(label, 0) < 20:
                seen[label] = seen.get(label, 0) + 1
                (data / label).mkdir(parents=True, exist_ok=True)
                (data / label / Path(member.name).name).write_bytes(archive.extractfile(member).read())
            if sum(seen.values()) == 60:
                break
    options = {
        "backbone": "efficientnet-lite0",
        "image_size": 64,
        "unfreeze": "all",
        "lr": 1e-3,
        "epochs": 4,
        "seed": 1,
        "head": "softmax",  # a weaker head to be better than
    }
    run = library.finetune(data, out=tmp_path / "run", **options)
    assert run.manifest["metrics"]["fine-tuning"]["kept"]
    assert (run.folder / "trunk.weights.h5").is_file()
    assert_engines_agree(run, sorted(data.rglob("*.png"))[::5], 2e-3)
    with (run.folder / "predictions.csv").open() as stream:
        stored = {Path(row["path"]).name: row for row in csv.DictReader(stream)}
    again = library.load(run.folder).predict([path for path in sorted(data.rglob("*.png")) if path.name in stored])
    assert [answer.label for answer in again] == [stored[Path(answer.name).name]["predicted"] for answer in again]


def test_image_deleted_during_training_is_named(shapes, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    original = Trainer.step

    def step(self, inputs, labels, rate):
        for path in data.rglob("*.png"):
            path.unlink()
        return original(self, inputs, labels, rate)

    monkeypatch.setattr(Trainer, "step", step)
    everything = TUNE | {"unfreeze": "all", "epochs": 50, "augment": "none"}
    with pytest.raises(DataError, match=r"\.png can no longer be read"):
        library.finetune(data, out=tmp_path / "run", **everything)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recorder = Recorder()
    folder = tmp_path_factory.mktemp("scratch")
    many = draw_shapes(folder / "shapes", 40, seed=0)
    options = {"backbone": "lenet5", "weights": "none", "epochs": 20, "batch": 8, "augment": "none"}
    return library.finetune(many, out=folder / "run", progress=recorder, **options), recorder


def test_network_learns_from_random_weights(trained, shapes):
    run, recorder = trained
    assert_engines_agree(run, sorted(shapes.rglob("*.png"))[::5], 1e-3)
    assert run.manifest["metrics"]["validation"]["top1"] >= 0.8
    losses = [float(row["loss"]) for row in history(run.folder)]
    assert losses[-1] < 0.5 * losses[0]
    assert "training: from random weights on 64 images" in recorder.text
    assert "did not learn" not in recorder.text
    assert run.manifest["metrics"]["fine-tuning"]["trained_parameters"] == 61_156 + 84 * 2 + 2


def test_gradients_of_layers_are_recorded_from_scratch(trained):
    with (trained[0].folder / "gradients.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["layer"] for row in rows] == ["c1", "c3", "c5", "f6", "head"]
    assert all(float(row["before"]) > 0 and float(row["after"]) > 0 for row in rows)


def test_network_that_did_not_learn_is_warned_about(tmp_path):
    recorder, many = Recorder(), draw_shapes(tmp_path / "shapes", 80, seed=0)
    for photo in sorted((many / "noise").iterdir())[70:]:
        photo.unlink()
    options = {"backbone": "lenet5", "weights": "none", "epochs": 1, "lr": 1e-7, "val": 0.9}
    run = library.finetune(many, out=tmp_path / "run", progress=recorder, **options)
    accuracy = 100 * run.manifest["metrics"]["validation"]["top1"]
    assert f"lenet5 did not learn: accuracy {accuracy:.1f}% (95% CI " in recorder.text
    assert "on 135 validation images, the largest class alone gives 53.3%; gradients.csv" in recorder.text  # 72 of 135
    page = unescape((run.folder / "report.html").read_text()).replace("\u00a0", " ")
    assert "reaches 53.3%; the classifier is hardly better, if at all." in page


def test_too_few_images_to_tell_whether_a_network_learned(shapes, tmp_path):
    recorder = Recorder()
    options = {"backbone": "lenet5", "weights": "none", "epochs": 1, "lr": 1e-7}
    run = library.finetune(shapes, out=tmp_path / "run", progress=recorder, **options)
    assert "too few images to tell whether lenet5 learned: accuracy 25.0%" in recorder.text
    assert "did not learn" not in recorder.text
    page = (run.folder / "report.html").read_text()
    assert "there are too few images to tell whether the classifier is better" in page


@pytest.mark.parametrize(("weights", "unfreeze", "network", "expected"), [
    ("none", "none", "lenet5", True),
    ("none", "auto", "lenet5", True),
    ("none", "last", "lenet5", False),
    ("none", "none", TINY, False),
    ("none", "all", TINY, True),
    ("imagenet", "all", TINY, False),
])  # fmt: skip
def test_trains_from_scratch(weights, unfreeze, network, expected):
    assert trains_from_scratch(FinetuneOptions(weights=weights, unfreeze=unfreeze), backbone(network)) == expected


def test_random_head_is_small_and_seeded():
    kernel, again, other = (random_head(84, 100, seed=seed).kernel for seed in (3, 3, 4))
    assert 0.1 < np.abs(kernel).max() < (6 / 184) ** 0.5 + 1e-6
    assert (kernel == again).all()
    assert (kernel != other).any()
