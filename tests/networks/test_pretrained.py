"""ResNet50 with its real ImageNet weights on real photos."""

import csv
import json
import random

import numpy as np
import pytest

from tl.data.images import decode, fit, read
from tl.engines.tensorflow import preprocess
from tl.networks.backbones import backbone
from tl.networks.models import build

pytestmark = [pytest.mark.weights, pytest.mark.photos]
CATS, DOGS = range(281, 286), range(151, 269)  # ImageNet's five domestic cats and its 118 breeds of dogs


def test_the_network_names_imagenet_classes_right(imagenet, photos):
    entry = backbone("resnet50")
    model = build(entry, imagenet, include_top=True)
    first, among_five = 0, 0
    for label, classes in (("Cat", CATS), ("Dog", DOGS)):
        paths = sorted((photos / label).iterdir())[:20]
        pixels = np.stack([fit(decode(read(path), 224), 224) for path in paths]).astype(np.float32)
        ranked = np.argsort(-np.asarray(model(preprocess(pixels, entry.recipe))), axis=1)
        first += sum(int(row[0]) in classes for row in ranked)
        among_five += sum(any(int(top) in classes for top in row[:5]) for row in ranked)
    assert first >= 32  # of 40; a random network reaches 2
    assert among_five >= 36


def test_keras_reads_the_fetched_file_by_itself(imagenet):
    import keras

    model = keras.applications.ResNet50(weights=str(imagenet.path))
    assert model.count_params() == 25_636_712


def test_dogs_vs_cats_reaches_98_percent(imagenet, photos, tl, tmp_path):
    paths = sorted(photos.rglob("*.jpg"))
    random.seed(42)
    random.shuffle(paths)
    with (tmp_path / "photos.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split"))
        writer.writerows((p, p.parent.name, "train" if at < 400 else "val") for at, p in enumerate(paths))
    done = tl("finetune", "photos.csv", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["validation"]["top1"] >= 0.98
    assert found["weights"]["choice"] == "imagenet"
    answers = json.loads(tl("predict", *paths[:6], "--json", cwd=tmp_path).stdout)
    assert sum(answer["label"] == path.parent.name for answer, path in zip(answers, paths, strict=False)) >= 5
