"""`import tl`: the same as the commands, from several threads too."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tl
from support.session import TINY
from tl.cache import open_cache
from tl.errors import DataError, UsageError
from tl.progress import Progress


@pytest.fixture(scope="module")
def classifier(tiny_run: Path) -> tl.Classifier:
    return tl.load(tiny_run)


def test_folders_and_patterns_are_expanded(classifier: tl.Classifier, shapes: Path) -> None:
    every = [str(path) for path in sorted(shapes.rglob("*.png"))]
    noise = [path for path in every if "/noise/" in path]
    for given in (str(shapes), shapes):
        assert [answer.name for answer in classifier.predict(given)] == every
    answers = classifier.predict(f"{shapes}/noise/*.png")
    assert [answer.name for answer in answers] == noise
    assert {answer.label for answer in answers} == {"noise"}
    mixed = classifier.predict([shapes / "noise", np.zeros((9, 9, 3), np.uint8), every[-1]])
    assert [answer.name for answer in mixed] == [*noise, str(len(noise)), every[-1]]
    assert not any(answer.error for answer in mixed)


def test_a_name_that_exists_means_itself(classifier: tl.Classifier, shapes: Path, tmp_path: Path) -> None:
    for name in ("a[1].png", "a1.png", "b*.png", "bc.png"):
        shutil.copy(shapes / "noise" / "00.png", tmp_path / name)
    for name in ("a[1].png", "b*.png"):
        assert [answer.name for answer in classifier.predict(tmp_path / name)] == [str(tmp_path / name)]


def test_what_cannot_be_predicted(classifier: tl.Classifier, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        classifier.predict(tmp_path)
    with pytest.raises(UsageError, match="is empty"):
        classifier.predict("")
    [answer] = classifier.predict(tmp_path / "*.jpg")
    assert answer.error == "cannot be read: no such file or directory"


class Warnings(Progress):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


def test_threads_of_one_process_train_with_the_one_cache(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    report = Warnings()

    def train(name: str) -> tl.Run:
        return tl.finetune(shapes, backbone=TINY, weights="none", out=tmp_path / name, progress=report)

    with open_cache(), ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(train, ("one", "two")))
    assert [run.classes for run in runs] == [("noise", "stripes")] * 2
    assert report.said == []  # not "going on without the cache"


def test_a_run_shows_itself_in_a_line_and_has_its_figures(tiny_run: Path, tmp_path: Path) -> None:
    run = tl.load(tiny_run).run
    assert repr(run) == f"<Run {run.name}: {TINY}, 2 classes (noise, stripes), validation top-1 100.0 %>"
    assert run.metrics["validation"]["top1"] == 1.0
    assert run.metrics == json.loads((tiny_run / "manifest.json").read_text())["metrics"]
    many = replace(run, classes=tuple(f"class {at}" for at in range(100)), manifest={"metrics": None})
    assert repr(many).endswith("100 classes (class 0, class 1, class 2, class 3, class 4, …)>")
    assert many.metrics == {}
