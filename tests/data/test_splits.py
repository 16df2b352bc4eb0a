"""Splits: the same everywhere, stratified, and never the same image on both sides."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tl.data.dataset import Dataset, Sample, assemble
from tl.data.splits import Split, check_counts, split
from tl.errors import DataError


def fingerprint(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def dataset(*rows: tuple[str, str] | tuple[str, str, str | None]) -> tuple[Dataset, list[bytes]]:
    """Rows of content, label[, part]."""
    samples = [
        Sample(Path(f"{i:03d}.png"), f"{row[1]}/{i:03d}.png", row[1], row[2] if len(row) == 3 else None)
        for i, row in enumerate(rows)
    ]
    made = assemble(samples, source="rows", name="rows", root=None, labelled=False)
    return made, [fingerprint(row[0]) for row in rows]


def plain(cats: int = 50, dogs: int = 30) -> list[tuple[str, str]]:
    return [(f"cat{i}", "cat") for i in range(cats)] + [(f"dog{i}", "dog") for i in range(dogs)]


def contents(rows: list[tuple[str, str]], indices: np.ndarray) -> set[str]:
    return {rows[index][0] for index in indices}


def test_a_fifth_of_every_class_is_held_out() -> None:
    data, prints = dataset(*plain())
    result = split(data, prints)
    assert len(result.train) == 64
    assert [int((data.labels[result.validation] == label).sum()) for label in (0, 1)] == [10, 6]
    assert result.test.size == 0
    assert result.seed == 0
    assert result.notes == ()
    for indices in (result.train, result.validation, result.test):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    assert sorted([*result.train, *result.validation]) == list(range(80))


def test_the_split_is_pinned_for_good() -> None:
    # A change here means that the same seed no longer gives the same split as older runs had.
    data, prints = dataset(*plain(10, 10))
    assert split(data, prints, seed=7).validation.tolist() == [0, 5, 12, 13]


def test_the_order_of_files_does_not_matter_and_the_seed_does() -> None:
    rows = plain()
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    first = contents(rows, split(*dataset(*rows), seed=3).validation)
    assert contents(shuffled, split(*dataset(*shuffled), seed=3).validation) == first
    assert contents(rows, split(*dataset(*rows), seed=4).validation) != first


def test_adding_images_moves_few_others() -> None:
    rows = plain(100, 100)
    before = contents(rows, split(*dataset(*rows)).validation)
    more = [*rows, ("cat-new", "cat")]
    assert len(before - contents(more, split(*dataset(*more)).validation)) <= 1


def test_copies_stay_on_one_side_and_are_told() -> None:
    rows = [row for row in plain(20, 20) for _ in range(3)]
    data, prints = dataset(*rows)
    result = split(data, prints)
    assert contents(rows, result.train).isdisjoint(contents(rows, result.validation))
    assert len(result.validation) == 3 * 8
    assert result.notes == ("80 images byte-identical to another; copies stay on one side",)


def test_an_image_in_two_classes_goes_with_the_first_and_is_told() -> None:
    rows = [*plain(10, 10), ("both", "dog"), ("both", "cat")]
    for seed in range(20):
        data, prints = dataset(*rows)
        result = split(data, prints, seed=seed)
        assert (20 in result.train) == (21 in result.train)
        assert result.notes[0] == (
            "1 image stands in more than one class, such as 'cat/021.png' and 'dog/020.png': check them"
        )


def test_at_least_one_image_stays_on_each_side() -> None:
    for share in (0.01, 0.99):
        result = split(*dataset(*plain(2, 3)), validation=share)
        assert len(result.train) >= 2
        assert len(result.validation) >= 2


def test_given_validation_is_used() -> None:
    rows = [("a", "cat", "train"), ("b", "dog", "train"), ("c", "cat", "validation"), ("d", "dog", "validation")]
    result = split(*dataset(*rows, ("e", "dog", "test"), ("f", "cat", None)))
    assert result.train.tolist() == [0, 1, 5]
    assert result.validation.tolist() == [2, 3]
    assert result.test.tolist() == [4]


def test_only_a_test_part_given_means_validation_comes_from_train() -> None:
    rows = [(text, label, "train") for text, label in plain(10, 10)]
    result = split(*dataset(*rows, ("x", "cat", "test"), ("cat3", "cat", "test")))
    assert result.test.tolist() == [20, 21]
    assert 3 not in [*result.train, *result.validation]
    assert len(result.train) + len(result.validation) == 19
    assert result.notes == ("1 image left out of training: byte-identical to one in validation or test",)


def test_only_train_given_is_as_if_nothing_were() -> None:
    rows = plain(10, 10)
    given_train = split(*dataset(*[(text, label, "train") for text, label in rows]))
    assert given_train.validation.tolist() == split(*dataset(*rows)).validation.tolist()


def test_leaks_between_given_parts_are_left_out_of_the_less_final_one() -> None:
    rows = [
        ("a", "cat", "train"),
        ("v", "cat", "train"),
        ("t", "cat", "train"),
        ("b", "dog", "train"),
        ("v", "cat", "validation"),
        ("t", "cat", "validation"),
        ("w", "dog", "validation"),
        ("t", "cat", "test"),
    ]
    result = split(*dataset(*rows))
    assert result.train.tolist() == [0, 3]
    assert result.validation.tolist() == [4, 6]
    assert result.test.tolist() == [7]
    assert "1 image left out of validation: byte-identical to one in test" in result.notes
    assert "2 images left out of training: byte-identical to one in validation or test" in result.notes


def test_a_class_without_validation_images_is_told() -> None:
    rows = [("a", "cat", "train"), ("b", "dog", "train"), ("c", "cat", "validation")]
    assert split(*dataset(*rows)).notes == ("no validation images for 'dog'",)


def test_images_without_labels_take_no_part() -> None:
    data, prints = dataset(*plain(5, 5))
    data = Dataset(**{**data.__dict__, "labels": np.where(np.arange(10) == 4, -1, data.labels)})
    result = split(data, prints)
    assert 4 not in [*result.train, *result.validation]
    assert result.notes == ("1 image without a label left out",)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_of_the_interval(share: float) -> None:
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        split(*dataset(*plain()), validation=share)


def test_a_class_with_one_image() -> None:
    with pytest.raises(DataError) as caught:
        split(*dataset(*plain(1, 5)))
    assert str(caught.value) == (
        "class 'cat' has 1 image; every class needs at least 2, one to learn from and one to check with: add images or"
        " remove the class"
    )
    with pytest.raises(DataError, match="class 'cat' has 1 image of its own that differ"):
        split(*dataset(("same", "cat"), ("same", "cat"), ("a", "dog"), ("b", "dog")))


@pytest.mark.parametrize(
    "rows",
    [
        plain(1, 5),
        plain(5, 0),
        [("a", "cat", "train"), ("b", "dog", "validation"), ("c", "cat", "validation")],
    ],
)
def test_numbers_alone_tell_what_cannot_be_split(rows: list[tuple[str, str]]) -> None:
    data, prints = dataset(*rows)
    with pytest.raises(DataError) as early:
        check_counts(data)
    with pytest.raises(DataError) as late:
        split(data, prints)
    assert str(early.value) == str(late.value)


def test_one_image_for_training_beside_a_test_part() -> None:
    rows = [("a", "cat", "train"), ("x", "cat", "test"), *((text, "dog", "train") for text in "bcd")]
    with pytest.raises(DataError, match="class 'cat' has 1 image for training; every class needs at least 2"):
        check_counts(dataset(*rows)[0])
    check_counts(dataset(*rows, ("y", "cat", "validation"))[0])


def test_a_class_without_training_images() -> None:
    rows = [("a", "cat", "train"), ("b", "dog", "validation"), ("c", "cat", "validation")]
    with pytest.raises(DataError, match="no training images for 'dog'"):
        split(*dataset(*rows))
    leaked = [("a", "cat", "train"), ("b", "dog", "train"), ("b", "dog", "validation"), ("c", "cat", "validation")]
    with pytest.raises(DataError, match="no training images for 'dog'"):
        split(*dataset(*leaked))


def test_validation_that_is_all_test() -> None:
    rows = [("a", "cat", "train"), ("b", "dog", "train"), ("c", "cat", "validation"), ("c", "cat", "test")]
    with pytest.raises(DataError, match="every validation image is a copy of a test image"):
        split(*dataset(*rows))


def test_fewer_than_two_classes() -> None:
    with pytest.raises(DataError, match="fewer than two classes with usable images: 'cat'"):
        split(*dataset(("a", "cat"), ("b", "cat")))


PART = st.sampled_from([None, "train", "validation", "test"])


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("abc"), PART), min_size=1, max_size=60),
    parts=st.booleans(),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_no_image_stands_on_two_sides(
    rows: list[tuple[int, str, str | None]], parts: bool, share: float, seed: int
) -> None:
    data, prints = dataset(*[(str(content), label, part if parts else None) for content, label, part in rows])
    result: Split | None
    try:
        result = split(data, prints, validation=share, seed=seed)
    except DataError:
        result = None
    if result is None:
        return
    check_counts(data, validation=share)  # what can be split is not refused early
    sides = [{prints[i] for i in side} for side in (result.train, result.validation, result.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert set(data.labels[result.train]) == set(range(len(data.class_names)))
    assert len(result.validation) > 0
    # no image is lost: what takes no part is a copy of one that is checked with
    left_out = set(range(len(prints))) - set(result.train) - set(result.validation) - set(result.test)
    assert {prints[i] for i in left_out} <= sides[1] | sides[2]


def test_photos_that_show_the_same_stay_on_one_side() -> None:
    data, prints = dataset(*plain(60, 60))
    shown = [prints[at - at % 3] for at in range(120)]  # three files of each photo
    result = split(data, prints, originals=shown, seed=4)
    sides = [{shown[at] for at in part} for part in (result.train, result.validation)]
    assert not sides[0] & sides[1]
    assert len(result.validation) == 24
    assert result.notes == ("80 images look like another one; copies stay on one side",)


def test_a_given_split_loses_what_is_byte_identical_alone() -> None:
    rows = [
        (f"{label}{at}", label, "validation" if at == 4 else "train") for label in ("cat", "dog") for at in range(5)
    ]
    data, prints = dataset(*rows)
    result = split(data, prints, originals=[prints[4], *prints[1:]])
    assert (len(result.train), len(result.validation)) == (8, 2)
    assert result.notes == ()
