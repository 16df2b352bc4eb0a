"""The page of a diagnosis and its text for a terminal: nothing is cut, everything is escaped."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from support.data_sets import dataset, photo
from support.html import Reader
from tl.doctor.findings import Diagnosis, Finding, rank
from tl.views.pages.doctor import render_page
from tl.views.terminal.data import TITLES, diagnosis_text
from tl.views.terminal.tables import width_of

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e고양이"
LONG = "train/" + "very-long-class-name-" * 6 + "/" + "사진" * 30 + ".jpg"


def diagnosis(*findings: Finding, name: str = "cat/1.png") -> Diagnosis:
    images = dataset({name: photo(1), "dog/1.png": photo(2), "dog/2.png": photo(3)})
    return Diagnosis(images, rank(findings), ("there is no default split",), 2.0)


def finding(name: str, fix: str, images: tuple[int, ...] = (0,), score: float = 0.9) -> Finding:
    return Finding(
        "label", "warning", f"labelled {name}, looks like dog", files=(name,), fix=fix, score=score, images=images
    )


def test_page_is_self_contained_and_shows_the_images():
    made = diagnosis(finding("cat/1.png", "rm -- cat/1.png", images=(0, 1)))
    reader = Reader(render_page(made, "tl data check x"))
    images = reader.all("img")
    assert [image["alt"] for image in images] == ["cat/1.png", "dog/1.png"]
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.tags}
    assert [link["href"] for link in reader.all("a")] == ["#label"]
    assert "label" in [heading.get("id") for heading in reader.all("h2")]
    for words in ("1 warning.", "Probably wrong labels (1)", "rm -- cat/1.png", "tl data check x", "no default split"):
        assert words in reader.words


def test_hostile_names_are_escaped():
    made = diagnosis(finding(HOSTILE, f"rm -- '{HOSTILE}'"), name=f"{HOSTILE}/1.png")
    reader, text = Reader(render_page(made, HOSTILE)), diagnosis_text(made, 80)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "<script>alert('x')</script>" in reader.words
    for words in (reader.words, text):
        assert "rename it first" in " ".join(words.split())
        assert "\x1b" not in words
        assert "\u202e" not in words


def test_text_keeps_to_its_width_and_commands_stay_whole():
    command = f"mv -n -- 'data/my photos/1.jpg' '{LONG}'"
    others = (finding(f"cat/{at}.png", "add photos") for at in range(5))
    text = diagnosis_text(diagnosis(finding(LONG, command, score=1.0), *others), 80)
    wide = [line for line in text.splitlines() if width_of(line) > 80]
    assert wide == [f"    $ {command}"]
    assert "… and 3 more" in text
    assert "The page shows more of them, --json all." in text


def test_text_and_page_of_a_clean_data_set():
    clean = dataclasses.replace(diagnosis(), notes=())
    assert "Nothing found." in diagnosis_text(clean, 80)
    assert "Nothing found." in Reader(render_page(clean)).words


def test_page_of_many_findings_and_broken_images_stays_small():
    many = diagnosis(*(finding(f"cat/{at}.png", "", images=(at % 3,)) for at in range(200)))
    images = (np.zeros((0, 0, 3), np.uint8), *many.dataset.images[1:])
    broken = dataclasses.replace(many, dataset=dataclasses.replace(many.dataset, images=images))
    reader = Reader(render_page(broken))
    assert "and 176 more" in reader.words
    assert (len(reader.all("figure")), len(reader.all("img"))) == (24, 17)


def test_every_kind_of_finding_has_a_title():
    tl = Path(__file__).parents[3] / "tl"
    source, decoding = (
        "\n".join(path.read_text() for path in (tl / folder).glob("*.py")) for folder in ("doctor", "data")
    )
    kinds = re.findall(
        r'(?:[Ff]inding\(|add\(|yield|kind, severity = \(?|^    \()\s*"([a-z ]+)"', source, flags=re.MULTILINE
    )
    remarks = re.findall(r'(?:remarks|noted)\.append\(\("([a-z ]+)"|of_frame, \("([a-z ]+)"', decoding)
    assert {*kinds, *map("".join, remarks), "corrupt", "doubtful label"} == set(TITLES)
