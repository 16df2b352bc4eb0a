"""Flipped labels come first; labels that are right are left alone."""

from pathlib import Path

import numpy as np
import pytest

from support.data_sets import dataset, photo
from tl.doctor.labels import probabilities, suspects, wrong_labels
from tl.errors import DataError
from tl.networks.weights import Weights
from tl.workflows.data_check import check

CLASSES = 4


def made(count: int = 400, size: int = 24, flips: int = 12, seed: int = 0):
    """Features of four clouds, and labels of which some are flipped."""
    draw = np.random.default_rng(seed)
    true = np.arange(count) % CLASSES
    features = np.abs(3 * np.eye(CLASSES, size)[true] + 0.5 * draw.standard_normal((count, size))).astype(np.float32)
    labels = true.copy()
    flipped = draw.permutation(count)[:flips]
    labels[flipped] = (labels[flipped] + draw.integers(1, CLASSES, flips)) % CLASSES
    return features, labels, true, set(flipped.tolist())


def uneven(many: int, few: int, seed: int):
    """Features of two clouds, more than photos; two of the larger and one of the smaller are labelled wrong."""
    draw = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [many, few])
    flipped = {0, 1, many}
    true = np.where(np.isin(np.arange(many + few), list(flipped)), 1 - labels, labels)
    clouds = np.repeat(np.eye(2, 10), 40, axis=1)
    features = np.abs(1 + clouds[true] + 0.3 * draw.standard_normal((many + few, 400)))
    return features.astype(np.float32), labels, flipped


def test_flipped_labels_are_found_and_named_aright():
    features, labels, true, flipped = made()
    found = suspects(features, labels, CLASSES, np.arange(len(labels)))
    assert {one.place for one in found[:12]} == flipped
    assert all(one.looks_like == true[one.place] and one.given == labels[one.place] for one in found[:12])
    assert sum(one.sure for one in found[:12]) >= 6
    assert not any(one.sure for one in found[12:])
    assert [one.given_share for one in found] == sorted(one.given_share for one in found)


def test_more_features_than_photos_are_as_well_judged():
    features, labels, _, flipped = made(count=120, size=300, flips=4)
    assert {one.place for one in suspects(features, labels, CLASSES, np.arange(120))[:4]} == flipped


def test_right_labels_are_not_doubted():
    features, labels, _, _ = made(flips=0)
    found = suspects(features, labels, CLASSES, np.arange(len(labels)))
    assert len(found) <= 3
    assert not any(one.sure for one in found)


def test_a_photo_is_judged_without_its_copies():
    features, labels, true, _ = made(count=80, flips=0)
    labels[:10] = (true[0] + 1) % CLASSES
    features[:10] = features[0] * 4
    alone = probabilities(features, labels, CLASSES, np.r_[np.zeros(10, np.int64), np.arange(1, 71)], seed=0)
    together = probabilities(features, labels, CLASSES, np.arange(80), seed=0)
    assert alone[:10, labels[0]].max() < 0.5 < together[:10, labels[0]].min()


def test_classes_with_few_photos_are_left_alone():
    features, labels, _, _ = made(count=60, flips=0)
    labels[0] = CLASSES
    found = suspects(features, labels, CLASSES + 1, np.arange(60))
    assert all(one.place != 0 for one in found)
    with pytest.raises(DataError, match="two classes of 5 different photos"):
        suspects(features[:4], np.array([0, 0, 1, 1]), 2, np.arange(4))


def test_where_classes_cannot_be_told_apart_no_label_is_doubted():
    features = np.random.default_rng(0).random((200, 30)).astype(np.float32)
    with pytest.raises(DataError, match="a balanced accuracy of .* where guessing has 50 %"):
        suspects(features, np.arange(200) % 2, 2, np.arange(200))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("few", [8, 12, 40])
def test_small_classes_are_judged_like_large_ones(few: int, seed: int):
    features, labels, flipped = uneven(200, few, seed)
    found = suspects(features, labels, 2, np.arange(len(labels)))
    assert {one.place for one in found} == flipped
    assert all(one.sure for one in found)


def test_classes_of_any_size_may_be_indistinguishable():
    features = np.random.default_rng(0).random((200, 30)).astype(np.float32)
    with pytest.raises(DataError, match="where guessing has 50 %"):
        suspects(features, (np.arange(200) % 20 == 0).astype(np.int64), 2, np.arange(200))


def test_a_class_of_one_photo_many_times_is_left_alone():
    features, labels, _, _ = made(count=60, flips=0)
    labels[:8] = CLASSES
    found = suspects(features, labels, CLASSES + 1, np.r_[np.zeros(8, np.int64), np.arange(8, 60)])
    assert all(one.place >= 8 and one.looks_like != CLASSES for one in found)


def test_probabilities_are_probabilities():
    features, labels, _, _ = made()
    shares = probabilities(features, labels, CLASSES, np.arange(len(labels)), seed=0)
    assert shares.shape == (400, CLASSES)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares.argmax(axis=1) == labels).mean() > 0.9


def test_findings_name_the_files_behind_broken_and_unlabelled_ones():
    features, labels, true, flipped = made(count=100, flips=1)
    names = {f"{'abcd'[label]}/{at:03}.png": photo(0, 8, 8) for at, label in enumerate(labels)}
    images = dataset(names)
    usable = np.arange(1, 100)
    found, notes = wrong_labels(images, features[1:], usable, usable)
    assert notes == []
    place = flipped.pop()
    assert place > 0
    assert (found[0].kind, found[0].severity) in (("label", "warning"), ("doubtful label", "note"))
    assert found[0].files == (list(names)[place],)
    assert found[0].pictures == (place,)
    assert f"looks like {'abcd'[true[place]]}" in found[0].evidence
    assert found[0].mend == f"label {list(names)[place]} as {'abcd'[true[place]]}"


@pytest.mark.weights
@pytest.mark.photos
@pytest.mark.slow
def test_wrong_labels_among_few_dogs_and_many_cats(photos: Path, imagenet: Weights, tmp_path: Path):
    cats, dogs = (sorted((photos / label).glob("*.jpg")) for label in ("Cat", "Dog"))
    wrong = [(cats[0], "dog"), (cats[1], "dog"), (dogs[2], "cat"), (dogs[3], "cat")]
    for photo_file, label in [(file, "cat") for file in cats[2:122]] + [(file, "dog") for file in dogs[4:24]] + wrong:
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / photo_file.name).write_bytes(photo_file.read_bytes())
    labels = [one for one in check(tmp_path).findings if one.kind.endswith("label")]
    assert {f"{label}/{file.name}" for file, label in wrong} <= {one.files[0] for one in labels[:5]}
    assert len(labels) <= 8
