"""Finding and downloading weights, and building networks with them."""

import hashlib
import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest

from support.known_data import site as site
from support.networks import recognized
from tl.classifier import load
from tl.engines.tensorflow import preprocess
from tl.errors import WeightsError
from tl.networks import weights
from tl.networks.backbones import backbone
from tl.networks.checkpoints import write_h5
from tl.networks.sources.official import OfficialFile
from tl.networks.weights import Weights, build, cached, imagenet_kernel, resolve, verify
from tl.settings import Settings

BODY = b"weights of vgg16 " * 1000


@pytest.fixture
def where(tmp_path):
    return Settings(tmp_path / "cache", 10**9, offline=False, keras_dir=tmp_path / "keras")


@pytest.fixture
def remote(site, monkeypatch):
    """The file for vgg16 on a local server in place of Keras' own."""
    folder, url = site
    (folder / "vgg16.h5").write_bytes(BODY)
    checksum = f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"
    monkeypatch.setitem(weights.OFFICIAL_FILES, "vgg16", (OfficialFile("vgg16.h5", f"{url}vgg16.h5", checksum),))
    return folder / "vgg16.h5"


def test_resolve_downloads_the_official_file_once(remote, where):
    first = resolve(backbone("vgg16"), where=where)
    remote.unlink()
    assert resolve(backbone("vgg16"), where=where) == first
    assert first.path.read_bytes() == BODY
    assert json.loads(first.path.with_suffix(".json").read_text())["sha256"] == first.sha256


def test_resolve_prefers_the_cache_of_keras(remote, where):
    file = where.keras_dir / "models" / "vgg16.h5"
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    found = resolve(backbone("vgg16"), where=where)
    assert (found.path, found.source) == (file, "Keras' cache")
    file.write_bytes(BODY[:-1])
    assert cached(backbone("vgg16"), "imagenet", where) is None


def test_official_file_has_the_imagenet_classifier_and_one_without_it_serves(site, where, monkeypatch):
    import keras

    keras.utils.set_random_seed(1)
    whole = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3))
    checkpoint = {layer.name: [np.asarray(a) for a in layer.get_weights()] for layer in whole.layers if layer.weights}
    folder, url = site
    write_h5(checkpoint, folder / "mobilenet.h5")
    *_, last = checkpoint
    write_h5({name: arrays for name, arrays in checkpoint.items() if name != last}, folder / "no_top.h5")
    files = tuple(OfficialFile(name, f"{url}{name}", "") for name in ("mobilenet.h5", "no_top.h5"))
    monkeypatch.setitem(weights.OFFICIAL_FILES, "mobilenet", files)
    network = replace(backbone("mobilenet"), recipe=replace(backbone("mobilenet").recipe, image_size=32))
    found = resolve(network, where=where)
    assert found.source == "Keras Applications, mobilenet.h5"
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    features = np.asarray(build(network, found)(pixels, training=False))
    kernel, bias = imagenet_kernel(network, found), checkpoint[last][1]
    logits = features @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert chances == pytest.approx(np.asarray(whole(pixels, training=False)), rel=1e-2)
    own = where.keras_dir / "models" / "no_top.h5"
    own.parent.mkdir(parents=True)
    shutil.copy(folder / "no_top.h5", own)
    found.path.unlink()
    without = resolve(network, where=where)
    assert (without.path, imagenet_kernel(network, without)) == (own, None)
    assert np.asarray(build(network, without)(pixels, training=False)) == pytest.approx(features)


def test_resolve_keeps_no_file_with_a_wrong_checksum(remote, where, monkeypatch):
    wrong = replace(weights.OFFICIAL_FILES["vgg16"][0], checksum=f"md5:{'0' * 32}")
    monkeypatch.setitem(weights.OFFICIAL_FILES, "vgg16", (wrong,))
    with pytest.raises(WeightsError, match="cannot get imagenet weights for vgg16"):
        resolve(backbone("vgg16"), where=where)
    assert not list((where.cache_dir / "weights").glob("*.h5"))


def test_resolve_offline_makes_no_request_nor_for_random_weights(remote, where, monkeypatch):
    monkeypatch.setattr("tl.download.download", lambda *_, **__: pytest.fail("a request"))
    with pytest.raises(WeightsError, match="--offline"):
        resolve(backbone("vgg16"), offline=True, where=where)
    assert resolve(backbone("vgg16"), "none", where=where).choice == "none"


