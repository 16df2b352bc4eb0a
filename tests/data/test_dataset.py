"""Data sets: assembled from samples, and without some of their images."""

from pathlib import Path

import pytest

from tl.data.dataset import Sample, Skipped, assemble, short_name
from tl.errors import DataError


def samples(*rows: tuple[str, str | None]) -> list[Sample]:
    return [Sample(Path(name), name, label) for name, label in rows]


def test_without_keeps_the_reasons_and_renumbers_classes():
    rows = samples(("a", "ant"), ("b", "bee"), ("c", "cat"), ("d", None), ("e", "cat"))
    data = assemble(rows, source="x", name="x", root=None, skipped=[Skipped("z", "zero")], notes=["first"])
    less = data.without({1: "truncated JPEG", 2: "empty file"})
    assert (less.names, less.class_names) == (("a", "d", "e"), ("ant", "cat"))
    assert less.labels.tolist() == [0, -1, 1]
    assert less.images == (Path("a"), Path("d"), Path("e"))
    assert less.skipped == (Skipped("z", "zero"), Skipped("b", "truncated JPEG"), Skipped("c", "empty file"))
    assert less.notes == ("first", "class 'bee' is left out: none of its images can be used")
    assert data.names == ("a", "b", "c", "d", "e")
    assert data.without({}).labels.tolist() == [0, 1, 2, -1, 2]
    none = data.without(dict.fromkeys(range(5), "empty file"))
    assert (none.names, none.class_names, none.labels.shape) == ((), (), (0,))


def test_assemble_checks_classes_only_where_labelled():
    with pytest.raises(DataError, match=r"^no images in x$"):
        assemble([], source="x", name="x", root=None, labelled=False)
    with pytest.raises(DataError, match="one class only, 'ant'"):
        assemble(samples(("a", "ant")), source="x", name="x", root=None)
    assert assemble(samples(("a", None)), source="x", name="x", root=None, labelled=False).labels.tolist() == [-1]


@pytest.mark.parametrize(("text", "name"), [
    ("dogs-vs-cats", "dogs-vs-cats"), ("a b/c", "a-b-c"), ("..", "data"), ("", "data"), ("고양이", "고양이"),
    ("x" * 99, "x" * 40),
])  # fmt: skip
def test_short_name_suits_a_file_system(text, name):
    assert short_name(text) == name
