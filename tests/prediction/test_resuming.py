"""What has a row is passed over, as often as it has one, whatever has come or gone since."""

import os

from tl.prediction.output import Done


def test_names_are_taken_as_often_as_they_have_rows() -> None:
    done = Done()
    strange = os.fsdecode(b"caf\xe9")
    for name in ("a", "b", "b", strange, "gone"):
        done.add(name, failed=name == "a")
    assert (done.rows, done.failed) == (5, 1)
    items = [(name, at) for at, name in enumerate(["new", "b", "a", "a", "b", "b", strange])]
    assert list(done.without(items)) == [("new", 0), ("a", 3), ("b", 5)]
    done.close()


def test_nothing_done_is_nothing_passed_over() -> None:
    assert list(Done().without([("a", 1), ("a", 2)])) == [("a", 1), ("a", 2)]


def test_names_escaped_as_parquet_has_them_are_the_same() -> None:
    done = Done()
    done.add("caf\\udce9", failed=False)
    assert done.take(os.fsdecode(b"caf\xe9"))
    done.close()
