"""`tl weights` and `tl.weights`: list, get and path."""

import pytest
from click.testing import CliRunner

from tl.commands.weights import command
from tl.errors import WeightsError
from tl.networks.weights import Weights
from tl.workflows import weights


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_list_names_all_backbones_and_their_weights():
    entries = {entry.backbone.name: entry for entry in weights.list()}
    assert entries["vgg16"].weights == ("imagenet", "bsds500")
    assert entries["lenet5"].weights == ()
    lines = invoke("list").splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(entries) + 1
    assert any(line.startswith("lenet5 ") and line.endswith("none: trained from scratch") for line in lines)


@pytest.mark.weights
def test_get_and_path_find_local_weights(imagenet: Weights):
    assert weights.get("resnet50") == imagenet
    assert weights.path("ResNet50") == imagenet.path
    assert invoke("path", "resnet50").strip() == str(imagenet.path)
    assert str(imagenet.path) in "".join(invoke("get", "resnet50").split())
    assert any(line.startswith("resnet50 ") and "imagenet*" in line for line in invoke("list").splitlines())


def test_path_names_the_command_for_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="`tl weights get vgg19` downloads them"):
        weights.path("vgg19")
    with pytest.raises(WeightsError, match="--offline"):
        weights.get("vgg19", offline=True)
