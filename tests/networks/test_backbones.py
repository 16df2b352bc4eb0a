"""The registry of backbones agrees with Keras Applications."""

import inspect

import numpy as np
import pytest

from tl.engines.tensorflow import preprocess
from tl.errors import BackboneError
from tl.networks.backbones import BACKBONES, backbone
from tl.networks.sources.official import OFFICIAL_FILES


@pytest.fixture(scope="module")
def applications():
    import keras

    return keras.applications


def test_registry_has_every_network_of_keras(applications):
    names = {name.lower() for name, _ in inspect.getmembers(applications, inspect.isfunction)}
    assert {name for name, entry in BACKBONES.items() if entry.in_keras} == names


def test_preprocessing_is_that_of_keras(applications):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(np.float32)
    modules = [module for _, module in inspect.getmembers(applications, inspect.ismodule)]
    for entry in BACKBONES.values():
        if not entry.in_keras:
            continue
        home = next((module for module in modules if hasattr(module, entry.builder)), None)
        expected = home.preprocess_input(pixels.copy()) if home else pixels  # MobileNetV3 scales inside the network
        np.testing.assert_allclose(preprocess(pixels, entry.recipe), expected, rtol=1e-5, atol=1e-4, err_msg=entry.name)


def test_official_files_are_those_that_keras_downloads(applications, monkeypatch):
    import keras.src.utils.file_utils as file_utils

    class Download(Exception):
        pass

    def get_file(fname=None, origin=None, *_, **options):
        raise Download(fname, origin, options.get("file_hash"))

    monkeypatch.setattr(file_utils, "get_file", get_file)
    for name in ("VGG16", "ResNet50", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny"):
        size, files = backbone(name).recipe.image_size, OFFICIAL_FILES[name.lower()]
        for ours, include_top in zip(files, (True, False)[-len(files) :], strict=True):
            with pytest.raises(Download) as download:
                getattr(applications, name)(include_top=include_top, weights="imagenet", input_shape=(size, size, 3))
            file, url, checksum = download.value.args
            assert (ours.file, ours.url, ours.checksum.partition(":")[2]) == (file, url, checksum or "")


def test_parameters_and_features_are_those_of_the_networks(applications):
    for name in ("vgg16", "resnet50", "mobilenetv2"):
        entry = backbone(name)
        options = {"weights": None, "pooling": "avg", "input_shape": (224, 224, 3)}
        model = getattr(applications, entry.builder)(include_top=False, **options)
        assert (model.count_params(), model.output_shape[-1]) == (entry.parameters, entry.features)


def test_backbone_ignores_case_and_hyphens_and_suggests_similar_names():
    assert {backbone(spelling).name for spelling in ("ResNet50", "resnet-50", "RESNET_50")} == {"resnet50"}
    with pytest.raises(BackboneError, match=r"no backbone is called 'resnet5': did you mean .*resnet50"):
        backbone("resnet5")
