"""Copies become findings by where they stand."""

from support.data_sets import dataset, photo
from tl.data.near_duplicates import Copy, groups
from tl.doctor.duplicates import duplicates

IMAGES = {f"{label}/{at}.png": photo(at) for label in ("cat", "dog") for at in range(4)}
TRAIN = ["train"] * 8


def test_copies_of_copies_are_one_group():
    number = groups(6, [Copy(0, 3, 1.0), Copy(3, 5, 0.9), Copy(1, 2, 0.9)])
    assert number[0] == number[3] == number[5]
    assert number[1] == number[2] != number[0]
    assert len(set(number.tolist())) == 3
    assert groups(0, []).tolist() == []


def test_two_labels_go_before_a_leak_and_a_leak_before_a_repetition():
    parts = ["train", "validation", "train", "train", "validation", "train", "train", "train"]
    found = duplicates(dataset(IMAGES), [Copy(0, 4, 1.0), Copy(1, 2, 0.95, True), Copy(5, 6, 0.9)], parts, given=True)
    assert [(one.kind, one.severity, one.files) for one in found] == [
        ("two labels", "error", ("cat/0.png", "dog/0.png")),
        ("leak", "error", ("cat/1.png", "cat/2.png")),
        ("duplicate", "note", ("dog/1.png", "dog/2.png")),
    ]
    assert "cat and dog (the same bytes)" in found[0].evidence
    assert "in train and in validation (95.0 % alike, laid over each other, mirrored)" in found[1].evidence
    assert found[1].mend == "leave out cat/2.png"
    assert [one.pictures for one in found] == [(0, 4), (1, 2), (5, 6)]


def test_a_split_by_default_leaks_as_a_warning():
    parts = ["train", "validation", *TRAIN[2:]]
    (found,) = duplicates(dataset(IMAGES), [Copy(0, 1, 0.99)], parts, given=False)
    assert (found.kind, found.severity) == ("leak", "warning")
    assert "of the split by default" in found.evidence


def test_a_near_copy_under_two_labels_is_less_certain_than_the_same_bytes():
    (found,) = duplicates(dataset(IMAGES), [Copy(0, 4, 0.99)], TRAIN, given=True)
    assert (found.kind, found.severity) == ("two labels", "warning")


def test_a_photo_in_three_parts_stays_in_the_last():
    parts = ["train", "validation", "test", *TRAIN[3:]]
    (found,) = duplicates(dataset(IMAGES), [Copy(0, 1, 0.99), Copy(1, 2, 0.98)], parts, given=True)
    assert found.files == ("cat/0.png", "cat/1.png", "cat/2.png")
    assert found.mend == "leave out cat/0.png, cat/1.png"
    assert "train and in validation and in test (98.0 %" in found.evidence
