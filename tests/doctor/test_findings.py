"""Findings are ranked, counted and written as JSON."""

import json
from dataclasses import replace

import pytest

from support.data_sets import dataset, photo
from support.html import plain_cells
from tl.doctor.findings import Diagnosis, Finding, in_words, rank


def finding(kind: str, severity: str, score: float, name: str = "a") -> Finding:
    return Finding(kind, severity, "evidence", files=(name,), fix="rm -- a", score=score)


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis(dataset({"cat/1.png": photo(0), "dog/1.png": photo(1)}), rank(findings), (), 1.5)


def test_rank_and_kinds_are_by_severity_then_score_then_name():
    rows = [("error", 0.1, "a"), ("warning", 0.9, "c"), ("warning", 0.5, "a"), ("warning", 0.5, "b"), ("note", 1, "a")]
    ranked = [finding("x", *row) for row in rows]
    assert list(rank(reversed(ranked))) == ranked
    made = diagnosis(finding("b", "note", 1), finding("a", "note", 0.5), finding("b", "error", 0.1))
    assert list(made.kinds) == ["b", "a"]
    assert [each.severity for each in made.kinds["b"]] == ["error", "note"]
    assert made.severities == {"error": 1, "warning": 0, "note": 2}
    assert "<td>error</td><td>b</td><td>2</td>" in plain_cells(made._repr_html_())


@pytest.mark.parametrize(("fix", "words"), [
    ("rm -- '/home/me/pets/my cat/1.png' pets/dog/1.png", "leave out my cat/1.png, dog/1.png"),
    ("rm -- pets/cat/2.png", "leave out cat/2.png"),
    ("mv -n -- pets/cat/1.png pets/dog/1.png", "label it as dog"),
    ("mv -n -- pets/cat/1.png pets/cat/1.jpg", "rename it to 1.jpg"),
    ("add images of cat's", "add images of cat's"),
])  # fmt: skip
def test_commands_become_words_for_readers_without_the_files(fix, words):
    files = ("my cat/1.png", "dog/1.png", "cat/2.png")
    assert in_words(replace(finding("a", "error", 1), files=files, fix=fix)).fix == words
    assert in_words(replace(finding("a", "error", 1, "1.png"), fix="rm -- pets/1.png")).fix == "leave it out"


def test_reaches_a_severity_or_worse():
    reached = [diagnosis(finding("a", severity, 1)).reaches("warning") for severity in ("error", "warning", "note")]
    assert reached == [True, True, False]
    assert not diagnosis().reaches("note")


def test_as_dict():
    values = json.loads(json.dumps(diagnosis(finding("a", "error", 0.123456)).as_dict()))
    assert values["findings"] == [
        {"kind": "a", "severity": "error", "files": ["a"], "evidence": "evidence", "mend": "rm -- a", "score": 0.1235}
    ]
    assert (values["images"], values["classes"], values["kinds"]) == (2, 2, {"a": 1})
