"""What a run is made with: written as TOML and read again, and refused where it cannot be meant."""

from dataclasses import fields, replace

import pytest

from tl.errors import UsageError
from tl.runs.options import Options, read, seconds, write

EVERY = Options(
    data="my photos/\"a\" 'b' ü\\c",
    backbone="vgg16",
    weights="bsds500",
    out=None,
    val=0.25,
    seed=2**32 - 1,
    engine="tensorflow",
    precision="bf16",
    cache=False,
    offline=True,
    download=True,
    threads=2,
    image_size=96,
    unfreeze="half",
    epochs=3,
    batch=8,
    lr="auto",
    optimizer="sgd",
    weight_decay=0.05,
    label_smoothing=0.1,
    augment="strong",
    views=2,
    balance="sampling",
    unknown_rate=0.05,
    budget="10m",
    tensorboard=True,
)


@pytest.fixture
def config(tmp_path):
    """Write a TOML file and give its path."""

    def written(text: str):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_every_option_is_tried_here():
    plain = Options(data="x")
    same = {entry.name for entry in fields(Options) if getattr(EVERY, entry.name) == getattr(plain, entry.name)}
    assert same == {"out"}


@pytest.mark.parametrize("given", [EVERY, Options(data="data"), replace(EVERY, lr="0.001", epochs=None)])
def test_what_is_written_is_read_back(given, tmp_path):
    given.check()
    write(given, tmp_path / "run.toml")
    assert Options(**read(tmp_path / "run.toml")) == given


def test_where_a_run_stands_is_not_written(tmp_path):
    write(replace(EVERY, out="runs/a"), tmp_path / "run.toml")
    assert "out" not in read(tmp_path / "run.toml")


def test_names_are_those_of_the_command(tmp_path):
    write(EVERY, tmp_path / "run.toml")
    text = (tmp_path / "run.toml").read_text(encoding="utf-8")
    assert "weight-decay = 0.05\n" in text
    assert "_" not in "".join(line.split(" = ")[0] for line in text.splitlines())


def test_hyphens_and_underscores_are_the_same(config):
    assert read(config("image-size = 96\nweight_decay = 0.1\n")) == {"image_size": 96, "weight_decay": 0.1}


def test_the_command_has_every_option():
    from tl.commands.finetune import command

    offered = {parameter.name for parameter in command.params}
    assert {entry.name for entry in fields(Options)} <= offered


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epoch", "did you mean epochs"),
        ("unfreez", "did you mean unfreeze"),
        ("image-sise", "did you mean image_size"),
        ("quux", "there are data, backbone, weights,"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(config, name, hint):
    with pytest.raises(UsageError, match=rf"run\.toml: no option is called '{name}': {hint}"):
        read(config(f"{name} = 1\n"))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("epochs = 'three'", "int"),
        ("epochs = 3.5", "int"),
        ("epochs = true", "int"),
        ("val = '0.2'", "float"),
        ("val = false", "float"),
        ("weight-decay = [1]", "float"),
        ("cache = 1", "bool"),
        ("cache = 'yes'", "bool"),
        ("backbone = true", "str"),
        ("backbone = ['vgg16']", "str"),
        ("data = 2026-01-01", "str"),
        ("[data]\nx = 1", "str"),
    ],
)
def test_a_wrong_type_is_refused(config, line, kind):
    with pytest.raises(UsageError, match=rf"run\.toml: [a-z\-]+ = .*: it wants a {kind}$"):
        read(config(line))


def test_numbers_may_stand_for_words_and_whole_numbers_for_others(config):
    assert read(config("lr = 0.001\nbudget = 10\nweight-decay = 0\n")) == {
        "lr": "0.001",
        "budget": "10",
        "weight_decay": 0,
    }


def test_a_file_that_is_none_is_refused(config, tmp_path):
    with pytest.raises(UsageError, match=r"run\.toml is not TOML .*: write lines such as backbone = 'resnet50'"):
        read(config("backbone: vgg16"))
    (tmp_path / "run.toml").write_bytes(b"backbone = '\xff'")
    with pytest.raises(UsageError, match=r"run\.toml is not TOML"):
        read(tmp_path / "run.toml")
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read \(No such file or directory\): give the path"):
        read(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("10", 600), (" 2 m ", 120), ("0.5s", 0.5), ("0.1", 6)],
)
def test_times(text, expected):
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "m", "0", "0s", "-5m", "ten", "10d", "1h30m", "1e3s", ".5h", "nan", "inf"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match=f"^--budget {text}: give a time such as 90s, 10m or 1.5h"):
        seconds(text)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unfreeze": "most"}, "--unfreeze most: choose none, last, half, all, auto"),
        ({"balance": "even"}, "--balance even: choose auto, none, weights, sampling"),
        ({"optimizer": "adam"}, "--optimizer adam: choose adamw, sgd"),
        ({"augment": "hard"}, "--augment hard: choose none, light, strong"),
        ({"val": 0.0}, "--val 0: .* between 0 and 1"),
        ({"val": 1.0}, "--val 1: .* between 0 and 1"),
        ({"val": NAN}, "--val nan: .* between 0 and 1"),
        ({"seed": -1}, "--seed -1: a seed lies between 0 and 4294967295"),
        ({"seed": 2**32}, "--seed 4294967296: a seed lies between 0 and 4294967295"),
        ({"image_size": 31}, "--image-size 31: give pixels from 32 to 1024"),
        ({"image_size": 1025}, "--image-size 1025: give pixels from 32 to 1024"),
        ({"epochs": 0}, "--epochs 0: give epochs from 1 to 10000"),
        ({"batch": 0}, "--batch 0: give photos from 1 to 4096"),
        ({"views": 0}, "--views 0: give views from 1 to 100"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1: give from 0 to 1"),
        ({"weight_decay": NAN}, "--weight-decay nan: give from 0 to 1"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1: give from 0 to 0.9"),
        ({"budget": "soon"}, "--budget soon: give a time"),
        ({"lr": "fast"}, "--lr fast: give a learning rate such as 1e-4, or auto"),
        ({"lr": "0"}, "--lr 0: give a learning rate"),
        ({"lr": "-1e-4"}, "--lr -1e-4: give a learning rate"),
        ({"lr": "nan"}, "--lr nan: give a learning rate"),
        ({"lr": "inf"}, "--lr inf: give a learning rate"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_meant_is_refused_with_those_that_can(change, message):
    with pytest.raises(UsageError, match=f"^{message}") as raised:
        Options(data="x", **change).check()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 32},
        {"image_size": 1024},
        {"epochs": 1},
        {"batch": 1},
        {"views": 100},
        {"weight_decay": 0.0},
        {"label_smoothing": 0.9},
        {"seed": 0},
        {"lr": "auto"},
        {"lr": "1e-4"},
    ],
    ids=str,
)
def test_the_ends_of_what_is_allowed_are_allowed(change):
    Options(data="x", **change).check()


def test_the_learning_rate_is_a_number_or_left_open():
    assert Options(data="x").learning_rate is None
    assert Options(data="x", lr="auto").learning_rate is None
    assert Options(data="x", lr="1e-4").learning_rate == pytest.approx(1e-4)


def test_a_name_that_is_no_utf8_is_written_all_the_same(tmp_path):
    write(Options(data="photos\udcff"), tmp_path / "run.toml")
    assert read(tmp_path / "run.toml")["data"] == "photos?"
