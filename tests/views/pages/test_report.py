"""The report page: self-contained, escaped, complete, and clear about what is missing."""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.html import Reader
from support.reports import Subject, report_folder
from support.runs import fine_tuning, write_tuned_run
from tl.data.load import load
from tl.errors import RunError, StorageError
from tl.evaluation.selective import HeldOutAnswers
from tl.runs.run import load_run
from tl.views.pages.report import MOST_BYTES

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "고양이", "x" * 300, "{{ 7 * 7 }}")
SEVEN, MANY = ([f"c{at}" for at in range(count)] for count in (7, 300))
TEST, EVALUATION = {"parts": ("validation", "test")}, {"parts": ("evaluation",)}


def page(subject: Subject) -> Reader:
    reader = Reader(subject.compose())
    reader.words = re.sub(r"\s+", " ", reader.words)
    return reader


def tuned(folder: Path) -> Subject:
    write_tuned_run(folder, 6)
    training = fine_tuning(6, 72, True, "") | {"images_per_second": 31.5}
    times = {"head": 0.5, "fine-tuning": 9.5, "total": 10.0}
    return report_folder(folder, **{"fine-tuning": training}, seconds=times)


@pytest.mark.parametrize("classes", [("cat", "dog"), HOSTILE, tuple(f"class {at}" for at in range(30))])
def test_report_is_self_contained_under_a_strict_policy(tmp_path, classes):
    names = [f"{HOSTILE[at % 5]}/{at}.jpg" for at in range(60)]
    reader = page(report_folder(tmp_path, classes, 60, names=names))
    [policy] = [str(tag["content"]) for tag in reader.all("meta") if tag.get("http-equiv")]
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; img-src data:;" in policy
    assert "unsafe" not in policy
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        links = [str(attributes[name]) for name in ("src", "href", "xlink:href") if name in attributes]
        assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert [tag.get("type") for tag in reader.all("script")] in ([None], ["application/json", None])
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}


def test_report_escapes_hostile_names(tmp_path):
    reader = page(report_folder(tmp_path, HOSTILE, 50))
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4]):
        assert name in reader.words
    assert "49" not in [str(tag.get("data-value")) for tag in reader.all("td")]


def test_report_drops_control_characters_and_writes_lone_surrogates(tmp_path):
    subject = report_folder(
        tmp_path, ("a\u202eb", "tab\tnull\x00"), names=[f"\u0007{at}\u2028.jpg" for at in range(40)]
    )
    text = replace(subject, data="data/\udcff").write().read_text(encoding="utf-8")
    assert not set(text) & {"\x00", "\x07", "\u202e", "\u2028"}


@pytest.mark.parametrize(("images", "wrong"), [(6, 0.5), (12, 0.25), (60, 0.1), (60, 0.5)])
def test_report_shows_an_image_at_most_once_above_the_gallery(tmp_path, images, wrong):
    reader = page(report_folder(tmp_path, count=images, wrong=wrong))
    paths = [str(tag["title"]) for tag in reader.all("span") if tag.get("class") == "path"]
    assert len(set(paths)) == images  # the gallery has all of them
    assert max(paths.count(path) for path in paths) == 2
    assert len(paths) <= images * (1.25 + wrong)


def test_report_shows_the_metrics_of_metrics_json(tmp_path):
    subject = report_folder(tmp_path, count=50, wrong=0.2)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["validation"]
    words = page(subject).words
    low, high = metrics["top1_interval"]
    interval = f"95% CI {100 * low:.1f}–{100 * high:.1f}"
    assert f"80.0% accuracy ({interval}) on the 50 images held out for validation." in words
    assert f"{metrics['log_loss']:.3f}" in words
    assert f"{metrics['brier']:.3f}" in words
    assert f"{100 * metrics['balanced_accuracy_interval'][0]:.1f}–" in words
    assert "The majority-class baseline, always predicting “cat”, reaches 50.0%." in words
    assert f"{np.log(2):.3f}" in words
    assert "top-5" not in words
    assert f"{100 * metrics['per_class']['dog']['recall']:.1f}%" in words


