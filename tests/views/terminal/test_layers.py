"""The layer table lists every layer once, adds up, and fits a terminal; `tl model` prints it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.outlines import outline, registered
from support.session import ROOT
from tl.commands.model import command
from tl.errors import BackboneError
from tl.networks.zoo.classic import simple_cnn
from tl.networks.zoo.googlenet import googlenet
from tl.networks.zoo.resnet import resnet50_cifar
from tl.views.terminal.layers import layer_table


@pytest.mark.parametrize(
    "make",
    [
        lambda: outline(resnet50_cifar, classes=100),
        lambda: outline(googlenet),
        lambda: registered("DenseNet121"),
        lambda: registered("ConvNeXtTiny"),
        lambda: registered("NASNetMobile"),
    ],
    ids=["resnet50-cifar", "googlenet", "densenet121", "convnexttiny", "nasnetmobile"],
)
def test_it_adds_up(make):
    model = make()
    table = layer_table(model)
    assert [layer.name for layer in table.layers] == [layer.name for layer in model.layers]
    assert sum(layer.parameters for layer in table.layers) == table.parameters == model.count_params()
    assert table.trainable == sum(layer.trainable for layer in table.layers)
    lines = table.text().splitlines()
    assert max(map(len, lines)) <= 80
    named = {line.split()[0] for line in lines[2:-4]}
    assert named >= {layer.name.removeprefix(f"{model.name}_") for layer in model.layers}
    assert lines[-3].split() == [str(len(model.layers)), "layers", f"{model.count_params():,}"]


def test_it_tells_what_is_not_trained(monkeypatch):
    model = outline(resnet50_cifar, classes=100)
    assert layer_table(model).trainable == 23_712_932
    assert [line.split()[-1] for line in layer_table(model).text().splitlines()[-3:]] == [
        "23,766,052",
        "23,712,932",
        "53,120",
    ]
    monkeypatch.setattr(model.get_layer("conv1_conv"), "trainable", False)
    assert layer_table(model).trainable == 23_712_932 - 9_408


def test_it_reads_as_a_table():
    rows = [line.split() for line in layer_table(outline(simple_cnn, classes=100)).text().splitlines()]
    assert rows[0] == ["layer", "kind", "output", "parameters"]
    assert rows[2][0].startswith("input_layer")  # numbered by Keras through the life of a process
    assert rows[2][1:] == ["InputLayer", "32×32×3", "0"]
    assert rows[3:6] == [
        ["conv1", "Conv2D", "30×30×16", "448"],
        ["pool1", "MaxPooling2D", "15×15×16", "0"],
        ["conv2", "Conv2D", "13×13×32", "4,640"],
    ]
    assert rows[7:10] == [
        ["flatten", "Flatten", "1,152", "0"],
        ["fc1", "Dense", "256", "295,168"],
        ["predictions", "Dense", "100", "25,700"],
    ]


def test_a_layer_used_twice_counts_once():
    import keras

    image = keras.Input((4,))
    twice = keras.layers.Dense(4, name="twice")
    table = layer_table(keras.Model(image, twice(twice(image))))
    assert [(layer.name, layer.parameters) for layer in table.layers[1:]] == [("twice", 20)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`tl model` in a process of its own, which chooses its own backend."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", "from tl.commands.model import command; command()", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        check=False,
    )


def test_the_command_prints_and_draws(tmp_path: Path):
    done = run(tmp_path, "ResNet50", "--classes", "100")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert ["177", "layers", "23,792,612"] in [line.split() for line in lines]
    assert lines[-2].split()[:2] == ["features", "2,048,"]
    assert lines[-1].split() == ["drawing", "resnet50.svg"]
    assert [path.name for path in tmp_path.iterdir()] == ["resnet50.svg"]
    assert "→ 100 classes" in (tmp_path / "resnet50.svg").read_text(encoding="utf-8")


def test_the_command_answers_in_json(tmp_path: Path):
    target = tmp_path / "drawings" / "net.svg"
    done = run(tmp_path, "vgg19", "--json", "--svg", str(target))
    answer = json.loads(done.stdout)
    assert (answer["name"], answer["parameters"], answer["svg"]) == ("vgg19", 143_667_240, str(target))
    assert sum(layer["parameters"] for layer in answer["layers"]) == answer["trainable"] == 143_667_240
    assert answer["layers"][1] == {
        "name": "block1_conv1",
        "kind": "Conv2D",
        "output": [224, 224, 64],
        "parameters": 1792,
        "trainable": 1792,
    }
    assert target.is_file()


def test_an_unknown_name_is_refused():
    with pytest.raises(BackboneError, match="no backbone is called 'resnet5'"):
        CliRunner().invoke(command, ["resnet5"], catch_exceptions=False)


def test_no_classes_are_refused():
    assert CliRunner().invoke(command, ["resnet50", "--classes", "0"]).exit_code == 2
