"""Findings stand in the order in which they matter, and are counted."""

import json

from support.data_sets import dataset, photo
from tl.doctor.findings import Diagnosis, Finding, ranked


def finding(kind: str, severity: str, score: float, name: str = "a") -> Finding:
    return Finding(kind, severity, (name,), "said", "rm -- a", score)


def diagnosis(*found: Finding) -> Diagnosis:
    return Diagnosis(dataset({"cat/1.png": photo(0), "dog/1.png": photo(1)}), ranked(found), (), 1.5)


def test_severity_goes_before_score_and_score_before_name():
    given = [
        finding("x", "note", 1.0),
        finding("x", "error", 0.1),
        finding("x", "warning", 0.5, "b"),
        finding("x", "warning", 0.5, "a"),
        finding("x", "warning", 0.9, "c"),
    ]
    order = [(one.severity, one.score, one.files[0]) for one in ranked(given)]
    assert order == [
        ("error", 0.1, "a"),
        ("warning", 0.9, "c"),
        ("warning", 0.5, "a"),
        ("warning", 0.5, "b"),
        ("note", 1.0, "a"),
    ]


def test_kinds_stand_by_their_gravest_finding():
    made = diagnosis(finding("b", "note", 1), finding("a", "note", 0.5), finding("b", "error", 0.1))
    assert list(made.kinds) == ["b", "a"]
    assert [one.severity for one in made.kinds["b"]] == ["error", "note"]
    assert made.severities == {"error": 1, "warning": 0, "note": 2}


def test_what_fails_a_check():
    assert diagnosis(finding("a", "error", 1)).reaches("warning")
    assert diagnosis(finding("a", "warning", 1)).reaches("warning")
    assert not diagnosis(finding("a", "warning", 1)).reaches("error")
    assert not diagnosis(finding("a", "note", 1)).reaches("warning")
    assert not diagnosis().reaches("warning")


def test_the_form_for_machines():
    told = json.loads(json.dumps(diagnosis(finding("a", "error", 0.123456)).as_dict()))
    assert told["findings"] == [
        {"kind": "a", "severity": "error", "files": ["a"], "evidence": "said", "mend": "rm -- a", "score": 0.1235}
    ]
    assert (told["images"], told["classes"], told["kinds"]) == (2, 2, {"a": 1})
