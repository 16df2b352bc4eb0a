"""How a report shows commands, times and names."""

import pytest

from tl.views.pages.report_scores import short_name
from tl.views.pages.report_sections import command_line, seconds


@pytest.mark.parametrize(("words", "shown"), [
    (["/usr/bin/tl", "finetune", "my photos"], "tl finetune 'my photos'"),
    (["cli.py", "finetune"], "python cli.py finetune"),
    (["/x/tl/__main__.py", "grid"], "tl grid"),
    (["train.py"], "train.py"),
    ("tl finetune photos", "tl finetune photos"),
    ([], ""),
    (None, ""),
])  # fmt: skip
def test_command_line_is_shown_as_typed(words, shown):
    assert command_line(words) == shown


def test_seconds_become_minutes_and_names_one_line():
    assert [seconds(value) for value in (0.184, 12.34, 125.9)] == ["0.18 s", "12.3 s", "2 min 05 s"]
    assert short_name("a\u202e\x00b") == "a b"
    assert short_name("") == "(no name)"
    assert len(short_name("x" * 500)) == 90
