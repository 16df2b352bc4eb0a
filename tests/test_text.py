"""Numbers and names as text."""

import math

import pytest

from tl.text import count, interval, listed, number, one_line, percent, quoted, shorten, size


@pytest.mark.parametrize(("text", "expected"), [
    (count(1, "photo"), "1 photo"),
    (count(1204, "class"), "1,204 classes"),
    (count(2, "category"), "2 categories"),
    (count(0, "day"), "0 days"),
    (count(2, "child", "children"), "2 children"),
    (percent(0.97), "97.0%"),
    (percent(0.9999), "99.9%"),
    (percent(1), "100.0%"),
    (percent(0.5, 0), "50%"),
    (percent(None), "–"),
    (percent(math.nan), "–"),
    (interval(0.947, 0.998), "95% CI 94.7–99.8"),
    (number(0.061), "0.06"),
    (number(23.61), "23.6"),
    (number(1234.4), "1,234"),
    (size(999), "999 B"),
    (size(12_300), "12.3 kB"),
    (size(1_300_000_000), "1.3 GB"),
    (one_line("a\n b\t\x00c"), "a b c"),
    (shorten("abcdefghij", 5), "ab…ij"),
    (shorten("abc", 5), "abc"),
    (listed(["a", "b", "c"], 2), "a, b and 1 more"),
    (quoted(["b", "a"]), "'a', 'b'"),
    (quoted(["10", "2", "class 10", "class 9"]), "'2', '10', 'class 9', 'class 10'"),
    (quoted("abcdefg"), "'a', 'b', 'c', 'd', 'e' and 2 more"),
])  # fmt: skip
def test_text_is_formatted(text, expected):
    assert text == expected
