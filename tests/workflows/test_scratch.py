"""Networks of the teaching material are trained from random weights, and say so when they do not learn."""

import csv
from html import unescape

import numpy as np
import pytest

import tl as library
from support.session import draw_shapes
from tl.runs.options import Options
from tl.workflows.finetune_backbone import first_head, wanted
from workflows.test_finetune_backbone import Heard, history


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    heard = Heard()
    folder = tmp_path_factory.mktemp("scratch")
    many = draw_shapes(folder / "shapes", 40, seed=0)
    options = {"backbone": "lenet5", "weights": "none", "epochs": 20, "batch": 8, "augment": "none"}
    return library.finetune(many, out=folder / "run", progress=heard, **options), heard


def test_a_network_learns_from_random_weights(trained):
    run, heard = trained
    assert run.manifest["metrics"]["validation"]["top1"] >= 0.8
    losses = [float(row["loss"]) for row in history(run.folder)]
    assert losses[-1] < 0.5 * losses[0]
    assert "training: from random weights on 64 photos" in heard.text
    assert "did not learn" not in heard.text
    assert run.manifest["metrics"]["fine-tuning"]["trained_parameters"] == 61_156 + 84 * 2 + 2


def test_its_run_predicts_the_same_on_both_engines(trained, shapes):
    run, _ = trained
    photos = sorted(shapes.rglob("*.png"))[::5]
    shares = []
    for engine in ("openvino", "tensorflow"):
        answers = library.load(run.folder, engine=engine, precision="f32").predict(photos)
        shares.append([[dict(answer.top)[name] for name in run.classes] for answer in answers])
    assert np.abs(np.array(shares[0]) - np.array(shares[1])).max() < 1e-3


def test_the_gradients_of_its_layers_are_kept(trained):
    with (trained[0].folder / "gradients.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["layer"] for row in rows] == ["c1", "c3", "c5", "f6", "head"]
    assert all(float(row["before"]) > 0 and float(row["after"]) > 0 for row in rows)


def test_a_network_that_stays_at_chance_is_said_not_to_have_learned(tmp_path):
    heard, many = Heard(), draw_shapes(tmp_path / "shapes", 80, seed=0)
    for photo in sorted((many / "noise").iterdir())[70:]:
        photo.unlink()
    options = {"backbone": "lenet5", "weights": "none", "epochs": 1, "lr": 1e-7, "val": 0.9}
    run = library.finetune(many, out=tmp_path / "run", progress=heard, **options)
    right = 100 * run.manifest["metrics"]["validation"]["top1"]
    assert f"lenet5 did not learn: {right:.1f} % of 135 validation photos are right (95 % interval " in heard.text
    assert "naming the largest class alone gives 53.3 %; gradients.csv tells" in heard.text  # 72 of 135
    page = unescape((run.folder / "report.html").read_text()).replace("\u00a0", " ")
    assert "would get 53.3 %: the classifier does hardly better, if at all." in page


def test_few_photos_do_not_tell_whether_a_network_learned(shapes, tmp_path):
    heard = Heard()
    options = {"backbone": "lenet5", "weights": "none", "epochs": 1, "lr": 1e-7}
    run = library.finetune(shapes, out=tmp_path / "run", progress=heard, **options)
    assert "so few photos do not tell whether lenet5 learned: 25.0 % of 4 validation photos are right" in heard.text
    assert "did not learn" not in heard.text
    assert "these photos do not tell whether the classifier does better" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("weights", "unfreeze", "zoo", "expected"),
    [
        ("none", "none", True, True),
        ("none", "auto", True, True),
        ("none", "last", True, False),
        ("none", "none", False, False),
        ("none", "all", False, True),
        ("imagenet", "all", False, False),
    ],
)
def test_when_a_network_is_trained_from_random_weights(weights, unfreeze, zoo, expected):
    assert wanted(Options("data", weights=weights, unfreeze=unfreeze), zoo) == expected


def test_the_first_head_is_small_and_seeded():
    head = first_head(84, 100, seed=3)
    assert head.kernel.shape == (84, 100)
    assert 0.1 < np.abs(head.kernel).max() < (6 / 184) ** 0.5 + 1e-6
    assert (head.kernel == first_head(84, 100, seed=3).kernel).all()
    assert (head.kernel != first_head(84, 100, seed=4).kernel).any()
