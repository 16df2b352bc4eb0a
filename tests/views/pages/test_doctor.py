"""The list and the page of a diagnosis: nothing is cut, nothing gets through, and the page needs nothing else."""

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from support.data_sets import dataset, photo
from tl.doctor.findings import Diagnosis, Finding, ranked
from tl.errors import StorageError
from tl.views.pages.doctor import page, save
from tl.views.terminal.data import TITLES, listing
from tl.views.terminal.tables import width_of

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e고양이"
LONG = "train/" + "very-long-class-name-" * 6 + "/" + "사진" * 30 + ".jpg"


class Reader(HTMLParser):
    """What a page holds: its tags with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def made(*findings: Finding, name: str = "cat/1.png") -> Diagnosis:
    images = dataset({name: photo(1), "dog/1.png": photo(2), "dog/2.png": photo(3)})
    return Diagnosis(images, ranked(findings), ("the split by default cannot be made",), 2.0)


def finding(name: str, mend: str, kind: str = "label", pictures: tuple[int, ...] = (0,)) -> Finding:
    return Finding(kind, "warning", (name,), f"labelled {name}, looks like dog", mend, 0.9, pictures)


def test_the_page_needs_nothing_else_and_shows_the_pictures():
    reader = Reader(page(made(finding("cat/1.png", "rm -- cat/1.png", pictures=(0, 1))), "tl data check x"))
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["cat/1.png", "dog/1.png"]
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.tags}
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    anchors = [attributes["id"] for tag, attributes in reader.tags if tag == "h2" and "id" in attributes]
    assert links == [f"#{anchor}" for anchor in anchors] == ["#label"]
    for words in (
        "1 warning.",
        "Labels that are probably wrong (1)",
        "rm -- cat/1.png",
        "tl data check x",
        "cannot be made",
    ):
        assert words in reader.words


def test_names_from_anywhere_stay_words():
    reader = Reader(page(made(finding(HOSTILE, f"rm -- '{HOSTILE}'"), name=f"{HOSTILE}/1.png"), HOSTILE))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "<script>alert('x')</script>" in reader.words
    assert "rename it first" in reader.words
    shown = listing(made(finding(HOSTILE, f"rm -- '{HOSTILE}'")), 80)
    assert "rename it first" in " ".join(shown.split())
    for text in (reader.words, shown):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_list_keeps_to_its_width_and_commands_stay_whole():
    command = f"mv -n -- 'data/my photos/1.jpg' '{LONG}'"
    shown = listing(
        made(
            dataclasses.replace(finding(LONG, command), score=1.0),
            *(finding(f"cat/{at}.png", "add photos") for at in range(5)),
        ),
        80,
    )
    wide = [line for line in shown.splitlines() if width_of(line) > 80]
    assert len(wide) <= 1  # the one word of the command that is longer than a line
    assert f"$ {command}" in shown.replace(" \\\n       ", "")
    assert "… and 3 more" in shown
    assert "More of them are in the page, and all in --json." in shown


def test_a_clean_data_set_is_said_to_be_clean():
    clean = dataclasses.replace(made(), notes=())
    assert "Nothing found." in listing(clean, 80)
    assert "Nothing found." in Reader(page(clean)).words


def test_many_findings_and_broken_pictures_keep_the_page_small():
    many = made(*(finding(f"cat/{at}.png", "", pictures=(at % 3,)) for at in range(200)))
    pictures = (np.zeros((0, 0, 3), np.uint8), *many.dataset.images[1:])
    broken = dataclasses.replace(many, dataset=dataclasses.replace(many.dataset, images=pictures))
    reader = Reader(page(broken))
    assert "and 176 more" in reader.words
    assert sum(tag == "figure" for tag, _ in reader.tags) == 24
    assert sum(tag == "img" for tag, _ in reader.tags) == 17


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save(made(), tmp_path / "file" / "page.html")
    save(made(), tmp_path / "new" / "page.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_every_kind_of_finding_has_a_heading():
    import re

    source = "\n".join(path.read_text() for path in (Path(__file__).parents[3] / "tl" / "doctor").glob("*.py"))
    kinds = set(re.findall(r'Finding\(\s*(?:kind=)?"([a-z ]+)"', source)) | set(re.findall(r'add\("([a-z ]+)"', source))
    assert len(kinds) > 12
    assert kinds <= set(TITLES)
