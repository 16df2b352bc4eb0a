"""Two runs side by side: what differs, and a fair test on the photos that they share."""

import csv
import json

import pytest
from scipy.stats import binomtest

from support.runs import accuracy, make, tables
from tl.errors import RunError, UsageError
from tl.runs.diff import changed, difference
from tl.runs.summary import Figure, summarize
from tl.views.terminal.runs import contrast, sentence


@pytest.fixture
def pair(tiny_run, tmp_path):
    """Two runs that are the same, but for their folder."""
    return make(tiny_run, tmp_path / "a"), make(tiny_run, tmp_path / "b")


def photos(*rows):
    """Photos of `sha256 part answer`, in a word each; a dot for one that is not answered."""
    return [(f"{row.split()[0]}.png", *row.split()) for row in rows]


def test_runs_that_are_the_same(pair):
    found = difference(pair)
    assert (found.options, found.network, found.data, found.per_class, found.versions) == ({}, {}, {}, {}, {})
    assert set(found.results["validation"]) == {"count", "top1"}
    (only,) = found.pairs
    assert (only.images, only.trained, only.disputed) == (24, 0, 0)
    assert only.test.count == found.results["validation"]["count"][0].value
    assert only.test.p_value == 1
    assert "The same in all: options, network, data, images a class, versions." in contrast(found)


def test_what_differs_is_named(tiny_run, tmp_path):
    first = make(tiny_run, tmp_path / "a", options__epochs=3, versions__keras="3.0", data__per_class={"noise": 12})
    second = make(
        tiny_run,
        tmp_path / "b",
        metrics__validation=accuracy(0.25, 8),
        weights__sha256="f" * 64,
        data__seed=7,
        data__images=30,
        backbone__recipe__image_size=96,
    )
    found = difference([first, second])
    assert found.options == {"epochs": (3, None)}
    assert found.versions["keras"][0] == "3.0"
    assert found.network["pixels"] == (224, 96)
    assert found.network["weights sha256"][1] == "f" * 64
    assert found.data == {"images": (24, 30), "split seed": (0, 7)}
    assert found.per_class == {"stripes": (None, 12)}
    assert found.results["validation"]["top1"][1] == Figure(0.25, 0.125, 0.625)
    assert found.results["validation"]["count"][1] == Figure(8)
    assert json.loads(json.dumps(found.as_dict()))["options"] == {"epochs": [3, None]}


def test_an_option_that_a_run_did_not_know_has_its_default(tiny_run, tmp_path):
    first = make(tiny_run, tmp_path / "a")
    about = summarize(first)
    options = {name: value for name, value in about.options.items() if name not in ("balance", "unfreeze")}
    second = make(tiny_run, tmp_path / "b", options=options | {"unfreeze": "last"})
    assert difference([first, second]).options == {"unfreeze": ("none", "last")}
    assert changed(summarize(second)) == {"unfreeze": "last"}


def test_the_test_is_on_photos_in_common(pair):
    first = ["1 validation noise", "2 validation stripes", "3 test noise", "4 validation noise", "5 train ."]
    second = ["1 test noise", "2 test noise", "3 validation noise", "5 validation noise", "4 train .", "9 test noise"]
    tables(pair[0], photos(*first, *(f"a{at} test stripes" for at in range(9))))
    tables(pair[1], photos(*second, *(f"a{at} test noise" for at in range(9))))
    (found,) = difference(pair).pairs
    assert (found.images, found.trained, found.disputed) == (14, 2, 0)
    assert (found.test.gained, found.test.lost, found.test.count) == (10, 0, 12)
    assert found.test.p_value == pytest.approx(binomtest(0, 10).pvalue)
    said = sentence(found)
    assert "A and B: of 12 images, only B classifies 10 correctly" in said
    assert "B is better (McNemar's exact test, p = 0.002)" in said
    assert "2 photos that one run was trained on and the other is scored on were left out" in said


def test_photos_are_known_by_content_not_by_name(pair):
    tables(pair[0], [("x.png", "1", "test", "noise"), ("y.png", "2", "test", "noise")])
    tables(pair[1], [("y.png", "1", "test", "noise"), ("x.png", "3", "test", "noise")])
    (found,) = difference(pair).pairs
    assert (found.images, found.test.count) == (1, 1)


def test_a_photo_that_stands_twice_counts_once(pair):
    for folder in pair:
        tables(folder, [(f"{at}.png", "1", "test", "noise") for at in range(5)])
    assert difference(pair).pairs[0].test.count == 1


def test_a_photo_trained_on_under_another_name_is_left_out(pair):
    tables(pair[0], [("a.png", "1", "train", "."), ("b.png", "1", "test", "noise"), ("c.png", "2", "test", "noise")])
    tables(pair[1], [("a.png", "1", "test", "noise"), ("c.png", "2", "test", "noise")])
    (found,) = difference(pair).pairs
    assert (found.trained, found.test.count) == (1, 1)


def test_disputed_labels_are_left_out(pair):
    for folder in pair:
        tables(folder, photos("1 test noise", "2 test noise"))
    path = pair[1] / "predictions.csv"
    path.write_text(path.read_text().replace("1.png,test,noise,noise", "1.png,test,stripes,stripes"))
    (found,) = difference(pair).pairs
    assert (found.disputed, found.test.count) == (1, 1)
    assert "1 photo of which the labels differ: left out." in sentence(found)


def test_nothing_in_common(pair):
    tables(pair[0], photos("1 test noise", "2 train ."))
    tables(pair[1], photos("1 train .", "3 test noise"))
    (found,) = difference(pair).pairs
    assert found.test is None
    assert "A and B have no held-out photo in common" in sentence(found)
    assert "(1 image in both data sets)" in sentence(found)
    assert "1 photo that one run was trained on and the other is scored on was left out" in sentence(found)


def test_each_later_run_is_tested_against_the_first(pair, tiny_run, tmp_path):
    found = difference([*pair, make(tiny_run, tmp_path / "c", options__epochs=9)])
    assert [(one.first, one.second) for one in found.pairs] == [(0, 1), (0, 2)]
    assert found.options == {"epochs": (None, None, 9)}


def test_what_cannot_be_compared(pair, tmp_path):
    with pytest.raises(UsageError, match="takes two runs or more, each once"):
        difference(pair[:1])
    (tmp_path / "link").symlink_to(pair[0])
    with pytest.raises(UsageError, match="each once"):
        difference([pair[0], tmp_path / "link"])
    with pytest.raises(RunError, match="no run"):
        difference([pair[0], tmp_path / "none"])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("split.csv", None, "split.csv is missing"),
        ("split.csv", "path,label\n", "names 'noise/"),
        ("split.csv", "path,label\na,b\n", "split.csv cannot be read"),
        ("split.csv", "path,label,split,sha256\na\n", "split.csv is cut short"),
        ("predictions.csv", "path,label,predicted\nelsewhere,noise,noise\n", "names 'elsewhere', which split.csv"),
        ("predictions.csv", f"path,label,predicted\n{'x' * (csv.field_size_limit() + 1)}\n", "cannot be read"),
        ("predictions.csv", b"\xff\xfe", "cannot be read"),
    ],
)
def test_damaged_tables_are_named(pair, name, text, reason):
    path = pair[1] / name
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=reason) as refused:
        difference(pair)
    assert str(pair[1]) in str(refused.value)
    assert "\n" not in str(refused.value)
