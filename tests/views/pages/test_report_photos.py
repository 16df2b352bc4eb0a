"""Which photos a report shows, the small pictures it makes of them, and the confusion matrix it draws."""

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.reports import made
from tl.data.images import fingerprint
from tl.views.pages.report import charts as matrix
from tl.views.pages.report import examples as choice
from tl.views.pages.report.account import typed
from tl.views.pages.report.examples import SIDE, Album, thumbnail, within
from tl.views.pages.report.predictions import Answers, read_answers
from tl.views.pages.report.scores import brief, percent, seconds


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    """1,200 answers in 50 classes, half of them wrong."""
    classes = tuple(f"class {at:02}" for at in range(50))
    made(tmp_path, classes, 1200, wrong=0.5, photos=False)
    return read_answers(tmp_path, "validation", classes)


def test_the_gallery_has_wrong_and_right_photos_of_every_class(answers: Answers):
    places = choice.gallery(answers)
    right, truth = answers.right[places], answers.truth[places]
    assert len(places) == len(set(places.tolist()))
    wanted = answers.unknown[places]
    assert np.sum(~right & ~wanted) <= choice.MOST_WRONG <= np.sum(~right)
    assert np.sum(right & ~wanted) <= choice.MOST_RIGHT <= np.sum(right)
    assert set(truth[~right].tolist()) == set(truth[right].tolist()) == set(range(50))
    for label in range(50):  # of each class the worst
        wrong = np.flatnonzero(~answers.right & (answers.truth == label))
        shown = set(places.tolist()) & set(wrong.tolist())
        assert wrong[answers.of_truth[wrong].argmin()] in shown
    assert not right[:50].any()


def test_photos_called_unknown_are_among_them(answers: Answers):
    places = choice.gallery(answers)
    assert answers.unknown.sum() > choice.MOST_UNKNOWN
    assert answers.unknown[places].sum() >= choice.MOST_UNKNOWN


def test_readers_meet_the_surest_error_first_and_the_surest_right_answer_last(answers: Answers):
    shelf = choice.shelved(answers, choice.gallery(answers))
    right, sure = answers.right[shelf], answers.confidence[shelf]
    assert not np.any(right[:-1] & ~right[1:])
    assert np.all(np.diff(sure[~right]) <= 0)
    assert np.all(np.diff(sure[right]) >= 0)


def test_worst_and_least_sure(answers: Answers):
    worst, unsure = choice.worst(answers), choice.least_sure(answers)
    assert len(worst) == choice.MOST_WORST
    assert not answers.right[worst].any()
    assert answers.of_truth[worst[0]] == answers.of_truth[~answers.right].min()
    lead = answers.confidence - answers.of_second
    assert np.all(lead[unsure] <= np.sort(lead)[len(unsure) - 1])
    older = replace(answers, second=np.full(len(lead), -1))
    assert choice.least_sure(older)[0] == answers.confidence.argmin()
    assert choice.most_sure(answers).tolist() == np.argsort(-answers.confidence, kind="stable")[:6].tolist()


def test_pairs_have_examples_of_their_own(answers: Answers):
    pairs = choice.pairs(answers, choice.matrix(answers))
    assert len(pairs) == choice.MOST_PAIRS
    for found in pairs:
        assert 0 < len(found.examples) <= choice.OF_PAIR
        for at in found.examples:
            assert (answers.truth[at], answers.answer[at]) == (found.pair.truth, found.pair.answer)


def test_a_thumbnail_is_the_photo_made_small():
    photo = np.zeros((300, 600, 3), np.uint8)
    photo[:, :300] = (250, 20, 20)
    small = thumbnail(photo)
    assert (small.width, small.height) == (SIDE, SIDE // 2)
    decoded = np.array(Image.open(BytesIO(base64.b64decode(small.uri.split(",")[1]))))
    assert decoded.shape == (SIDE // 2, SIDE, 3)
    assert np.abs(decoded[20, 20].astype(int) - (250, 20, 20)).max() < 12
    assert decoded[20, -20].max() < 12
    tiny = thumbnail(photo[:32, 284:316])
    assert (tiny.width, tiny.height) == (32, 32)


def test_an_album_without_photos_has_none(tmp_path: Path):
    assert Album(None).thumbnail("a.jpg") is None
    assert Album(None).image("a.jpg") is None
    subject = made(tmp_path, count=4)
    album = Album(subject.dataset)
    assert album.thumbnail("validation/000.jpg") is album.thumbnail("validation/000.jpg")
    assert album.thumbnail("elsewhere.jpg") is None


def test_another_photo_of_the_same_name_is_not_shown(tmp_path: Path):
    dataset = made(tmp_path, count=4).dataset
    assert dataset is not None
    prints = {name: fingerprint(picture).hex() for name, picture in zip(dataset.names, dataset.images, strict=True)}
    first, second = dataset.names[:2]
    album = Album(dataset, prints | {first: "0" * 64})
    assert not album.lost
    assert album.thumbnail(first) is None
    assert album.image(first) is None
    assert album.lost
    assert album.thumbnail(second) is not None
    assert album.image(second) is not None
    assert not album.lost


def test_a_budget_of_characters_ends_the_gallery():
    pictures = [thumbnail(np.zeros((40, 40, 3), np.uint8)) for _ in range(5)]
    size = len(pictures[0].uri)
    assert within(pictures, 3 * size) == 3
    assert within(pictures, 3 * size - 1) == 2
    assert within([None, *pictures, None], 99 * size) == 7


def test_squares_of_the_map_are_the_counts_of_the_matrix():
    counts = np.zeros((30, 30), np.int64)
    counts[np.arange(30), np.arange(30)] = 90
    counts[3, 7], counts[4, 9] = 10, 1
    layers = matrix.layers(counts)
    [right] = [layer for layer in layers if layer.kind == "right"]
    wrong = {layer.path: layer.level for layer in layers if layer.kind == "wrong"}
    assert right.path.count("M") == 30
    assert right.path.startswith("M0 0h1v1h-1z")
    assert wrong["M7 3h1v1h-1z"] == matrix.LEVELS
    assert 1 <= wrong["M9 4h1v1h-1z"] < matrix.LEVELS
    assert matrix.sparse(counts)[3] == [3, 90, 7, 10]


def test_a_small_matrix_is_a_table():
    rows = matrix.table(np.array([[9, 1], [0, 0]]), ("cat", "dog"))
    assert [[cell.count for cell in row.cells] for row in rows] == [[9, 1], [0, 0]]
    assert [cell.level > 0 for row in rows for cell in row.cells] == [True, True, False, False]
    assert rows[0].cells[1].said == "1 photo of cat answered dog, 10.0\u00a0% of the class"
    assert rows[1].cells[0].said == "0 photos of dog answered cat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/usr/bin/tl", "finetune", "my photos"], "tl finetune 'my photos'"),
        (["cli.py", "finetune"], "python cli.py finetune"),
        (["/x/tl/__main__.py", "grid"], "tl grid"),
        (["train.py"], "train.py"),
        ([], ""),
        (None, ""),
    ],
)
def test_commands_are_shown_as_typed(words: list[str] | None, said: str):
    assert typed(words) == said


def test_numbers_and_names_in_words():
    assert percent(0.97) == "97.0\u00a0%"
    assert percent(float("nan")) == "–"
    assert [seconds(value) for value in (0.184, 12.34, 125.9)] == ["0.18 s", "12.3 s", "2 min 05 s"]
    assert brief("a\u202e\x00b") == "a b"
    assert brief("") == "(no name)"
    assert len(brief("x" * 500)) == 91
