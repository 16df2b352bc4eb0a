"""The page of a comparison."""

import base64
from collections import Counter
from dataclasses import replace

from support.comparisons import CASES, HOSTILE, REASON, comparison, every_case
from support.html import Reader
from tl.runs.network_comparison import Comparison
from tl.views.pages.comparison import page


def read_page(compared: Comparison, chart_png: bytes = b"one", grid_png: bytes = b"two") -> Reader:
    return Reader(page(compared, chart_png, grid_png))


@every_case
def test_page_is_self_contained(case):
    reader = read_page(case)
    links = [value for _, attributes in reader.tags for name, value in attributes.items() if name in ("src", "href")]
    assert [str(link).split(",")[0] for link in links] == ["data:image/png;base64"] * 2
    assert [base64.b64decode(str(link).split(",")[1]) for link in links] == [b"one", b"two"]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.tags}
    assert "url(" not in page(case, b"", b"")
    assert "@import" not in page(case, b"", b"")


def test_page_works_with_a_screen_reader():
    reader = read_page(comparison(errors=(REASON,)))
    scopes = Counter(attributes["scope"] for tag, attributes in reader.tags if tag == "th")
    assert scopes == {"col": 9, "row": 4}
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert all(len(str(attributes["alt"])) > 40 for attributes in images)
    regions = [attributes for _, attributes in reader.tags if attributes.get("role") == "region"]
    headings = {attributes.get("id") for tag, attributes in reader.tags if tag == "h2"}
    assert all(attributes["tabindex"] == "0" and attributes["aria-labelledby"] in headings for attributes in regions)
    assert ("html", {"lang": "en"}) in reader.tags
    assert any(attributes.get("name") == "viewport" for _, attributes in reader.tags)
    assert "caption" in dict(reader.tags)


def test_page_shows_figures_errors_the_command_and_the_best_networks():
    words = read_page(comparison(errors=(REASON,), data="data/고양이")).words
    expected = ("85.7", "48.7–97.4", "0.010", "<0.001", "0.33", "did not learn", f"Left out: {REASON}")
    for text in (*expected, "tl compare data/고양이 --scratch a"):
        assert text in words
    assert "Best: network-0 with 85.7% accuracy. It is better than every other network (p < 0.05)." in words
    assert "top-5" not in words
    assert "top-5" in read_page(CASES["hundred classes"]).words
    compared = comparison()
    near = tuple(replace(entry, p_value=0.5) for entry in compared.entries)
    words = read_page(replace(compared, entries=near)).words
    assert "whether it is better than network-1 from random weights or network-2 from random weights" in words


def test_page_escapes_names_from_anywhere():
    compared = replace(comparison(names=(HOSTILE, "b", "c"), errors=(HOSTILE,)), data=HOSTILE, command=HOSTILE)
    reader = read_page(compared)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert reader.words.count("<script>alert('x')</script> & [31m고양이 end") >= 4
    assert "\x1b" not in reader.words
    assert "\u202e" not in reader.words
