"""Flipped labels are found and ranked first, correct labels are left alone, and cleanlab agrees."""

import numpy as np
import pytest

from support.data_sets import dataset, photo
from tl.data.load import load
from tl.doctor.labels import held_out_probabilities, label_errors, label_findings, suspect_labels
from tl.errors import DataError
from tl.progress import Progress
from tl.workflows.data_check import measure

CLASSES = 4


def four_clouds(count: int = 400, size: int = 24, flips: int = 12, seed: int = 0, spread: float = 0.5):
    """Features of four clouds, their labels with some flipped, the true labels, and the flipped rows."""
    draw = np.random.default_rng(seed)
    true = np.arange(count) % CLASSES
    clouds = 3 * np.eye(CLASSES, size)[true] + spread * draw.standard_normal((count, size))
    labels = true.copy()
    flipped = draw.permutation(count)[:flips]
    labels[flipped] = (labels[flipped] + draw.integers(1, CLASSES, flips)) % CLASSES
    return np.abs(clouds).astype(np.float32), labels, true, set(flipped.tolist())


def test_flipped_labels_come_first_with_the_right_class():
    features, labels, true, flipped = four_clouds()
    suspects = suspect_labels(features, labels, CLASSES, np.arange(400))
    assert {each.row for each in suspects[:12]} == flipped
    assert all(each.looks_like == true[each.row] and each.label == labels[each.row] for each in suspects[:12])
    assert sum(each.is_sure for each in suspects[:12]) >= 6
    assert not any(each.is_sure for each in suspects[12:])
    assert [each.label_probability for each in suspects] == sorted(each.label_probability for each in suspects)


def test_correct_labels_are_not_sure_suspects():
    features, labels, _, _ = four_clouds(flips=0)
    suspects = suspect_labels(features, labels, CLASSES, np.arange(400))
    assert len(suspects) <= 3
    assert not any(each.is_sure for each in suspects)


def test_copies_are_held_out_together():
    features, labels, true, _ = four_clouds(count=80, flips=0)
    labels[:10] = (true[0] + 1) % CLASSES
    features[:10] = features[0] * 4
    grouped = np.r_[np.zeros(10, np.int64), np.arange(1, 71)]
    with_groups = held_out_probabilities(features, labels, CLASSES, grouped, seed=0)
    without = held_out_probabilities(features, labels, CLASSES, np.arange(80), seed=0)
    assert with_groups[:10, labels[0]].max() < 0.5 < without[:10, labels[0]].min()


@pytest.mark.parametrize("copies", [1, 8])
def test_classes_with_few_distinct_photos_are_ignored(copies):
    features, labels, _, _ = four_clouds(count=60, flips=0)
    labels[:copies] = CLASSES
    groups = np.r_[np.zeros(copies, np.int64), np.arange(copies, 60)]
    suspects = suspect_labels(features, labels, CLASSES + 1, groups)
    assert all(each.row >= copies and each.looks_like != CLASSES for each in suspects)


@pytest.mark.parametrize("labels", [np.arange(200) % 2, (np.arange(200) % 20 == 0).astype(np.int64)])
def test_indistinguishable_classes_are_an_error(labels):
    features = np.random.default_rng(0).random((200, 30)).astype(np.float32)
    with pytest.raises(DataError, match="a balanced accuracy of .*, chance is 50%"):
        suspect_labels(features, labels, 2, np.arange(200))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("few", [8, 12, 40])
def test_small_classes_are_judged_like_large_ones(few, seed):
    # More features than photos; two labels of the large class and one of the small are wrong.
    labels, rows, flipped = np.repeat([0, 1], [200, few]), np.arange(200 + few), [0, 1, 200]
    true = np.where(np.isin(rows, flipped), 1 - labels, labels)
    clouds = np.repeat(np.eye(2, 10), 40, axis=1)
    features = np.abs(1 + clouds[true] + 0.3 * np.random.default_rng(seed).standard_normal((200 + few, 400)))
    suspects = suspect_labels(features.astype(np.float32), labels, 2, rows)
    assert {each.row for each in suspects} == set(flipped)
    assert all(each.is_sure for each in suspects)


def test_label_findings_name_the_right_files_after_broken_ones():
    features, labels, true, flipped = four_clouds(count=100, flips=1)
    names = [f"{'abcd'[label]}/{at:03}.png" for at, label in enumerate(labels)]
    images = dataset(dict.fromkeys(names, photo(0, 8, 8)))
    findings, notes = label_findings(images, features[1:], np.arange(1, 100), np.arange(1, 100))
    assert notes == []
    (row,) = flipped
    assert row > 0
    assert (findings[0].kind, findings[0].severity) in (("label", "warning"), ("doubtful label", "note"))
    assert (findings[0].files, findings[0].images) == ((names[row],), (row,))
    assert f"looks like {'abcd'[true[row]]}" in findings[0].evidence
    assert findings[0].fix == f"label {names[row]} as {'abcd'[true[row]]}"


def cleanlab_errors(labels: np.ndarray, probabilities: np.ndarray) -> list[int]:
    from cleanlab.filter import find_label_issues

    options = {"return_indices_ranked_by": "self_confidence", "filter_by": "low_self_confidence", "n_jobs": 1}
    return find_label_issues(labels, probabilities, **options).tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.5, 1.5, 3.0])
def test_label_errors_are_those_of_cleanlab(spread, seed):
    features, labels, _, _ = four_clouds(flips=30, seed=seed, spread=spread)
    probabilities = held_out_probabilities(features, labels, CLASSES, np.arange(400), seed=0).astype(np.float64)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert label_errors(labels, probabilities).tolist() == cleanlab_errors(labels, probabilities)


@pytest.mark.weights
@pytest.mark.photos
@pytest.mark.slow
def test_label_errors_of_real_photos_are_those_of_cleanlab(photos, imagenet):
    images = load(photos)
    features = measure(images, "resnet50", progress=Progress()).features
    for flips in (0, 10, 100):
        labels = images.labels.copy()
        labels[np.random.default_rng(flips).permutation(len(labels))[:flips]] ^= 1
        probabilities = held_out_probabilities(features, labels, 2, np.arange(len(labels)), seed=0).astype(np.float64)
        errors = label_errors(labels, probabilities).tolist()
        assert errors == cleanlab_errors(labels, probabilities)
        assert len(errors) >= flips // 2
