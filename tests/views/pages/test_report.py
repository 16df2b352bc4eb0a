"""The report page: it needs nothing else, lets nothing through, says its figures, and says what is missing."""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from runs.test_history import about, write_run
from support.reports import made
from tl.views.pages.report.report import Subject, compose, write_report

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "고양이", "x" * 300, "{{ 7 * 7 }}")
VOID = {"meta", "img", "input", "path", "line", "circle", "rect", "use"}


class Reader(HTMLParser):
    """What a page holds: its tags with their attributes, its words, and the text of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.raw = "", {"style": "", "script": ""}
        self._inside = ""
        self.feed(text)
        self.words = re.sub(r"\s+", " ", self.words)  # also the spaces that do not break

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw and dict(attrs).get("type") != "application/json" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] += data
        else:
            self.words += data

    def found(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(subject: Subject) -> Reader:
    return Reader(compose(subject, explain=False))


def tuned(folder: Path) -> Subject:
    """A run whose backbone was trained."""
    write_run(folder, 6)
    training = about(6, 72, True, "") | {"images_per_second": 31.5}
    return made(folder, **{"fine-tuning": training}, seconds={"head": 0.5, "fine-tuning": 9.5, "total": 10.0})


@pytest.mark.parametrize("classes", [("cat", "dog"), HOSTILE, tuple(f"class {at}" for at in range(30))])
def test_the_page_needs_nothing_else_and_lets_nothing_through(tmp_path: Path, classes: tuple[str, ...]):
    names = [f"{HOSTILE[at % 5]}/{at}.jpg" for at in range(60)]
    reader = page(made(tmp_path, classes, 60, names=names))
    [policy] = [str(tag["content"]) for tag in reader.found("meta") if tag.get("http-equiv")]
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; img-src data:;" in policy
    assert "unsafe" not in policy
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        links = [str(attributes[name]) for name in ("src", "href", "xlink:href") if name in attributes]
        assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert [tag.get("type") for tag in reader.found("script")] in ([None], ["application/json", None])
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}


def test_hostile_names_are_shown_as_they_are(tmp_path: Path):
    reader = page(made(tmp_path, HOSTILE, 50))
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4]):
        assert name in reader.words
    assert "49" not in [str(tag.get("data-value")) for tag in reader.found("td")]


def test_control_characters_and_lone_surrogates_are_written(tmp_path: Path):
    subject = made(tmp_path, ("a\u202eb", "tab\tnull\x00"), names=[f"\u0007{at}\u2028.jpg" for at in range(40)])
    text = write_report(replace(subject, data="data/\udcff"), explain=False).read_text(encoding="utf-8")
    assert not set(text) & {"\x00", "\x07", "\u202e", "\u2028"}


def test_the_page_says_the_figures_as_they_are(tmp_path: Path):
    subject = made(tmp_path, count=50, wrong=0.2)
    figures = json.loads((tmp_path / "metrics.json").read_text())["validation"]
    words = page(subject).words
    low, _ = figures["top1_interval"]
    assert f"80.0 % of the 50 photos held out for validation are answered right (95 % interval {100 * low:.1f}" in words
    assert f"{figures['log_loss']:.3f}" in words
    assert f"{figures['brier']:.3f}" in words
    assert f"{100 * figures['balanced_accuracy_interval'][0]:.1f} to" in words
    assert "Answering “cat”, one of the largest classes, for every photo would get 50.0 %." in words
    assert f"{np.log(2):.3f}" in words
    assert "top-5" not in words
    recall = figures["per_class"]["dog"]["recall"]
    assert f"{100 * recall:.1f} %" in words


def test_a_share_of_photos_is_100_only_where_all_are_right(tmp_path: Path):
    words = page(made(tmp_path, count=4000, wrong=1 / 4000)).words
    assert "99.9 % of the 4,000 photos" in words
    assert "100.0 % of the 4,000" not in words


def test_one_class_alone_has_figures(tmp_path: Path):
    subject = made(tmp_path, count=1, wrong=0.0)
    assert "-0.000" not in page(subject).words


def test_a_classifier_that_may_be_no_better_than_guessing_is_said_to_be(tmp_path: Path):
    assert "these photos do not tell whether the classifier does better" in page(made(tmp_path, wrong=0.5)).words


def test_the_page_says_what_was_done(tmp_path: Path):
    words = page(made(tmp_path)).words
    told = ("tl finetune 'photos/my pets'", "ab" * 32, "resnet50, 23,587,712 parameters", "numpy 2.0")
    told += (
        "160 for training, 40 for validation (seed 7)",
        "truncated JPEG",
        "dog/<b>.jpg",
        "copies of one photo",
        "100 photos/s",
        "BGR, less (103.939",
    )
    told += ("L2 0.01", "Temperature 1.250", "At most 1 % of photos are called unknown.", "3 photos are called unknown")
    for said in told:
        assert said in words, said
    assert page(replace(made(tmp_path), command="tl report x")).words.count("tl report x") == 1


def test_headings_go_down_one_step_at_a_time_and_names_lead_somewhere(tmp_path: Path):
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
    assert all(tag.get("alt") for tag in reader.found("img"))
    assert all(tag.get("scope") in ("row", "col") for tag in reader.found("th"))


def test_right_and_wrong_have_signs_with_names(tmp_path: Path):
    reader = page(made(tmp_path, count=20, wrong=0.1))
    items = [tag for tag in reader.found("li") if "data-v" in tag]
    assert [tag["data-v"] for tag in items] == ["wrong"] * 2 + ["right"] * 18
    labels = [tag.get("aria-label") for tag in reader.found("svg") if "sign" in str(tag.get("class"))]
    assert {"right", "wrong", "unknown"} == set(labels)


def test_what_is_missing_is_said_in_words(tmp_path: Path):
    words = page(made(tmp_path / "all right", wrong=0)).words
    assert "There is none: all 40 photos are answered right." in words
    assert "No class is taken for another one." in words
    assert "No photo is answered wrong." in words
    assert "The backbone was not trained" in words
    reader = page(made(tmp_path / "gone", photos=False))
    assert "The photos cannot be read again from here" in reader.words
    assert "photo cannot be read" in reader.words
    assert not reader.found("img")
    words = page(made(tmp_path / "empty class", [f"c{at}" for at in range(7)], 5, wrong=0.2)).words
    assert "2 classes have no photos here: c5, c6." in words
    assert "There is none" not in words
    words = page(made(tmp_path / "all wrong", wrong=1)).words
    assert "All 40 wrong photos; none is right." in words


def test_a_photo_that_is_damaged_or_gone_has_a_placeholder(tmp_path: Path):
    subject = made(tmp_path, count=10)
    dataset = subject.dataset
    assert dataset is not None
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    pictures = (tmp_path / "broken.jpg", tmp_path / "gone.jpg", *dataset.images[2:])
    reader = page(replace(subject, dataset=replace(dataset, images=pictures)))
    assert reader.words.count("photo cannot be read") >= 2
    assert reader.found("img")


def test_a_run_of_an_older_version_has_a_page(tmp_path: Path):
    words = page(made(tmp_path, old=True)).words
    assert "As answered (validation)" in words
    assert "It was not asked which photos are unlike all training photos." in words
    assert "Temperature" not in words.replace("temperature", "")
    newer = page(made(tmp_path)).words
    for said in re.findall(r"80\.0 %|calibration error [\d.]+ %, 40 photos", words):
        assert said in newer


def test_the_test_part_heads_the_page(tmp_path: Path):
    words = page(made(tmp_path, parts=("validation", "test"))).words
    assert "of the test part, which nothing was trained or chosen on" in words
    assert "All below is about the test photos." in words
    assert "test/001.jpg" in words
    assert "validation/001.jpg" not in words


def test_an_evaluation_says_what_was_left_out_and_against_whom(tmp_path: Path):
    rival = {"sentence": "run b is better"}
    subject = made(tmp_path, parts=("evaluation",), left_out={"that were trained on": 12}, against=rival)
    words = page(replace(subject, command="tl evaluate photos/pets", data="photos/pets")).words
    assert "Evaluation of a run ·" in words  # which was made before it was noted what was trained on
    assert "of the 40 photos evaluated are answered right" in words
    assert "Not scored: 12 photos that were trained on." in words
    assert "Run b is better." in words
    assert "tl evaluate photos/pets" in words
    assert "tl finetune 'photos/my pets'" in words
    assert "Learning curves" not in words


def test_an_evaluation_says_how_many_of_its_photos_were_trained_on(tmp_path: Path):
    words = page(made(tmp_path / "some", parts=("evaluation",), trained_on=32)).words
    assert "Evaluation of a run, photos that were trained on included" in words
    assert "32 of the 40 photos were trained on: these figures do not tell how good the run is on others." in words
    words = page(made(tmp_path / "none", parts=("evaluation",), trained_on=0)).words
    assert "Evaluation of a run on photos it was not trained on" in words
    assert "do not tell how good" not in words


def test_photos_of_classes_the_run_does_not_know_are_counted(tmp_path: Path):
    subject = made(tmp_path)
    table = tmp_path / "predictions.csv"
    table.write_text(table.read_text().replace("validation,cat", "validation,bird", 1))
    assert "1 photo of classes that this run does not know is left out" in page(subject).words


def test_learning_curves_follow_the_page(tmp_path: Path):
    text = compose(tuned(tmp_path / "run"), explain=False)
    plots = re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        assert "var(--own)" in plot or "var(--other)" in plot
        assert "var(--quiet)" in plot
        assert not re.search(r"style=|<style|#[0-9a-f]{6}\"|http://(?!www\.w3\.org)", plot)
    assert "The tuned network is kept" in text
    assert "31.5 photos/s in training" in text


def test_the_same_run_gives_the_same_page(tmp_path: Path):
    subject = tuned(tmp_path / "run")
    assert compose(subject, explain=False) == compose(subject, explain=False)