@pytest.mark.parametrize(("options", "present", "absent"), [
    ({"count": 4000, "wrong": 1 / 4000}, ["99.9% accuracy"], ["100.0% accuracy"]),
    ({"count": 1, "wrong": 0.0}, [], ["-0.000"]),
    ({"wrong": 0.5}, ["too few images to tell whether the classifier is better"], []),
    ({"wrong": 0}, ["None: all 40 images are classified correctly.", "No class is confused with another."], []),
    ({"wrong": 0}, ["No image is classified wrong.", "The backbone was not trained"], []),
    ({"wrong": 1}, ["All 40 wrong images; none is correct."], []),
    ({"classes": SEVEN, "count": 5}, ["2 classes have no images here: c5, c6."], ["None: all"]),
    ({"classes": MANY, "count": 600}, ["With 300 classes the squares of a matrix would be too small to see"], []),
    ({}, ["The heat maps are missing", "trunk.bin is missing"], []),
    ({"images": False}, ["The images cannot be read from here", "image cannot be read"], []),
    ({}, ["With twice as many images (80), the accuracy would be about 91%", "a rough guess."], ["gain most"]),
    ({"classes": SEVEN}, ["Classes that would gain most: c0."], []),
    ({"old": True}, [], ["More images"]),
    ({"old": True}, ["Images unlike the training images were not looked for."], ["Temperature scaling"]),
    (TEST, ["the test part, which was used neither for training nor for any choice"], ["validation/001.jpg"]),
    (TEST, ["Everything below is about the test images.", "test/001.jpg"], []),
    (EVALUATION | {"trained_on": 32}, ["Evaluation, training images included"], []),
    (EVALUATION | {"trained_on": 32}, ["The run was trained on 32 of the 40 images: its accuracy on new"], []),
    (EVALUATION | {"trained_on": 0}, ["Evaluation on images not trained on"], ["will be lower", "copies of training"]),
    (EVALUATION | {"copies": 3}, ["3 images are copies of training images, judged by heads fitted without these."], []),
])  # fmt: skip
def test_report_text_suits_its_subject(tmp_path, options, present, absent):
    words = page(report_folder(tmp_path, **options)).words
    assert [text for text in present if text not in words] == []
    assert [text for text in absent if text in words] == []


def test_report_has_the_fraction_answered_for_each_error_bound(tmp_path):
    correct = np.ones(150, bool)
    correct[100::4] = False
    answers = HeldOutAnswers(1 - np.arange(150) / 1000, correct, np.zeros(150, bool))
    reader = page(report_folder(tmp_path / "some", selective=answers.as_dict()))
    assert "The curve is the fraction of images like the training images that is answered." in reader.words
    share = answers.select(0.05).answered
    assert 0.5 < share < 0.9
    assert re.search(
        rf"1%\s*–\s*–\s*230 images.*images\s*5%\s*{100 * share:.0f}%\s*\d\d\.\d+%\s*45 images", reader.words
    )
    bounds = [one for one in answers.as_dict()["curve"] if one["answered"]]
    assert len(reader.all("polyline")[0]["points"].split()) == len(bounds) > 5
    assert f"at most 5% wrong: {100 * share:.0f}% answered" in reader.words
    few = HeldOutAnswers(np.ones(9), np.ones(9, bool), np.zeros(9, bool))
    reader = page(report_folder(tmp_path / "few", selective=few.as_dict()))
    assert "The 9 held-out images are too few or too often wrong to promise that." in reader.words
    assert not reader.all("polyline")
    assert "Answering only when sure" not in page(report_folder(tmp_path / "none")).words


def test_report_says_how_the_run_was_made(tmp_path):
    words = page(report_folder(tmp_path)).words
    for text in (
        "tl finetune 'photos/my pets'",
        "ab" * 32,
        "resnet50, 23,587,712 parameters",
        "numpy 2.0",
        "160 training, 40 validation images (seed 7)",
        "truncated JPEG",
        "dog/<b>.jpg",
        "copies of one image",
        "100 images/s",
        "BGR minus 103.939",
        "L2 0.01, chosen on 5 held-out folds",
        "Temperature scaling with 1.250",
        "At most 1% of images are called unknown.",
        "3 images are called unknown",
    ):
        assert text in words, text
    assert page(replace(report_folder(tmp_path), command="tl report x")).words.count("tl report x") == 1


def test_report_headings_links_and_labels_are_accessible(tmp_path):
    reader = page(tuned(tmp_path / "run"))
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    names = [str(attributes["id"]) for _, attributes in reader.tags if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in reader.tags:
        for key in ("aria-labelledby", "aria-describedby"):
            assert set(str(attributes.get(key) or "").split()) <= set(names)
        link = str(attributes.get("href") or "")
        assert not link.startswith("#") or link[1:] in names
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in reader.tags}
    assert all(tag.get("alt") for tag in reader.all("img"))
    assert all(tag.get("scope") in ("row", "col") for tag in reader.all("th"))


def test_report_marks_correct_and_wrong_with_named_signs(tmp_path):
    reader = page(report_folder(tmp_path, count=20, wrong=0.1))
    items = [tag for tag in reader.all("li") if "data-v" in tag]
    assert [tag["data-v"] for tag in items] == ["wrong"] * 2 + ["right"] * 18
    labels = [tag.get("aria-label") for tag in reader.all("svg") if "sign" in str(tag.get("class"))]
    assert set(labels) == {"correct", "wrong", "unknown"}


def test_report_has_a_placeholder_for_an_unreadable_image(tmp_path):
    subject = report_folder(tmp_path, count=10)
    dataset = subject.dataset
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    images = (tmp_path / "broken.jpg", tmp_path / "gone.jpg", *dataset.images[2:])
    reader = page(replace(subject, dataset=replace(dataset, images=images)))
    assert reader.words.count("image cannot be read") >= 2
    assert reader.all("img")


