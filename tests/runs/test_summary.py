"""The summary of a run, and comparisons of runs: what differs, and a test on their common images."""

import csv
import json
import os

import pytest
from scipy.stats import binomtest

from support.runs import accuracy, copy_run, pin, write_tables
from tl.errors import RunError, UsageError
from tl.runs.summary import MetricValue, changed_options, compare_runs, disk_usage, summarize
from tl.views.terminal.runs import difference_text, pair_text


@pytest.fixture
def pair(tiny_run, tmp_path):
    """Two runs that are the same, but for their folder."""
    return copy_run(tiny_run, tmp_path / "a"), copy_run(tiny_run, tmp_path / "b")


def images(*rows):
    """Images as `sha256 part prediction`, a word each; a dot for one without prediction."""
    return [(f"{row.split()[0]}.png", *row.split()) for row in rows]


def test_equal_runs_have_no_differences(pair):
    found = compare_runs(pair)
    assert (found.options, found.network, found.data, found.per_class, found.versions) == ({}, {}, {}, {}, {})
    assert set(found.results["validation"]) == {"count", "top1"}
    (only,) = found.pairs
    assert (only.images, only.trained, only.disputed) == (24, 0, 0)
    assert only.test.count == found.results["validation"]["count"][0].value
    assert only.test.p_value == 1
    assert "The same in all: options, network, data, images per class, versions." in difference_text(found)


def test_differences_are_listed_by_section(tiny_run, tmp_path):
    first = copy_run(tiny_run, tmp_path / "a", options__epochs=3, versions__keras="3.0", data__per_class={"noise": 12})
    second = copy_run(
        tiny_run,
        tmp_path / "b",
        metrics__validation=accuracy(0.25, 8),
        weights__sha256="f" * 64,
        data__seed=7,
        data__images=30,
        backbone__recipe__image_size=96,
    )
    found = compare_runs([first, second])
    assert (found.options, found.versions["keras"][0]) == ({"epochs": (3, None)}, "3.0")
    assert (found.network["pixels"], found.network["weights sha256"][1]) == ((224, 96), "f" * 64)
    assert found.data == {"images": (24, 30), "split seed": (0, 7)}
    assert found.per_class == {"stripes": (None, 12)}
    assert found.results["validation"]["top1"][1] == MetricValue(0.25, 0.125, 0.625)
    assert found.results["validation"]["count"][1] == MetricValue(8)
    assert json.loads(json.dumps(found.as_dict()))["options"] == {"epochs": [3, None]}


def test_option_newer_than_a_run_has_its_default(tiny_run, tmp_path):
    first = copy_run(tiny_run, tmp_path / "a")
    about = summarize(first)
    options = {name: value for name, value in about.options.items() if name not in ("balance", "unfreeze")}
    second = copy_run(tiny_run, tmp_path / "b", options=options | {"unfreeze": "last"})
    assert compare_runs([first, second]).options == {"unfreeze": ("none", "last")}
    assert changed_options(summarize(second)) == {"val": 0.2, "unfreeze": "last"}


def test_mcnemar_uses_the_common_images(pair):
    first = ["1 validation noise", "2 validation stripes", "3 test noise", "4 validation noise", "5 train ."]
    second = ["1 test noise", "2 test noise", "3 validation noise", "5 validation noise", "4 train .", "9 test noise"]
    write_tables(pair[0], images(*first, *(f"a{at} test stripes" for at in range(9))))
    write_tables(pair[1], images(*second, *(f"a{at} test noise" for at in range(9))))
    (found,) = compare_runs(pair).pairs
    assert (found.images, found.trained, found.disputed) == (14, 2, 0)
    assert (found.test.gained, found.test.lost, found.test.count) == (10, 0, 12)
    assert found.test.p_value == pytest.approx(binomtest(0, 10).pvalue)
    text = pair_text(found)
    assert "A and B: of 12 images, B alone classifies 10 correctly" in text
    assert "B is better (McNemar's exact test, p = 0.002)" in text
    assert "2 images that one run was trained on and the other was evaluated on were left out" in text


def test_images_are_matched_by_content_not_by_name(pair):
    first = [("x.png", "1", "test", "noise"), ("y.png", "2", "test", "noise"), ("z.png", "1", "test", "noise")]
    second = [("y.png", "1", "test", "noise"), ("x.png", "3", "test", "noise")]
    write_tables(pair[0], [*first, ("a.png", "4", "train", "."), ("b.png", "4", "test", "noise")])
    write_tables(pair[1], [*second, ("c.png", "4", "test", "noise")])
    (found,) = compare_runs(pair).pairs
    assert (found.images, found.trained, found.test.count) == (2, 1, 1)


