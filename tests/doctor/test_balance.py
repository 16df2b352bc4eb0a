"""Counts per class, the findings about them, and the statistics of a data set."""

import numpy as np
import pytest

from support.data_sets import dataset, photo, write
from support.html import plain_cells
from tl.data.image_stats import measure_images
from tl.data.load import load
from tl.doctor.balance import ClassCount, balance_findings, class_counts, dataset_stats


def class_count(name: str, images: int = 50, distinct: int | None = None, held_out: int = 10) -> ClassCount:
    return ClassCount(name, images, images if distinct is None else distinct, images - held_out, held_out, 0)


def test_class_counts_per_part_and_without_copies():
    images = dataset({f"{label}/{at}.png": photo(at, 8, 8) for label in ("cat", "dog") for at in range(3)})
    groups = np.array([0, 0, 1, 2, 3, 4])
    parts = ["train", "train", "validation", "test", None, "train"]
    counts = class_counts(images, groups, parts, np.array([0, 1, 2, 3, 4]))
    assert counts == [ClassCount("cat", 3, 2, 2, 1, 0), ClassCount("dog", 2, 2, 0, 0, 1)]


FEW = "few photos"
BALANCE = {
    "balanced": ([class_count("cat"), class_count("dog", 60)], []),
    "no training photos": ([class_count("a", 10, held_out=10)], [(FEW, "error", "class a has 0 training images")]),
    "few training photos": ([class_count("b", 12, held_out=5)], [(FEW, "warning", "class b has 7 training images")]),
    "few held-out photos": (
        [class_count("c", 12, held_out=2)],
        [(FEW, "note", "class c has 2 held-out images, too few to measure its accuracy")],
    ),
    "copies": (
        [class_count("cat", 50, 30), class_count("dog")],
        [("copies", "warning", "class cat has 50 images, but only 30 distinct ones")],
    ),
    "imbalance": (
        [class_count("cat", 1000), class_count("dog", 100)],
        [("imbalance", "note", "class cat has 1,000 distinct images, class dog has 100: 10.0 times as many")],
    ),
    "no split": (
        [ClassCount("cat", 10, 10, 0, 0, 0), ClassCount("dog", 4, 4, 0, 0, 0)],
        [(FEW, "warning", "class dog has 4 images")],
    ),
    "one photo": (
        [ClassCount("a", 1, 1, 0, 0, 0)],
        [(FEW, "error", "class a has 1 image; at least 2 are needed, one for training and one for validation")],
    ),
}


@pytest.mark.parametrize(("classes", "expected"), BALANCE.values(), ids=BALANCE)
def test_balance_findings(classes, expected):
    assert [(each.kind, each.severity, each.evidence) for each in balance_findings(classes)] == expected


@pytest.mark.parametrize("train", [0, 1])
def test_class_of_one_image_can_be_left_out(train):
    [finding] = balance_findings([ClassCount("a", 1, 1, train, 0, 0)])
    assert finding.fix == "add images of a, or leave out such classes with tl data fix --drop-small 2"


def test_dataset_stats_count_readable_broken_and_identical_images(tmp_path):
    files = {f"{part}/{label}/{at}.png": photo(at) for part in ("train", "val") for label in "ab" for at in range(2)}
    images = load(
        write(tmp_path / "photos", files | {"train/a/broken.jpg": b"\xff\xd8\xff", "train/b/9.png": photo(9)})
    )
    stats = dataset_stats(images, measure_images(images.images))
    assert (stats.images, stats.broken, stats.identical) == (9, 1, 6)
    assert (stats.classes, stats.parts) == ({"a": 4, "b": 5}, {"train": 5, "validation": 4})
    assert (stats.formats, stats.percentiles["width"]) == ({"PNG RGB": 9}, [120.0] * 5)
    assert "<td>b</td><td>5</td>" in plain_cells(stats._repr_html_())
