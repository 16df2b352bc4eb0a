"""Groups that must stay together, by a column, a place in the path, or a pattern."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from support.data_sets import dataset, photo, write
from tl.data.load import load
from tl.data.splits import apart, groups_by
from tl.errors import DataError, UsageError

TINY = photo(0, 8, 8)
IMAGES = {f"{label}/p{patient}_{at}.png": TINY for label in ("cat", "dog") for patient in (1, 2) for at in range(2)}


def test_a_place_in_the_path_and_a_pattern():
    made = dataset(IMAGES)
    assert groups_by(made, "photos/", "0") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(made, "photos/", "-2") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(made, "photos/", "7") == [""] * 8
    assert groups_by(made, "photos/", r"(p\d)_") == ["p1", "p1", "p2", "p2"] * 2
    assert groups_by(made, "photos/", "(x)") == [""] * 8


def test_a_column_of_the_table(tmp_path: Path):
    write(tmp_path, dict(IMAGES))
    rows = [f"{name};{name.split('/')[0]};patient {place % 3}" for place, name in enumerate(IMAGES)]
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(["Path;label;Patient", *rows]), encoding="utf-8")
    made = load(table)
    assert groups_by(made, str(table), "patient") == [f"patient {place % 3}" for place in range(8)]
    with pytest.raises(UsageError, match="has no column 'doctor': it has path, label, patient"):
        groups_by(made, str(table), "doctor")


@pytest.mark.parametrize(
    ("given", "said"), [("patient", "not a table"), ("(p", "regular expression"), (r"\(p\)", "no group")]
)
def test_what_cannot_be_meant_is_refused(given: str, said: str):
    with pytest.raises(UsageError, match=said):
        groups_by(dataset(IMAGES), "photos/", given)


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_units_stay_whole_and_every_class_is_on_each_side(draw: some.DataObject):
    classes = draw.draw(some.integers(2, 4))
    single = draw.draw(some.integers(3, 12))
    labels = np.array([at % classes for at in range(classes * single)])
    units = np.arange(len(labels))
    tied = draw.draw(some.lists(some.integers(0, len(labels) - 1), max_size=len(labels) // 3))
    for at in tied:
        units[at] = units[tied[0]]
    units = np.unique(units, return_inverse=True)[1]
    prints = [bytes([at]) for at in range(len(labels))]
    shares = {"test": draw.draw(some.sampled_from([0, 0.1, 0.3])), "validation": 0.25}
    try:
        found = apart(labels, units, prints, [str(at) for at in range(classes)], shares, 1)
    except DataError:
        return
    for unit in set(units.tolist()):
        assert len({found[at] for at in np.flatnonzero(units == unit)}) == 1
    for label in range(classes):
        assert {found[at] for at in np.flatnonzero(labels == label)} == {"train", "validation"} | (
            {"test"} if shares["test"] else set()
        )


def test_a_group_goes_where_it_brings_the_share_nearer():
    labels, prints = np.zeros(20, np.int64), [bytes([at]) for at in range(20)]
    for size in (3, 5):  # of 20 a tenth: a group of 3 is nearer to 2 than none, one of 5 is not
        units = np.concatenate([np.full(size, 0), np.arange(1, 21 - size)])
        held = [apart(labels, units, prints, ["a"], {"validation": 0.1}, seed)[0] for seed in range(100)]
        assert ("validation" in held) == (size == 3)


def test_the_order_of_files_changes_nothing():
    draw = np.random.default_rng(0)
    labels, units = np.arange(40) % 2, np.arange(40) // 2 * 2 + np.arange(40) % 2
    units = np.unique(units, return_inverse=True)[1]
    prints = [draw.bytes(8) for _ in range(40)]
    first = apart(labels, units, prints, ["a", "b"], {"validation": 0.2}, 0)
    order = draw.permutation(40)
    second = apart(labels[order], units[order], [prints[at] for at in order], ["a", "b"], {"validation": 0.2}, 0)
    assert [first[at] for at in order] == second
