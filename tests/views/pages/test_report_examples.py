"""Which images a report shows, and their thumbnails."""

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.reports import report_folder
from tl.data.images import fingerprint
from tl.evaluation.metrics import confusion
from tl.views.pages import report_examples as examples
from tl.views.pages.report_examples import SIDE, Thumbnails, fitting, thumbnail
from tl.views.pages.report_scores import PredictionTable


@pytest.fixture
def table(tmp_path: Path) -> PredictionTable:
    """1,200 predictions in 50 classes, half of them wrong."""
    return report_folder(tmp_path, [f"class {at:02}" for at in range(50)], 1200, wrong=0.5, images=False).predictions()


def test_gallery_has_wrong_correct_and_unknown_images(table):
    rows = examples.gallery(table)
    correct, truth, unknown = table.correct[rows], table.truth[rows], table.unknown[rows]
    assert len(rows) == len(set(rows.tolist()))
    assert np.sum(~correct & ~unknown) <= examples.MOST_WRONG <= np.sum(~correct)
    assert np.sum(correct & ~unknown) <= examples.MOST_CORRECT <= np.sum(correct)
    assert set(truth[~correct].tolist()) == set(truth[correct].tolist()) == set(range(50))
    for label in range(50):  # of each class the worst
        wrong = np.flatnonzero(~table.correct & (table.truth == label))
        shown = set(rows.tolist()) & set(wrong.tolist())
        assert wrong[table.truth_confidence[wrong].argmin()] in shown
    assert not correct[:50].any()
    assert table.unknown.sum() > examples.MOST_UNKNOWN
    assert unknown.sum() >= examples.MOST_UNKNOWN


def test_reading_order_begins_with_confident_errors_and_ends_with_confident_hits(table):
    order = examples.reading_order(table, examples.gallery(table))
    correct, confidence = table.correct[order], table.confidence[order]
    assert not np.any(correct[:-1] & ~correct[1:])
    assert np.all(np.diff(confidence[~correct]) <= 0)
    assert np.all(np.diff(confidence[correct]) >= 0)


def test_worst_and_least_certain_images_are_chosen_by_probability(table):
    worst, uncertain = examples.worst(table), examples.least_certain(table)
    assert len(worst) == examples.MOST_WORST
    assert not table.correct[worst].any()
    assert table.truth_confidence[worst[0]] == table.truth_confidence[~table.correct].min()
    margin = table.confidence - table.second_confidence
    assert np.all(margin[uncertain] <= np.sort(margin)[len(uncertain) - 1])
    older = replace(table, second=np.full(len(margin), -1))
    assert examples.least_certain(older)[0] == table.confidence.argmin()
    assert examples.most_confident(table).tolist() == np.argsort(-table.confidence, kind="stable")[:6].tolist()


def test_confused_pairs_have_their_own_examples(table):
    pairs = examples.confused_pairs(table, confusion(table.truth, table.predicted, len(table.classes)))
    assert len(pairs) == examples.MOST_PAIRS
    for pair, rows in pairs:
        assert 0 < len(rows) <= examples.PER_PAIR
        for row in rows:
            assert (table.truth[row], table.predicted[row]) == (pair.truth, pair.predicted)


def test_thumbnail_is_the_image_made_small():
    image = np.zeros((300, 600, 3), np.uint8)
    image[:, :300] = (250, 20, 20)
    small = thumbnail(image)
    assert (small.width, small.height) == (SIDE, SIDE // 2)
    decoded = np.array(Image.open(BytesIO(base64.b64decode(small.uri.split(",")[1]))))
    assert decoded.shape == (SIDE // 2, SIDE, 3)
    assert np.abs(decoded[20, 20].astype(int) - (250, 20, 20)).max() < 12
    assert decoded[20, -20].max() < 12
    tiny = thumbnail(image[:32, 284:316])
    assert (tiny.width, tiny.height) == (32, 32)


def test_thumbnails_are_made_once_and_of_images_of_the_run_alone(tmp_path):
    assert Thumbnails(None).get("a.jpg") is None
    assert Thumbnails(None).image("a.jpg") is None
    dataset = report_folder(tmp_path, count=4).dataset
    thumbnails = Thumbnails(dataset)
    assert thumbnails.get("validation/000.jpg") is thumbnails.get("validation/000.jpg")
    assert thumbnails.get("elsewhere.jpg") is None
    sha256 = {name: fingerprint(image).hex() for name, image in zip(dataset.names, dataset.images, strict=True)}
    first, second = dataset.names[:2]
    thumbnails = Thumbnails(dataset, sha256 | {first: "0" * 64})  # another image of the same name
    assert not thumbnails.none_readable
    assert thumbnails.get(first) is None
    assert thumbnails.image(first) is None
    assert thumbnails.none_readable
    assert thumbnails.get(second) is not None
    assert not thumbnails.none_readable


def test_fitting_counts_the_thumbnails_within_a_budget():
    thumbnails = [thumbnail(np.zeros((40, 40, 3), np.uint8)) for _ in range(5)]
    size = len(thumbnails[0].uri)
    assert [fitting(thumbnails, budget) for budget in (3 * size, 3 * size - 1)] == [3, 2]
    assert fitting([None, *thumbnails, None], 99 * size) == 7
