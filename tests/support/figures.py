"""Reading what a matplotlib figure shows."""

from itertools import combinations
from typing import Any


def written(page: Any) -> list[tuple[str, Any]]:
    """All text that a figure draws, with its box in pixels."""
    from matplotlib.text import Text

    page.canvas.draw()
    axes = [axis for panel in page.axes for axis in (panel.xaxis, panel.yaxis)]
    hidden = {id(label) for axis in axes for label in beyond(axis)}
    items = page.findobj(lambda item: isinstance(item, Text) and id(item) not in hidden)
    visible = [item for item in items if item.get_visible() and item.get_text().strip()]
    return [(item.get_text(), item.get_window_extent()) for item in visible]


def beyond(axis: Any) -> list[Any]:
    """Labels of ticks outside of what an axis shows; they are not drawn."""
    low, high = sorted(axis.get_view_interval())
    labels = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
    return [label for label, at in labels if not axis.get_visible() or not low <= at <= high]


def ticks(axis: Any) -> list[str]:
    hidden = beyond(axis)
    return [label.get_text() for label in axis.get_ticklabels() if label not in hidden]


def assert_legible(page: Any, fewest: int = 10) -> None:
    """No text is cut off at an edge, and none is written over another."""
    texts = written(page)
    width, height = page.canvas.get_width_height()
    assert len(texts) > fewest
    for text, box in texts:
        assert 3 < box.x0 < box.x1 < width - 3, text
        assert 3 < box.y0 < box.y1 < height - 3, text
    for (one, box), (other, its) in combinations(texts, 2):
        assert not box.padded(-1).overlaps(its.padded(-1)), (one, other)
