"""Splits: the same everywhere, stratified, and never the same image on both sides."""

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.data_sets import dataset as in_memory
from support.data_sets import photo, write
from tl.data.dataset import Dataset, Sample, assemble
from tl.data.load import load
from tl.data.splits import check_counts, check_groups, describe_changes, grouped, grouped_split, groups_by, split
from tl.errors import DataError, UsageError


def dataset(*rows: tuple[str, str] | tuple[str, str, str | None]) -> tuple[Dataset, list[bytes]]:
    """Rows of content, label[, part]."""
    samples = [
        Sample(Path(f"{i:03d}.png"), f"{row[1]}/{i:03d}.png", row[1], row[2] if len(row) == 3 else None)
        for i, row in enumerate(rows)
    ]
    data = assemble(samples, source="rows", name="rows", root=None, labelled=False)
    return data, [hashlib.sha256(row[0].encode()).digest() for row in rows]


def plain(cats: int = 50, dogs: int = 30) -> list[tuple[str, str]]:
    return [(f"cat{i}", "cat") for i in range(cats)] + [(f"dog{i}", "dog") for i in range(dogs)]


def contents(rows: list[tuple[str, str]], indices: np.ndarray) -> set[str]:
    return {rows[index][0] for index in indices}


def test_split_holds_out_a_fifth_of_every_class():
    data, fingerprints = dataset(*plain())
    result = split(data, fingerprints)
    assert np.bincount(data.labels[result.validation]).tolist() == [10, 6]
    assert (result.test.size, result.seed, result.notes) == (0, 0, ())
    for indices in (result.train, result.validation, result.test):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    assert sorted([*result.train, *result.validation]) == list(range(80))


def test_split_of_a_seed_never_changes():
    # A change here means that the same seed no longer gives the same split as older runs had.
    assert split(*dataset(*plain(10, 10)), seed=7).validation.tolist() == [0, 5, 12, 13]


def test_split_depends_on_the_seed_and_hardly_on_the_other_files():
    rows = plain()
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    first = contents(rows, split(*dataset(*rows), seed=3).validation)
    assert contents(shuffled, split(*dataset(*shuffled), seed=3).validation) == first
    assert contents(rows, split(*dataset(*rows), seed=4).validation) != first
    rows = plain(100, 100)
    before = contents(rows, split(*dataset(*rows)).validation)
    more = [*rows, ("cat-new", "cat")]
    assert len(before - contents(more, split(*dataset(*more)).validation)) <= 1


def test_split_keeps_identical_files_together():
    rows = [row for row in plain(20, 20) for _ in range(3)]
    result = split(*dataset(*rows))
    assert contents(rows, result.train).isdisjoint(contents(rows, result.validation))
    assert len(result.validation) == 3 * 8
    assert result.notes == ("80 images byte-identical to another; copies stay on one side",)


def test_split_notes_an_image_in_two_classes():
    rows = [*plain(10, 10), ("both", "dog"), ("both", "cat")]
    for seed in range(20):
        result = split(*dataset(*rows), seed=seed)
        assert (20 in result.train) == (21 in result.train)
        note = "1 image is in more than one class, such as 'cat/021.png' and 'dog/020.png': check them"
        assert result.notes[0] == note


def parsed(text: str) -> list[tuple[str, ...]]:
    """Rows written as content:label or content:label:part."""
    return [tuple(row.split(":")) for row in text.split()]


@pytest.mark.parametrize(("rows", "parts", "notes"), [
    ("a:cat:train b:dog:train c:cat:validation d:dog:validation e:dog:test f:cat", ([0, 1, 5], [2, 3], [4]), ()),
    ("a:cat:train b:dog:train c:cat:validation", ([0, 1], [2], []), ("no validation images for 'dog'",)),
    (
        "a:cat:train v:cat:train t:cat:train b:dog:train v:cat:validation t:cat:validation w:dog:validation t:cat:test",
        ([0, 3], [4, 6], [7]),
        (
            "1 image left out of validation: byte-identical to one in test",
            "2 images left out of training: byte-identical to one in validation or test",
        ),
    ),
])  # fmt: skip
def test_own_split_is_kept_without_leaks(rows, parts, notes):
    result = split(*dataset(*parsed(rows)))
    assert (result.train.tolist(), result.validation.tolist(), result.test.tolist()) == parts
    assert result.notes == notes


