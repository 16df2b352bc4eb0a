"""Comparisons of networks for tests, from two letters per image: which networks are correct."""

from pathlib import Path

import numpy as np
import pytest

from tl.errors import ImageError
from tl.evaluation.metrics import proportion
from tl.runs.network_comparison import ComparedImage, ComparedNetwork, ComparedPrediction, Comparison

LONG = "a-network-with-a-really-very-long-name-of-many-words"
KOREAN = ("고양이", "강아지", "북극여우와 사막여우")
REASON = (
    "no weights 'imagenet' for vgg19: tried the cache, Keras; " + "give --weights PATH, " * 5 + "or `tl weights get`"
)
HOSTILE = "<script>alert('x')</script> & \x1b[31m고양이\u202e\nend"


def comparison(
    right: tuple[str, ...] = ("1111110", "1110001", "1000000"),
    classes: tuple[str, ...] = ("Cat", "Dog"),
    names: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
    data: str = "data/pets",
) -> Comparison:
    """Networks, each by which images it classifies correctly; the first is pretrained, the others from scratch."""
    count = len(right[0])
    truths = [classes[at % len(classes)] for at in range(count)]
    other = dict(zip(classes, (*classes[1:], classes[0]), strict=True))
    entries, predictions = [], []
    for at, row in enumerate(right):
        name = names[at] if names else f"network-{at}"
        top5 = proportion(count, count) if len(classes) > 5 else None
        costs = {"parameters": 325_956 * (at + 1), "seconds": 7.25 * (at + 1), "speed": 1234.5, "size": 94_000_000}
        outcome = {"p_value": 10.0 ** (-2 * at), "learned": at < 2, "folder": f"{name}-scratch"}
        entries.append(ComparedNetwork(name, at > 0, proportion(row.count("1"), count), top5, **outcome, **costs))
        labels = [truth if letter == "1" else other[truth] for truth, letter in zip(truths, row, strict=True)]
        predictions.append([ComparedPrediction(label, 0.5 + at % 10 / 25) for at, label in enumerate(labels)])
    none = proportion(0, 0)
    entries += [ComparedNetwork(f"absent-{at}", bool(at), none, error=error) for at, error in enumerate(errors)]
    images = tuple(
        ComparedImage(f"{truth}/{at}.jpg", truth, tuple(row[at] for row in predictions))
        for at, truth in enumerate(truths)
    )
    return Comparison(Path("runs/x"), data, count, classes, tuple(entries), images, f"tl compare {data} --scratch a")


CASES = {
    "one": comparison(right=("1101",)),
    "two": comparison(right=("1" * 99 + "000", "10" * 51)),
    "twelve": comparison(
        right=tuple("1" * (100 - 8 * at) + "0" * (2 + 8 * at) for at in range(12)), errors=(REASON, HOSTILE)
    ),
    "long words": comparison(
        names=(LONG, LONG + "-2", LONG + "-3"), classes=KOREAN, errors=(REASON,), data="/사진/고양이와 개 " * 9
    ),
    "hundred classes": comparison(
        right=tuple("1" * (7800 - 3000 * at) + "0" * (2200 + 3000 * at) for at in range(3)),
        classes=tuple(f"class {at}" for at in range(100)),
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def pixels(path: str) -> np.ndarray:
    """An image of a colour that is nowhere else."""
    if path.startswith("gone"):
        raise ImageError("no such file")
    return np.full((40, 60, 3), (20, 60, 200), np.uint8)