def test_images_with_disputed_labels_are_left_out(pair):
    for folder in pair:
        write_tables(folder, images("1 test noise", "2 test noise"))
    path = pair[1] / "predictions.csv"
    path.write_text(path.read_text().replace("1.png,test,noise,noise", "1.png,test,stripes,stripes"))
    pin(pair[1])
    (found,) = compare_runs(pair).pairs
    assert (found.disputed, found.test.count) == (1, 1)
    assert "1 image with different labels: left out." in pair_text(found)


def test_runs_without_common_images_are_not_tested(pair):
    write_tables(pair[0], images("1 test noise", "2 train ."))
    write_tables(pair[1], images("1 train .", "3 test noise"))
    (found,) = compare_runs(pair).pairs
    assert found.test is None
    assert "A and B have no held-out image in common" in pair_text(found)
    assert "(1 image in both data sets)" in pair_text(found)
    assert "1 image that one run was trained on and the other was evaluated on was left out" in pair_text(found)


def test_each_later_run_is_tested_against_the_first(pair, tiny_run, tmp_path):
    found = compare_runs([*pair, copy_run(tiny_run, tmp_path / "c", options__epochs=9)])
    assert [(one.first, one.second) for one in found.pairs] == [(0, 1), (0, 2)]
    assert found.options == {"epochs": (None, None, 9)}


def test_compare_runs_needs_two_different_runs(pair, tmp_path):
    with pytest.raises(UsageError, match="give two or more different runs"):
        compare_runs(pair[:1])
    (tmp_path / "link").symlink_to(pair[0])
    with pytest.raises(UsageError, match="give two or more different runs"):
        compare_runs([pair[0], tmp_path / "link"])
    with pytest.raises(RunError, match="no run"):
        compare_runs([pair[0], tmp_path / "none"])


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("split.csv", None, "split.csv is missing"),
    ("split.csv", "path,label\n", "names 'noise/"),
    ("split.csv", "path,label\na,b\n", "split.csv cannot be read"),
    ("split.csv", "path,label,split,sha256\na\n", "split.csv is cut short"),
    ("predictions.csv", "path,label,predicted\nelsewhere,noise,noise\n", "names 'elsewhere', which is not"),
    ("predictions.csv", f"path,label,predicted\n{'x' * (csv.field_size_limit() + 1)}\n", "cannot be read"),
    ("predictions.csv", b"\xff\xfe", "cannot be read"),
])  # fmt: skip
def test_damaged_tables_are_named(pair, name, text, reason):
    path = pair[1] / name
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        pin(pair[1])
    with pytest.raises(RunError, match=reason) as refused:
        compare_runs(pair)
    assert str(pair[1]) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_summarize_ignores_tables_among_the_metrics(tiny_run, tmp_path):
    scores = accuracy(0.5) | {"per_class": {"noise": {"recall": 1.0}}, "reliability": [1], "brier": float("nan")}
    copy_run(
        tiny_run, tmp_path / "a", metrics__validation=scores, metrics__calibration={"before": 1}, metrics__unknown={}
    )
    assert set(summarize(tmp_path / "a").parts["validation"].figures) == {"top1", "log_loss"}


def test_disk_usage_counts_hard_links_as_shared(tmp_path):
    for name, count in (("own", 10), ("linked", 200)):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(bytes(count))
    os.link(tmp_path / "run" / "linked", tmp_path / "cached")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "run" / "own")
    usage = disk_usage(tmp_path / "run")
    assert (usage.shared, usage.files) == (200, 3)
    assert usage.own == 10 + os.lstat(tmp_path / "run" / "link").st_size
    assert disk_usage(tmp_path / "run", tmp_path / "run").shared == 200


def test_summarize_a_tuned_run(tiny_run, tmp_path):
    tuning = {
        "kept": False,
        "unfreeze": "last",
        "comparison": {"gained": 1, "lost": 2, "p_value": 1.0, "count": 4},
        "head_only": {"validation": accuracy(0.75)},
        "tuned": {"validation": accuracy(0.5)},
        "steps": 9,
    }
    changes = {"metrics__fine-tuning": tuning}
    about = summarize(copy_run(tiny_run, tmp_path / "a", **changes))
    assert (about.unfreeze, about.tuning.kept, about.tuning.comparison.lost) == ("last", False, 2)
    assert about.tuning.after["validation"].top1.value == 0.5
    changes = {"metrics__fine-tuning": tuning | {"head_only": {}, "comparison": None, "kept": True}}
    assert summarize(copy_run(tiny_run, tmp_path / "b", **changes)).unfreeze == "scratch"