def test_validation_comes_from_training_where_no_part_or_only_a_test_part_is_held_out():
    rows = [(text, label, "train") for text, label in plain(10, 10)]
    result = split(*dataset(*rows, ("x", "cat", "test"), ("cat3", "cat", "test")))
    assert result.test.tolist() == [20, 21]
    assert 3 not in [*result.train, *result.validation]
    assert len(result.train) + len(result.validation) == 19
    assert result.notes == ("1 image left out of training: byte-identical to one in validation or test",)
    train_only, plain_rows = split(*dataset(*rows)), split(*dataset(*plain(10, 10)))
    assert train_only.validation.tolist() == plain_rows.validation.tolist()


def test_images_without_labels_are_left_out():
    data, fingerprints = dataset(*plain(5, 5))
    result = split(replace(data, labels=np.where(np.arange(10) == 4, -1, data.labels)), fingerprints)
    assert 4 not in [*result.train, *result.validation]
    assert result.notes == ("1 image without a label left out",)


def test_groups_that_leave_a_class_without_training_images_are_named():
    data, fingerprints = dataset(*parsed("a:cat:train b:cat:validation c:dog:train d:dog:train e:dog:validation"))
    groups = ("p1", "p1", "p2", "p3", "p4")
    with pytest.raises(DataError, match=r"groups leave no training images for 'cat': .* such as 'p1': move each group"):
        split(replace(data, groups=groups), fingerprints)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_validation_fraction_is_between_0_and_1(fraction):
    with pytest.raises(DataError, match="must be between 0 and 1"):
        split(*dataset(*plain()), validation=fraction)


@pytest.mark.parametrize(("rows", "message", "early"), [
    (
        plain(1, 1),
        "no class has two images or groups, one for training and one for validation: add images, or train on all with"
        " tl finetune without --val and --unfreeze",
        True,
    ),
    (plain(5, 0), "data set 'rows' has fewer than two classes with usable images: 'cat'", True),
    (
        parsed("a:cat:train b:dog:validation c:cat:validation"),
        "no training images for 'dog': every class needs at least one; add images or remove the class",
        True,
    ),
    (parsed("same:cat same:cat b:dog"), "no class has two images or groups", False),
    (parsed("a:cat:train b:dog:train b:dog:validation c:cat:validation"), "no training images for 'dog'", False),
    (
        parsed("a:cat:train b:dog:train c:cat:validation c:cat:test"),
        "data set 'rows': every validation image is a copy of a test image",
        False,
    ),
])  # fmt: skip
def test_classes_with_too_few_images_are_refused(rows, message, early):
    data, fingerprints = dataset(*rows)
    with pytest.raises(DataError, match="^" + re.escape(message)):
        split(data, fingerprints)
    if early:  # before images are read
        with pytest.raises(DataError, match="^" + re.escape(message)):
            check_counts(data)


def test_class_with_one_photo_is_trained_on():
    data, fingerprints = dataset(*parsed("same:cat same:cat a:dog b:dog"))
    check_counts(data)
    result = split(data, fingerprints)
    assert {0, 1} < set(result.train.tolist())
    assert len(result.validation) == 1
    assert result.notes[0] == "no validation images for 'cat': one photo or group, which is trained on"


@pytest.mark.parametrize("validation", [0.2, 0.9])
def test_split_keeps_groups_of_several_classes_and_their_copies_together(validation):
    data, fingerprints = dataset(*plain(40, 20))
    groups = tuple("" if at in (0, 40) else f"patient {at % 7}" for at in range(60))
    originals = [fingerprints[3] if at == 0 else fingerprint for at, fingerprint in enumerate(fingerprints)]
    for seed in range(20):
        result = split(
            replace(data, groups=groups), fingerprints, originals=originals, validation=validation, seed=seed
        )
        units = [groups[3] if at == 0 else groups[at] for at in range(60)]
        assert not {units[at] for at in result.train} & {units[at] for at in result.validation}
        assert set(data.labels[result.train]) == set(data.labels[result.validation]) == {0, 1}
        assert len(result.train) + len(result.validation) == 60
    assert result.notes == ("1 image looks like another one; copies stay on one side",)


