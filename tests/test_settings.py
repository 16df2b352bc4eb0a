"""Settings come from the environment, in one place."""

from pathlib import Path

import pytest

from tl.errors import UsageError
from tl.settings import parse_size, settings


@pytest.mark.parametrize(("text", "size"), [("10G", 10**10), ("1.5 mb", 1_500_000), ("700", 700), ("2T", 2 * 10**12)])
def test_sizes_are_parsed(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "1X", "9" * 400 + "T"])
def test_unparsable_sizes_are_usage_errors(text):
    with pytest.raises(UsageError, match="give a number with K, M, G or T"):
        parse_size(text)


def test_settings_are_defaults_or_those_of_the_environment():
    found = settings({})
    assert (found.cache_dir.name, found.cache_limit, found.offline) == ("tl", 10**10, False)
    found = settings({"TL_CACHE_DIR": "/here", "TL_CACHE_LIMIT": "3G", "TL_OFFLINE": "1", "KERAS_HOME": "/keras"})
    assert (found.cache_dir, found.cache_limit, found.offline) == (Path("/here"), 3 * 10**9, True)
    assert found.keras_dir == Path("/keras")
