"""What each class has to learn from and to check with."""

import numpy as np

from support.data_sets import dataset, photo
from tl.doctor.balance import ClassCount, balance, counts


def one(name: str, images: int = 50, different: int | None = None, held: int = 10) -> ClassCount:
    return ClassCount(name, images, images if different is None else different, images - held, held, 0)


def test_classes_are_counted_by_part_and_without_copies():
    made = dataset({f"{label}/{at}.png": photo(at, 8, 8) for label in ("cat", "dog") for at in range(3)})
    groups = np.array([0, 0, 1, 2, 3, 4])
    parts = ["train", "train", "validation", "test", None, "train"]
    usable = np.array([0, 1, 2, 3, 4])
    assert counts(made, groups, parts, usable) == [ClassCount("cat", 3, 2, 2, 1, 0), ClassCount("dog", 2, 2, 0, 0, 1)]


def test_even_classes_of_enough_photos_have_no_findings():
    assert balance([one("cat"), one("dog", 60)]) == []


def test_too_little_to_learn_from_is_graver_than_too_little_to_check_with():
    found = balance([one("a", 10, held=10), one("b", 12, held=5), one("c", 12, held=2)])
    assert [(each.kind, each.severity) for each in found] == [("few photos", s) for s in ("error", "warning", "note")]
    assert "class b has 7 photos to learn from" in found[1].evidence


def test_copies_do_not_count_twice():
    (found,) = balance([one("cat", 50, 30), one("dog")])
    assert (found.kind, found.severity) == ("copies", "warning")
    assert "50 photos, but only 30 different ones" in found.evidence


def test_uneven_classes_are_named_with_how_uneven():
    (found,) = balance([one("cat", 1000), one("dog", 100)])
    assert (found.kind, found.severity) == ("imbalance", "note")
    assert "10.0 times as many" in found.evidence
    assert "add photos of dog" in found.mend


def test_where_there_is_no_split_only_classes_that_are_too_small_are_at_fault():
    found = balance([ClassCount(name, count, count, 0, 0, 0) for name, count in (("cat", 20), ("dog", 4), ("wolf", 1))])
    assert [(one.severity, one.evidence) for one in found if one.kind == "few photos"] == [
        ("warning", "class dog has 4 photos"),
        ("error", "class wolf has 1 photo; it takes one to learn from and one to check with"),
    ]
