"""`tl model` and `tl.model`: the layer table, and a drawing on request."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from tl.commands.model import command
from tl.errors import BackboneError, StorageError, UsageError
from tl.workflows.model import model


def test_command_prints_the_table_and_writes_nothing(tmp_path, tl_process):
    done = tl_process("model", "ResNet50", "--classes", "100", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert ["177", "layers", "23,792,612"] in [line.split() for line in lines]
    assert lines[-1].split()[:2] == ["features", "2,048,"]
    assert list(tmp_path.iterdir()) == []


def test_command_draws_and_prints_json(tmp_path, tl):
    target = tmp_path / "drawings" / "net.svg"
    done = tl("model", "vgg19", "--json", "--svg", target, cwd=tmp_path)
    summary = json.loads(done.stdout)
    assert (summary["name"], summary["parameters"], summary["svg"]) == ("vgg19", 143_667_240, str(target))
    assert sum(layer["parameters"] for layer in summary["layers"]) == summary["trainable"] == 143_667_240
    expected = {"name": "block1_conv1", "kind": "Conv2D", "output": [224, 224, 64]}
    assert summary["layers"][1] == expected | {"parameters": 1792, "trainable": 1792}
    assert "→ 1,000 classes" in target.read_text(encoding="utf-8")


def test_model_returns_the_table_and_the_drawing(tmp_path: Path):
    summary = model("lenet5", classes=10)
    assert summary.table.parameters == 62_006
    assert "dense 84" in summary._repr_svg_()
    assert str(summary).splitlines()[-3].split() == ["9", "layers", "62,006"]
    summary.save(tmp_path / "lenet5.svg")
    assert ET.parse(tmp_path / "lenet5.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own
    with pytest.raises(StorageError, match="cannot be written"):
        summary.save(tmp_path / "lenet5.svg" / "below.svg")


def test_model_has_the_classes_of_its_data_set_and_refuses_unknown_names():
    for name, classes in (("lenet5", 100), ("resnet18", 1000)):
        assert model(name).table.layers[-1].output == (classes,)
    with pytest.raises(BackboneError, match="no backbone is called 'resnet5'"):
        model("resnet5")
    with pytest.raises(UsageError, match="--classes 0"):
        model("lenet5", classes=0)
    assert CliRunner().invoke(command, ["resnet50", "--classes", "0"]).exit_code == 2
