"""Paths of written files: safe whatever names a table or an archive gives, and different on any disk."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tl.data.dataset import Sample
from tl.data.write import output_paths, safe_name


def sample(name: str, label: str | None = "cat", part: str | None = None) -> Sample:
    return Sample(Path(name), name, label, part)


@pytest.mark.parametrize(("name", "label", "part", "place"), [
    ("cat/1.jpg", "cat", None, "cat/1.jpg"),
    ("val/cat/deep/1.jpg", "cat", "validation", "validation/cat/deep/1.jpg"),
    ("images/1.jpg", "cat", None, "cat/images/1.jpg"),
    ("../../../1.jpg", "cat", None, "cat/1.jpg"),
    ("/etc/passwd/1.jpg", "../../x", None, "_.._.._x/1.jpg"),
    ("a\\b\\1.jpg", "c:d", None, "c_d/a/b/1.jpg"),
    (".hidden.jpg", ".git", None, "_.git/_.hidden.jpg"),
    ("con.jpg", "NUL", None, "_NUL/_con.jpg"),
    ("", "..", None, "_/photo.jpg"),
    ("개/1.jpg", "개", None, "개/1.jpg"),
])  # fmt: skip
def test_path_of_a_sample(name, label, part, place):
    assert output_paths([sample(name, label, part)]) == [place]


def test_wrong_suffix_is_replaced_and_long_name_keeps_it():
    assert output_paths([sample("a/1.jpg"), sample("a/2.png")], {1: ".jpg"}) == ["cat/a/1.jpg", "cat/a/2.jpg"]
    assert safe_name("개" * 200 + ".jpg").endswith("개.jpg")


def test_paths_and_class_folders_differ_even_where_case_is_ignored():
    paths = output_paths([sample(name) for name in ("a/1.jpg", "A/1.JPG", "a/1.jpg", "a/1-2.jpg")])
    assert len({path.casefold() for path in paths}) == 4
    paths = output_paths([sample("1.jpg", label) for label in ("a/b", "a_b", "Cat", "cat")])
    assert [PurePosixPath(path).parts[0] for path in paths] == ["a_b-2", "a_b", "Cat", "cat"]


@given(some.lists(some.tuples(some.text(max_size=300), some.text(max_size=300)), max_size=5))
def test_paths_of_any_names_stay_inside_and_differ(rows):
    paths = output_paths([sample(name.replace("\0", ""), label) for name, label in rows])
    assert len({path.casefold() for path in paths}) == len(rows)
    for path in paths:
        parts = PurePosixPath(path).parts
        assert ".." not in parts
        assert not PurePosixPath(path).is_absolute()
        assert all(len(part.encode()) <= 255 and not part.startswith(".") and "\0" not in part for part in parts)
