"""`tl weights` and `tl.weights`: list, get and path."""

import pytest

from tl.errors import WeightsError
from tl.workflows import weights


def test_list_names_all_backbones_and_their_weights(tl):
    entries = {entry.backbone.name: entry for entry in weights.list()}
    assert (entries["vgg16"].weights, entries["lenet5"].weights) == (("imagenet", "bsds500"), ())
    lines = tl("weights", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(entries) + 1
    assert any(line.startswith("lenet5 ") and line.endswith("none: trained from scratch") for line in lines)


@pytest.mark.weights
def test_get_and_path_find_local_weights(imagenet, tl):
    assert weights.get("resnet50") == imagenet
    assert weights.path("ResNet50") == imagenet.path
    assert tl("weights", "path", "resnet50").stdout.strip() == str(imagenet.path)
    assert str(imagenet.path) in "".join(tl("weights", "get", "resnet50").stdout.split())
    lines = tl("weights", "list").stdout.splitlines()
    assert any(line.startswith("resnet50 ") and "imagenet*" in line for line in lines)


def test_path_names_the_command_for_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="`tl weights get vgg19` downloads them"):
        weights.path("vgg19")
    with pytest.raises(WeightsError, match="--offline"):
        weights.get("vgg19", offline=True)