def test_report_of_an_old_run_computes_what_it_lacks(tmp_path):
    old, new = (page(report_folder(tmp_path, old=old)).words for old in (True, False))
    for text in re.findall(r"80\.0%|calibration error [\d.]+%, 40 images", old):
        assert text in new


def test_report_of_an_evaluation_names_left_out_images_and_the_other_run(tmp_path):
    rival = {"sentence": "run b is better"}
    subject = report_folder(tmp_path, parts=("evaluation",), left_out={"that were trained on": 12}, against=rival)
    words = page(replace(subject, command="tl evaluate photos/pets", data="photos/pets")).words
    assert "Evaluation ·" in words  # made before evaluations recorded what was trained on
    assert "on the 40 images evaluated." in words
    assert "Not evaluated: 12 images that were trained on." in words
    assert "Run b is better." in words
    assert "tl evaluate photos/pets" in words
    assert "tl finetune 'photos/my pets'" in words
    assert "learning curves" not in words


def test_report_counts_images_of_foreign_classes(tmp_path):
    subject = report_folder(tmp_path)
    table = tmp_path / "predictions.csv"
    table.write_text(table.read_text().replace("validation,cat", "validation,bird", 1))
    assert "1 image of classes that this run does not know is left out" in page(subject).words


def test_report_is_reproducible_and_draws_learning_curves_in_the_colours_of_the_page(tmp_path):
    subject = tuned(tmp_path / "run")
    text = subject.compose()
    assert text == subject.compose()
    plots = re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        assert "var(--own)" in plot or "var(--other)" in plot
        assert "var(--quiet)" in plot
        assert not re.search(r"style=|<style|#[0-9a-f]{6}\"|http://(?!www\.w3\.org)", plot)
    assert "31.5 images/s in training" in text


_HEADER = "path,split,label,predicted,confidence,confidence_of_label\n"


@pytest.mark.parametrize(("file", "content"), [
    ("metrics.json", "{"),
    ("metrics.json", "[]"),
    ("metrics.json", '{"seconds": {}}'),
    ("metrics.json", '{"validation": {"top1": "<b>", "top1_interval": [0, 1], "count": 1}}'),
    ("metrics.json", '{"validation": {"top1": 1, "top1_interval": [0], "count": 1}}'),
    ("predictions.csv", "path,split\na,validation\n"),
    ("predictions.csv", f"{_HEADER}a,validation,cat,cat,nan,0\n"),
    ("predictions.csv", f"{_HEADER}a,validation,cat,cat,9,0\n"),
    ("predictions.csv", "split,label,predicted,confidence,confidence_of_label,path\nvalidation,cat,cat,1,1\n"),
    ("predictions.csv", None),
    ("strengths.csv", "strength,held_out_log_loss,held_out_top1\nmuch,0,0\n"),
])  # fmt: skip
def test_report_of_a_damaged_folder_is_refused_in_one_line(tmp_path, file, content):
    subject = report_folder(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(RunError, match="damaged, its report cannot be made") as caught:
        subject.write()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*report.html*"))


def test_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    subject = report_folder(tmp_path)
    target = subject.write()
    old = target.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match=r"report\.html.* cannot be written: no space left"):
        replace(subject, data="other").write()
    assert target.read_bytes() == old
    assert not list(tmp_path.glob(".report*"))


def test_report_of_large_images_stays_below_its_limit(tmp_path):
    classes = [f"class {at:03}" for at in range(100)]
    subject = report_folder(tmp_path, classes, 1200, wrong=0.4, side=200)  # noise, which no JPEG makes small
    text = subject.write().read_bytes()
    assert 2_000_000 < len(text) < MOST_BYTES
    reader = Reader(text.decode())
    items = [tag for tag in reader.all("li") if "data-v" in tag]
    assert 100 < len(items) < 450
    assert len({tag["data-t"] for tag in items}) == 100
    assert f"{sum(tag['data-v'] == 'wrong' for tag in items)} of 480 wrong images" in reader.words
    [cells] = re.findall(r'id="map-cells">(.*?)</script>', text.decode(), re.DOTALL)
    matrix = json.loads(cells)
    assert matrix["names"] == classes
    assert sum(sum(row[1::2]) for row in matrix["cells"]) == 1200


def test_report_explains_the_worst_errors_with_the_runs_own_network(tmp_path, tiny_run, shapes):
    run, dataset = load_run(tiny_run), load(str(shapes))
    subject = report_folder(tmp_path, run.classes, 12, names=list(dataset.names[:12]), wrong=0.3)
    reader = page(replace(subject, run=run, dataset=dataset))
    heatmaps = [tag for tag in reader.all("img") if str(tag["alt"]).startswith("The same with the evidence for")]
    assert len(heatmaps) == 4
    assert len({tag["src"] for tag in heatmaps}) == 4
    assert "the evidence for the wrong class (Grad-CAM)" in reader.words
