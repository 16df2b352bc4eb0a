"""Places of files: safe whatever names a table or an archive gives, and unlike each other on any disk."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tl.data.dataset import Sample
from tl.data.write import places, safe


def sample(name: str, label: str | None = "cat", part: str | None = None) -> Sample:
    return Sample(Path(name), name, label, part)


@pytest.mark.parametrize(
    ("name", "label", "part", "place"),
    [
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
    ],
)
def test_a_place(name: str, label: str, part: str | None, place: str):
    assert places([sample(name, label, part)]) == [place]


def test_a_wrong_ending_is_made_right():
    assert places([sample("a/1.jpg"), sample("a/2.png")], {1: ".jpg"}) == ["cat/a/1.jpg", "cat/a/2.jpg"]


def test_places_differ_even_where_case_is_ignored():
    names = ["a/1.jpg", "A/1.JPG", "a/1.jpg", "a/1-2.jpg"]
    made = places([sample(name) for name in names])
    assert len({place.casefold() for place in made}) == 4


def test_classes_keep_their_names_and_stay_apart():
    made = places([sample("1.jpg", "a/b"), sample("1.jpg", "a_b"), sample("1.jpg", "Cat"), sample("1.jpg", "cat")])
    assert [PurePosixPath(place).parts[0] for place in made] == ["a_b-2", "a_b", "Cat", "cat"]


@given(some.lists(some.tuples(some.text(max_size=300), some.text(max_size=300)), max_size=5))
def test_any_names_stay_inside_and_differ(rows: list[tuple[str, str]]):
    made = places([sample(name.replace("\0", ""), label) for name, label in rows])
    assert len({place.casefold() for place in made}) == len(rows)
    for place in made:
        parts = PurePosixPath(place).parts
        assert ".." not in parts
        assert not PurePosixPath(place).is_absolute()
        assert all(len(part.encode()) <= 255 and not part.startswith(".") and "\0" not in part for part in parts)


def test_a_long_name_keeps_its_ending():
    assert safe("개" * 200 + ".jpg").endswith("개.jpg")
