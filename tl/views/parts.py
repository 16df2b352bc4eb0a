"""A block of a network becomes a part of a drawing: boxes on the line that data runs down, branches beside it.

Parts are laid out from the inside: each knows how far it reaches to the left and the right of its line, how high it is,
and how to draw itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tl.views.blocks import Chain, Item, Junction, Repeat, Step
from tl.views.pictures.svg import Page, width

GAP = 14.0  # between what follows each other, room for an arrowhead
_BOX, _PAD, _LANE, _FORK, _JOIN = 22.0, 10.0, 14.0, 8.0, 18.0
_SIGNS = {"add": "+", "multiply": "×"}
_ADDING = (*_SIGNS, "scale and add")


@dataclass(frozen=True)
class Part:
    """Drawn by `paint(page, x, y)` around a line at x, from y down; where `open`, no arrowhead ends at its top."""

    left: float
    right: float
    height: float
    paint: Callable[[Page, float, float], None]
    open: bool = False


def parts(items: Chain) -> list[Part]:
    """Blocks that stand for themselves: what branches or repeats has a frame around it, boxes are equally wide."""
    widest = _widest(items)
    return [_framed(_junction(item), 1) if isinstance(item, Junction) else _part(item, widest) for item in items]


def _part(item: Item, widest: float) -> Part:
    if isinstance(item, Step):
        return _step(item, widest)
    if isinstance(item, Junction):
        return _junction(item)
    if len(item.body) == 1 and isinstance(item.body[0], Step):
        return _step(item.body[0], widest, item.times)
    return _framed(_chain(item.body), item.times)


def _widest(items: Chain) -> float:
    alone = [item.body[0] if isinstance(item, Repeat) and len(item.body) == 1 else item for item in items]
    return max((_length(item) for item in alone if isinstance(item, Step)), default=0.0)


def _chain(items: Chain) -> Part:
    widest = _widest(items)
    inner = [_part(item, widest) for item in items]

    def paint(page: Page, x: float, y: float) -> None:
        for at, part in enumerate(inner):
            if at:
                page.wire([(x, y), (x, y + GAP)], head=not part.open)
                y += GAP
            part.paint(page, x, y)
            y += part.height

    height = sum(part.height for part in inner) + GAP * (len(inner) - 1)
    return Part(max(part.left for part in inner), max(part.right for part in inner), height, paint, inner[0].open)


def _step(step: Step, widest: float, times: int = 1) -> Part:
    half = max(widest, 60.0) / 2 + 10
    badge = f"× {times}"
    beside = width(badge, "small") + 22 if times > 1 else 0.0
    before, notes = _notes(step)

    def paint(page: Page, x: float, y: float) -> None:
        middle, start, end = y + _BOX / 2, x - half + 10, x + half - 10
        with page.group("step", ", ".join(step.layers)):
            if times > 1:
                _stack(page, x - half, y, 2 * half, _BOX, 3.0)
            page.box(step.kind, x - half, y, 2 * half, _BOX)
            page.words(start, middle, before, "muted", "start", "small")
            page.words(start + width(before, "small"), middle, step.text, anchor="start")
            page.words(end, middle, notes, "muted", "end", "small")
        if times > 1:
            _badge(page, x + half + beside - 4, middle, badge)

    return Part(half, half + beside, _BOX, paint)


def _notes(step: Step) -> tuple[str, str]:
    return f"{' · '.join(step.before)} →  " if step.before else "", " · ".join(step.notes)


def _length(step: Step) -> float:
    before, notes = _notes(step)
    return width(before, "small") + width(step.text) + (width(notes, "small") + 12 if notes else 0.0)


def _framed(inner: Part, times: int) -> Part:
    height = inner.height + 2 * _PAD
    left, right = inner.left + _PAD, inner.right + _PAD
    badge = f"× {times}"

    def paint(page: Page, x: float, y: float) -> None:
        if times > 1:
            _stack(page, x - left, y, left + right, height, 4.0)
        page.box("frame", x - left, y, left + right, height, 8)
        page.wire([(x, y), (x, y + _PAD)], head=not inner.open)
        inner.paint(page, x, y + _PAD)
        page.wire([(x, y + _PAD + inner.height), (x, y + height)], head=False)
        if times > 1:
            _badge(page, x + right - 8, y, badge)

    return Part(left, right + (4 if times > 1 else 0), height, paint, open=True)


def _stack(page: Page, x: float, y: float, across: float, down: float, shift: float) -> None:
    """The edges of another one behind a box."""
    corner = [(x + across + shift, y + 2 * shift), (x + across + shift, y + down + shift)]
    page.wire([*corner, (x + 2 * shift, y + down + shift)], "frame", head=False)


def _badge(page: Page, right: float, middle: float, text: str) -> None:
    across = width(text, "small") + 12
    page.box("tag", right - across, middle - 8, across, 16, 8)
    page.words(right - across / 2, middle, text, "tagged", size="small")


def _junction(item: Junction) -> Part:
    branches = [branch for branch in item.branches if branch]
    skips = len(branches) < len(item.branches)
    if item.join in _ADDING and len(branches) == 2 and not skips:
        branches.sort(key=len, reverse=True)
        return _beside(item, _chain(branches[0]), _chain(branches[1]))
    if len(branches) == 1:
        return _beside(item, _chain(branches[0]), None)
    return _fan(item, [_chain(branch) for branch in branches], skips)


def _beside(item: Junction, main: Part, other: Part | None) -> Part:
    """A branch on the line and a shortcut on its right, through `other` or, without it, as an arc."""
    join, reach, into = _joint(item, main.left, main.right)
    lane = main.right + _LANE + (other.left if other else 0.0)
    top = _FORK + GAP
    level = top + main.height + GAP + _JOIN / 2

    def paint(page: Page, x: float, y: float) -> None:
        page.wire([(x, y), (x, y + top)], head=not main.open)
        main.paint(page, x, y + top)
        page.wire([(x, y + top + main.height), (x, y + level - _JOIN / 2)])
        fork, end = (x, y + _FORK / 2), (x + into, y + level)
        if other is None:
            page.wire([fork, (x + lane, fork[1]), (x + lane, end[1]), end], "skip")
        else:
            above = y + top + (main.height - other.height) / 2
            page.wire([fork, (x + lane, fork[1]), (x + lane, above)], "skip", head=not other.open)
            other.paint(page, x + lane, above)
            page.wire([(x + lane, above + other.height), (x + lane, end[1]), end], "skip")
        join(page, x, y + level)

    right = lane + (other.right if other else 2.0)
    return Part(max(main.left, reach), right, level + _JOIN / 2, paint, open=True)


def _fan(item: Junction, columns: list[Part], skips: bool) -> Part:
    """Branches side by side, brought together by a bar below them."""
    across = sum(column.left + column.right for column in columns) + _LANE * (len(columns) - 1)
    places: list[float] = []
    at = -across / 2
    for column in columns:
        places.append(at + column.left)
        at += column.left + column.right + _LANE
    join, reach, into = _joint(item, across / 2, across / 2, bar=True)
    top = _FORK + GAP
    level = top + max(column.height for column in columns) + GAP + _JOIN / 2

    def paint(page: Page, x: float, y: float) -> None:
        fork, upper = (x, y + _FORK / 2), y + level - _JOIN / 2
        page.wire([(x, y), fork], head=False)
        for place, column in zip(places, columns, strict=True):
            first = [fork, (x + place, fork[1])] if abs(place) > 1 else [fork]
            page.wire([*first, (x + place, y + top)], head=not column.open)
            column.paint(page, x + place, y + top)
            page.wire([(x + place, y + top + column.height), (x + place, upper)])
        if skips:
            lane = x + across / 2 + _LANE
            page.wire([fork, (lane, fork[1]), (lane, y + level), (x + into, y + level)], "skip")
        join(page, x, y + level)

    right = across / 2 + (_LANE + 2 if skips else 0.0)
    return Part(max(across / 2, reach), right, level + _JOIN / 2, paint, open=True)


def _joint(
    item: Junction, left: float, right: float, bar: bool = False
) -> tuple[Callable[[Page, float, float], None], float, float]:
    """The sign of a join, how far it reaches to the left, and where on its right a shortcut comes in."""
    notes = " · ".join(item.notes)
    sign = None if bar else _SIGNS.get(item.join)

    def circle(page: Page, x: float, y: float) -> None:
        page.circle("join", x, y, _JOIN / 2)
        page.words(x, y, str(sign))
        page.words(x - _JOIN / 2 - 6, y, notes, "muted", "end", "small")

    def across(page: Page, x: float, y: float) -> None:
        page.box("join", x - left, y - _JOIN / 2, left + right, _JOIN, _JOIN / 2)
        page.words(x + (right - left) / 2, y, " · ".join((item.join, *item.notes)), size="small")

    return (across, left, right) if sign is None else (circle, _JOIN / 2 + 6 + width(notes, "small"), _JOIN / 2)
