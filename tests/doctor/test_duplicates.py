"""Copies and groups become findings according to their labels and their parts of the split."""

import pytest

from support.data_sets import dataset, photo
from tl.data.near_duplicates import Copy
from tl.doctor.duplicates import duplicate_findings, group_findings

IMAGES = {f"{label}/{at}.png": photo(at, 8, 8) for label in ("cat", "dog") for at in range(4)}
TRAIN = ["train"] * 8
GROUPS = ["p1", "p1", "p2", "p2"] * 2


def test_two_labels_outrank_a_leak_and_a_leak_outranks_a_duplicate():
    parts = ["train", "validation", "train", "train", "validation", "train", "train", "train"]
    copies = [Copy(0, 4, 1.0), Copy(1, 2, 0.95, True), Copy(5, 6, 0.9)]
    findings = duplicate_findings(dataset(IMAGES), copies, parts, own_split=True)
    assert [(each.kind, each.severity, each.files) for each in findings] == [
        ("two labels", "error", ("cat/0.png", "dog/0.png")),
        ("leak", "error", ("cat/1.png", "cat/2.png")),
        ("duplicate", "note", ("dog/1.png", "dog/2.png")),
    ]
    assert findings[0].evidence == "one photo is labelled cat and dog (identical files)"
    assert findings[0].fix == "remove the one with the wrong label"
    assert findings[1].evidence == "one photo in train and in validation (95.0% similar when aligned, mirrored)"
    assert [each.fix for each in findings[1:]] == ["leave out cat/2.png", "leave out dog/2.png"]
    assert [each.images for each in findings] == [(0, 4), (1, 2), (5, 6)]


@pytest.mark.parametrize(("copy", "parts", "own_split", "evidence"), [
    (Copy(0, 1, 0.99), ["train", "validation", *TRAIN[2:]], False, "of the default split"),
    (Copy(0, 4, 0.99), TRAIN, True, "labelled cat and dog"),
], ids=["leak of the default split", "two labels of near copies"])  # fmt: skip
def test_uncertain_duplicates_are_warnings(copy, parts, own_split, evidence):
    (finding,) = duplicate_findings(dataset(IMAGES), [copy], parts, own_split=own_split)
    assert finding.severity == "warning"
    assert evidence in finding.evidence


def test_a_photo_in_three_parts_stays_in_the_test_part():
    parts = ["train", "validation", "test", *TRAIN[3:]]
    copies = [Copy(0, 1, 0.99), Copy(1, 2, 0.98)]
    (finding,) = duplicate_findings(dataset(IMAGES), copies, parts, own_split=True)
    assert finding.files == ("cat/0.png", "cat/1.png", "cat/2.png")
    assert finding.fix == "leave out cat/0.png, cat/1.png"
    assert "train and in validation and in test (98.0%" in finding.evidence


def test_groups_on_both_sides_of_the_split():
    images, parts = dataset(IMAGES), ["train", "train", "train", "validation", *TRAIN[4:]]
    (finding,) = group_findings(images, GROUPS, parts, own_split=True)
    assert (finding.severity, finding.files) == ("error", ("cat/3.png",))
    assert finding.evidence == "group p2 has images in train and in validation"
    (by_default,) = group_findings(images, GROUPS, parts, own_split=False)
    assert by_default.severity == "warning"
    assert group_findings(images, GROUPS, TRAIN, own_split=True) == []
    assert group_findings(images, [""] * 8, parts, own_split=True) == []
