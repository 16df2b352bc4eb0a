"""The picture of a search: every image at its place, with its similarity."""

import numpy as np
import pytest

from tl.errors import UsageError
from tl.features.search import SearchMatch, SearchMatches, SearchResult
from tl.views.pictures.grid import draw_search


def answer(count: int, similarity: float = 0.5) -> SearchMatches:
    pixels = np.full((40, 20, 3), 90, np.uint8)
    return SearchMatches(
        "query.jpg", pixels, tuple(SearchMatch(f"{at}.jpg", "cat", similarity, False, pixels) for at in range(count))
    )


def test_picture_contains_every_image():
    tile = (90, 90, 90)
    for queries, count in ((1, 1), (1, 6), (2, 7)):
        page = np.asarray(draw_search(SearchResult((answer(count),) * queries, 9, 0, "resnet50")))
        columns = (page == tile).all(axis=2)
        hidden = queries * 88 * 4  # the frame around a query covers rows of its image, above and below
        assert columns.sum() == queries * (count + 1) * 176 * 88 - hidden
    assert page.shape[1] < 1500
    bars = np.asarray(draw_search(SearchResult((answer(1, 0.25),), 9, 0, "resnet50")))
    below = bars[108 + 176 + 3, 224 : 224 + 176]
    assert int((below == (0, 92, 158)).all(axis=1).sum()) == 45


def test_similarity_is_1_for_identical_bytes_only():
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert SearchMatch("a", None, 0.99999, False, pixels).similarity_text == "0.999"
    assert SearchMatch("a", None, 0.99999, True, pixels).similarity_text == "1.000"


def test_missing_image_is_drawn_and_huge_picture_refused(tmp_path):
    gone = SearchMatch("gone.jpg", None, 0.5, False, tmp_path / "gone.jpg")
    draw_search(SearchResult((SearchMatches("q", tmp_path / "q.jpg", (gone,)),), 1, 0, "x"))
    with pytest.raises(UsageError, match="million pixels can be viewed"):
        draw_search(SearchResult((answer(200),) * 60, 200, 0, "x"))