def test_random_weights_of_each_network_and_seed_have_a_checksum_of_their_own(where):
    of = {(name, seed): resolve(backbone(name), "none", seed=seed, where=where).sha256
          for name in ("vgg16", "lenet5") for seed in (0, 1)}  # fmt: skip
    assert len(set(of.values())) == 4


@pytest.mark.parametrize(("name", "choice", "message"), [
    ("vgg16", "imagenet21k", "no weights 'imagenet21k' for vgg16, and no such file: give imagenet, bsds500, none"),
    ("vgg16", "x" * 300, "no such file"),
    ("lenet5", "imagenet", "lenet5 has no pretrained weights: train from scratch with --weights none"),
    ("lenet5", "a.h5", "lenet5 has no pretrained weights, and there is no file 'a.h5'"),
])  # fmt: skip
def test_resolve_names_the_weights_that_exist(name, choice, message, where):
    with pytest.raises(WeightsError, match=message):
        resolve(backbone(name), choice, where=where)


def test_verify_notices_a_changed_file(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"one")
    found = resolve(backbone("vgg16"), str(path))
    verify(found)
    path.write_bytes(b"two")
    with pytest.raises(WeightsError, match=r"w\.h5 is damaged"):
        verify(found)


def test_build_rescales_official_efficientnets_as_keras_does(tmp_path, monkeypatch):
    import keras
    import keras.src.utils.file_utils as file_utils

    options = {"include_top": False, "input_shape": (224, 224, 3)}
    keras.utils.set_random_seed(3)
    model = keras.applications.EfficientNetB0(weights=None, **options)
    checkpoint = {layer.name: [np.asarray(a) for a in layer.get_weights()] for layer in model.layers if layer.weights}
    name = next(layer for layer in checkpoint if layer.startswith("normalization"))
    checkpoint[name] = [np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]) ** 2, np.float32(0)]
    path = tmp_path / "efficientnetb0_notop.h5"
    write_h5(checkpoint, path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    official_model = keras.applications.EfficientNetB0(weights="imagenet", pooling="avg", **options)
    plain = keras.applications.EfficientNetB0(weights=str(path), pooling="avg", **options)
    ours = build(backbone("efficientnetb0"), Weights("imagenet", path, "", ""))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    expected, without, features = (np.asarray(m(pixels, training=False)) for m in (official_model, plain, ours))
    assert np.abs(expected - without).max() / np.abs(expected).max() > 0.01  # the extra layer matters
    assert np.abs(expected - features).max() / np.abs(expected).max() < 1e-4


def test_build_refuses_a_keras3_file_of_another_network(tmp_path):
    import keras

    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(WeightsError, match=r"weights of another network: .*other.weights.h5.*made for vgg16"):
        build(backbone("vgg16"), resolve(backbone("vgg16"), str(path)))


@pytest.mark.weights
@pytest.mark.photos
def test_resnet50_recognizes_cats_and_dogs(imagenet, photos):
    entry = backbone("resnet50")
    model = build(entry, imagenet, include_top=True)
    for top, least in ((1, 0.8), (5, 0.9)):  # a random network reaches 0.05
        shares = recognized(lambda pixels: np.asarray(model(preprocess(pixels, entry.recipe))), photos, 20, top=top)
        assert sum(shares) / 2 >= least


@pytest.mark.weights
@pytest.mark.photos
def test_finetune_reaches_98_percent_on_dogs_vs_cats(imagenet, photos, tl, tmp_path):
    paths = sorted(photos.rglob("*.jpg"))
    random.seed(42)
    random.shuffle(paths)
    rows = [f"{path},{path.parent.name},{'train' if at < 400 else 'val'}" for at, path in enumerate(paths)]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label,split", *rows]))
    result = json.loads(tl("finetune", "photos.csv", "--json", cwd=tmp_path, expect=0).stdout)
    assert result["metrics"]["validation"]["top1"] >= 0.98
    assert result["weights"]["choice"] == "imagenet"
    predictions = load(tmp_path / "runs" / "latest").predict(paths[:6])
    assert sum(entry.label == path.parent.name for entry, path in zip(predictions, paths, strict=False)) >= 5
