"""`tl.load`: predictions, probabilities and features of images in any form."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tl
from support.data_sets import write_video
from support.recorder import Recorder
from support.session import TINY
from tl.cache import open_cache
from tl.errors import DataError, ImageError, UsageError


@pytest.fixture(scope="module")
def classifier(tiny_run: Path) -> tl.Classifier:
    return tl.load(tiny_run)


def test_predict_names_what_is_not_an_image(classifier, tmp_path):
    with pytest.raises(DataError):
        classifier.predict(tmp_path)
    with pytest.raises(UsageError, match="is empty"):
        classifier.predict("")
    with pytest.raises(UsageError, match="top=0: give at least 1"):
        classifier.predict(tmp_path, top=0)
    [prediction] = classifier.predict(tmp_path / "*.jpg")
    assert prediction.error == "cannot be read: no such file or directory"


def test_predict_proba_has_the_calibrated_probabilities(classifier, shapes):
    probabilities = classifier.predict_proba(shapes)
    predictions = classifier.predict(shapes)
    assert (probabilities.shape, probabilities.dtype) == ((24, 2), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    labels = [classifier.classes[best] for best in probabilities.argmax(axis=1)]
    assert labels == [prediction.label for prediction in predictions]
    np.testing.assert_allclose(probabilities.max(axis=1), [one.confidence for one in predictions], atol=0.02)


def test_embed_has_a_row_of_features_for_each_image(classifier, shapes, tmp_path):
    features = classifier.embed([shapes / "noise" / "00.png", np.zeros((9, 9, 3), np.uint8)])
    assert (features.shape, features.dtype) == ((2, classifier.run.backbone.features), np.float32)
    (tmp_path / "broken.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"broken\.png: not an image"):
        classifier.embed(tmp_path / "broken.png")


def test_stream_takes_tables_videos_and_folders(classifier, shapes, tmp_path):
    (tmp_path / "table.csv").write_text(f"path\n{shapes / 'noise' / '00.png'}\ngone.png\n")
    clip = write_video(tmp_path / "clip.avi", frames=4)
    images = [tmp_path / "table.csv", clip, str(shapes / "stripes")]
    predictions = list(classifier.stream(images, top=1, every=3))
    names = [prediction.name.rsplit("/")[-1] for prediction in predictions[:4]]
    assert names == ["00.png", "gone.png", "clip.avi#frame=0", "clip.avi#frame=3"]
    assert [bool(prediction.error) for prediction in predictions] == [False, True] + [False] * 14
    with pytest.raises(UsageError, match="every=0: give at least 1"):
        classifier.stream(shapes, every=0)


def test_threads_of_one_process_share_the_cache(shapes, tiny_run, tmp_path):
    progress = Recorder()

    def train(name: str) -> tl.Run:
        return tl.finetune(shapes, backbone=TINY, weights="none", val=0.2, out=tmp_path / name, progress=progress)

    with open_cache(), ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(train, ("one", "two")))
    assert [run.classes for run in runs] == [("noise", "stripes")] * 2
    assert "warning" not in progress.text  # not "going on without the cache"