def test_own_split_loses_training_images_whose_group_is_held_out():
    rows = "a:cat:train b:cat:train c:dog:train d:dog:train e:cat:validation f:dog:validation g:dog:test"
    data, fingerprints = dataset(*parsed(rows))
    data = replace(data, groups=("p1", "p2", "p3", "", "p2", "p4", "p4"))
    result = split(data, fingerprints)
    assert (result.train.tolist(), result.validation.tolist(), result.test.tolist()) == ([0, 2, 3], [4], [6])
    assert result.notes == (
        "1 image left out of validation: of the group of one in test",
        "1 image left out of training: of the group of one in validation or test",
        "no validation images for 'dog'",
    )


def test_dataset_without_images_keeps_the_groups_of_the_others():
    data, _ = dataset(*plain(3, 3))
    fewer = replace(data, groups=tuple("abcdef")).without({1: "damaged", 4: "damaged"})
    assert fewer.groups == ("a", "c", "d", "f")


PART = st.sampled_from([None, "train", "validation", "test"])


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc"), PART), min_size=1, max_size=60),
    parts=st.booleans(),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_no_image_is_on_two_sides(rows, parts, fraction, seed):
    data, fingerprints = dataset(*[(str(content), label, part if parts else None) for content, label, part in rows])
    try:
        result = split(data, fingerprints, validation=fraction, seed=seed)
    except DataError:
        return
    check_counts(data, validation=fraction)  # what can be split is not refused early
    sides = [{fingerprints[i] for i in side} for side in (result.train, result.validation, result.test)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert set(data.labels[result.train]) == set(range(len(data.class_names)))
    assert len(result.validation) > 0
    if not any(part in ("validation", "test") for part in data.parts):
        pairs = list(zip(fingerprints, data.labels.tolist(), strict=True))
        labels_of = {one: {label for own, label in pairs if own == one} for one in fingerprints}
        own = Counter(label for labels in labels_of.values() if len(labels) == 1 for label in labels)
        assert {label for label, photos in own.items() if photos > 1} <= set(data.labels[result.validation].tolist())
    # no image is lost: what takes no part is a copy of one that is checked with
    left_out = set(range(len(fingerprints))) - set(result.train) - set(result.validation) - set(result.test)
    assert {fingerprints[i] for i in left_out} <= sides[1] | sides[2]


def test_split_keeps_copies_together():
    data, fingerprints = dataset(*plain(60, 60))
    shown = [fingerprints[at - at % 3] for at in range(120)]  # three files of each photo
    result = split(data, fingerprints, originals=shown, seed=4)
    sides = [{shown[at] for at in part} for part in (result.train, result.validation)]
    assert not sides[0] & sides[1]
    assert len(result.validation) == 24
    assert result.notes == ("80 images look like another one; copies stay on one side",)


def test_own_split_loses_only_identical_files():
    parts = ["train"] * 4 + ["validation"]
    rows = [(f"{label}{at}", label, part) for label in ("cat", "dog") for at, part in enumerate(parts)]
    data, fingerprints = dataset(*rows)
    result = split(data, fingerprints, originals=[fingerprints[4], *fingerprints[1:]])
    assert (len(result.train), len(result.validation)) == (8, 2)
    assert result.notes == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_grouped_split_keeps_groups_whole_and_every_class_on_each_side(draw):
    classes = draw.draw(st.integers(2, 4))
    labels = np.arange(classes * draw.draw(st.integers(3, 12))) % classes
    groups = np.arange(len(labels))
    tied = draw.draw(st.lists(st.integers(0, len(labels) - 1), max_size=len(labels) // 3))
    for at in tied:
        groups[at] = groups[tied[0]]
    groups = np.unique(groups, return_inverse=True)[1]
    fingerprints = [bytes([at]) for at in range(len(labels))]
    fractions = {"test": draw.draw(st.sampled_from([0, 0.1, 0.3])), "validation": 0.25}
    try:
        found = grouped_split(labels, groups, fingerprints, [str(at) for at in range(classes)], fractions, 1)
    except DataError:
        return
    for group in set(groups.tolist()):
        assert len({found[at] for at in np.flatnonzero(groups == group)}) == 1
    sides = {"train", "validation", "test"} if fractions["test"] else {"train", "validation"}
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        has_enough = len(set(groups[own].tolist())) >= len(sides)  # fewer are trained on first
        assert {found[at] for at in own} == sides if has_enough else "train" in {found[at] for at in own}


def test_grouped_split_takes_groups_that_bring_the_fraction_nearer():
    labels, fingerprints = np.zeros(20, np.int64), [bytes([at]) for at in range(20)]
    for size in (3, 5):  # of 20 a tenth: a group of 3 is nearer to 2 than none, one of 5 is not
        groups = np.concatenate([np.full(size, 0), np.arange(1, 21 - size)])
        held = [grouped_split(labels, groups, fingerprints, ["a"], {"validation": 0.1}, seed)[0] for seed in range(100)]
        assert ("validation" in held) == (size == 3)


def test_grouped_split_does_not_depend_on_the_order_of_files():
    draw = np.random.default_rng(0)
    labels, groups = np.arange(40) % 2, np.arange(40)
    fingerprints = np.array([draw.bytes(8) for _ in range(40)], object)
    rest = (["a", "b"], {"validation": 0.2}, 0)
    first = grouped_split(labels, groups, fingerprints, *rest)
    order = draw.permutation(40)
    second = grouped_split(labels[order], groups[order], fingerprints[order], *rest)
    assert [first[at] for at in order] == second


TINY = photo(0, 8, 8)
IMAGES = {f"{label}/p{patient}_{at}.png": TINY for label in ("cat", "dog") for patient in (1, 2) for at in range(2)}


def test_groups_are_places_in_the_path_or_matches():
    data = in_memory(IMAGES)
    assert groups_by(data, "photos/", "0") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(data, "photos/", "-2") == ["cat"] * 4 + ["dog"] * 4
    assert groups_by(data, "photos/", r"(p\d)_") == ["p1", "p1", "p2", "p2"] * 2


def test_groups_are_a_column_of_the_table(tmp_path):
    write(tmp_path, dict(IMAGES))
    rows = [f"{name};{name.split('/')[0]};patient {place % 3}" for place, name in enumerate(IMAGES)]
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(["Path;label;Patient", *rows]), encoding="utf-8")
    data = load(table)
    assert groups_by(data, str(table), "patient") == [f"patient {place % 3}" for place in range(8)]
    with pytest.raises(UsageError, match="has no column 'doctor': it has path, label, patient"):
        groups_by(data, str(table), "doctor")


def test_groups_are_a_column_of_a_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    write(tmp_path, dict(IMAGES))
    rows = [(str(tmp_path / name), name.split("/")[0], f"patient {at % 3}") for at, name in enumerate(IMAGES)]
    rows[5] = (str(tmp_path / "gone.png"), "dog", "patient 2")
    rows[6] = (np.zeros((8, 8, 3), np.uint8), "dog", None)
    frame = pandas.DataFrame(rows, columns=["path", "label", "Patient"])
    expected = [f"patient {at % 3}" for at in range(8) if at != 5]
    assert groups_by(load(frame), frame, "patient") == [*expected[:5], "", expected[6]]
    with pytest.raises(UsageError, match="the DataFrame has no column 'doctor': it has path, label, patient"):
        groups_by(load(frame), frame, "doctor")


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("patient", "not a table"),
        ("(p", "regular expression"),
        (r"\(p\)", "no group"),
        ("7", "finds no group"),
        ("(x)", "finds no group"),
        ("(p)", "puts all images into one group, 'p'"),
    ],
)
def test_group_by_that_fits_nothing_is_refused(group_by, message):
    with pytest.raises(UsageError, match=message):
        check_groups(grouped(in_memory(IMAGES), "photos/", group_by), group_by)


@pytest.mark.parametrize(("row", "expected"), [
    (("a", "cat", "train", "01"), ""),
    (("a", "dog", "train", "01"), "1 image with another label ('a')"),
    (("a", "cat", "validation", "01"), "1 image with another part of the split ('a')"),
    (("a", "cat", "train", "02"), "1 image with another content ('a')"),
    (("b", "cat", "train", "01"), "1 image no longer there ('a'); 1 image new ('b')"),
    (("a", "emu", "", "01"),
     "1 class new ('emu'); 1 image with another label ('a'); 1 image with another part of the split ('a')"),
])  # fmt: skip
def test_describe_changes_names_what_differs(row, expected):
    others = [("x", "cat", "train", "03"), ("y", "dog", "test", "04")]
    assert describe_changes([("a", "cat", "train", "01"), *others], [*others, row]) == expected
