"""Tests of the options of `tl finetune`: bounds, run.toml, and where they are offered."""

from dataclasses import fields, replace

import pytest

from support.session import ROOT
from tl.errors import UsageError
from tl.options import check, write_toml
from tl.runs.finetune_options import FinetuneOptions, read_options

OTHER = FinetuneOptions(
    head="lda",
    from_run="runs/first",
    group_by=r"(p\d+)_",
    data="my photos/\"a\" 'b' ü\\c",
    backbone="vgg16",
    weights="bsds500",
    out="runs/x",
    val=0.25,
    seed=2**32 - 1,
    image_size=96,
    unfreeze="half",
    epochs=3,
    batch=8,
    lr="auto",
    optimizer="sgd",
    weight_decay=0.05,
    label_smoothing=0.1,
    augment="strong",
    balance="sampling",
    unknown_rate=0.05,
    budget="10m",
    tensorboard=True,
    engine="tensorflow",
    precision="bf16",
    threads=2,
    cache=False,
    download=True,
    offline=True,
)


@pytest.mark.parametrize("options", [OTHER, FinetuneOptions("data"), replace(OTHER, lr="0.001", epochs=None)])
def test_run_toml_is_read_back_without_out(options, tmp_path):
    assert not [one.name for one in fields(OTHER) if getattr(OTHER, one.name) == one.default]
    check(options)
    write_toml(options, tmp_path / "run.toml", leave_out=("out",))
    names = [line.split(" = ")[0] for line in (tmp_path / "run.toml").read_text(encoding="utf-8").splitlines()]
    assert "weight-decay" in names or options is not OTHER  # as the command has them
    assert FinetuneOptions(**read_options(tmp_path / "run.toml")) == replace(options, out=None)


def test_run_toml_of_format_1_is_read_without_removed_options(tmp_path):
    values = read_options(ROOT / "tests/old_runs/format1/head/run.toml")
    assert (values["data"], values["backbone"], values["unknown_rate"]) == ("shapes", "lenet5", 0.01)
    (tmp_path / "run.toml").write_text("views = 4\nlr = 0.001\nbudget = 10\n")
    assert read_options(tmp_path / "run.toml") == {"lr": "0.001", "budget": "10"}


def test_data_that_is_not_utf8_is_written_with_question_marks(tmp_path):
    write_toml(FinetuneOptions("photos\udcff"), tmp_path / "run.toml")
    assert read_options(tmp_path / "run.toml")["data"] == "photos?"


def test_command_has_every_option():
    from tl.commands.finetune import command

    assert {one.name for one in fields(FinetuneOptions)} <= {parameter.name for parameter in command.params}


@pytest.mark.parametrize(("change", "message"), [
    ({"unfreeze": "most"}, "--unfreeze most: choose none, last, half, all, auto"),
    ({"val": 0.0}, "--val 0: .* between 0 and 1"),
    ({"val": float("nan")}, "--val nan: .* between 0 and 1"),
    ({"seed": -1}, "--seed -1: give"),
    ({"seed": 2**32}, "--seed 4"),
    ({"image_size": "large"}, "--image-size large: give pixels from 32 to 1024, or auto"),
    ({"image_size": 31}, "--image-size 31: give pixels from 32 to 1024"),
    ({"epochs": 0}, "--epochs 0: give epochs from 1 to 10000"),
    ({"batch": 0}, "--batch 0: give images from 1 to 4096"),
    ({"weight_decay": -0.1}, "--weight-decay -0.1: give a number from 0 to 1"),
    ({"budget": "soon"}, "--budget 'soon' is not a duration"),
    ({"lr": "fast"}, "--lr 'fast' is not a learning rate: give one such as 1e-4, or auto"),
    ({"lr": "0"}, "--lr '0' is not a learning rate"),
    ({"lr": "nan"}, "--lr 'nan' is not a learning rate"),
    ({"lr": "inf"}, "--lr 'inf' is not a learning rate"),
], ids=str)  # fmt: skip
def test_value_out_of_bounds_is_refused_with_those_allowed(change, message):
    with pytest.raises(UsageError, match=f"^{message}") as raised:
        check(FinetuneOptions("x", **change))
    assert "\n" not in str(raised.value)


def test_learning_rate_is_a_number_or_left_to_the_rules():
    assert FinetuneOptions().learning_rate is None
    assert FinetuneOptions(lr="auto").learning_rate is None
    assert FinetuneOptions(lr="1e-4").learning_rate == pytest.approx(1e-4)
