"""Blocks of a network in a row become fewer: what comes several times is written once.

Only blocks that leave the image its size repeat, so that a repeat never reaches over the end of a stage.
"""

import re
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

_LONGEST_PERIOD = 6  # items that repeat together; more would be a network in itself


@dataclass(frozen=True)
class Step:
    """A layer with the small ones that serve it; `before` and `notes` name those in front of it and behind it.

    `reads` counts the blocks above whose outputs it takes: 2 where it takes also that of the one before the last.
    """

    text: str
    kind: str
    before: tuple[str, ...]
    notes: tuple[str, ...]
    layers: tuple[str, ...]
    name: str
    shape: tuple[int | None, ...]
    parameters: int
    reads: int = 1


@dataclass(frozen=True)
class Junction:
    """Branches from one tensor that a `join` (add, concat, multiply) brings together; an empty one is a skip."""

    join: str
    branches: tuple["Chain", ...]
    notes: tuple[str, ...]
    layers: tuple[str, ...]
    name: str
    shape: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class Repeat:
    """Items that come several times in a row; `body` is the first of them, all else counts every one."""

    times: int
    body: "Chain"
    layers: tuple[str, ...]
    name: str
    shape: tuple[int | None, ...]
    parameters: int


Item = Step | Junction | Repeat
Chain = tuple[Item, ...]


def folded(items: Chain) -> Chain:
    """The same blocks with repeats written once, the longest first."""
    made: list[Item] = []
    at = 0
    while at < len(items):
        found = [(_times(items, at, period), period) for period in range(1, _LONGEST_PERIOD + 1)]
        times, period = max(found, key=lambda pair: (pair[0] * pair[1] if pair[0] > 1 else 0, -pair[1]))
        if times > 1:
            made.append(_repeat(items[at : at + times * period], times))
            at += times * period
        else:
            made.append(items[at])
            at += 1
    return tuple(made)


def _times(items: Chain, at: int, period: int) -> int:
    first = items[at : at + period]
    times = 1
    while _alike(first, items[at + times * period : at + (times + 1) * period]):
        times += 1
    return times if len(first) == period else 0


def _alike(some: Chain, others: Chain) -> bool:
    """A block may read more than its predecessor, as in DenseNet; several together must not, or they begin amiss."""
    size = some[0].shape[:-1]
    if [(_pattern(item), item.shape[:-1]) for item in some] != [(_pattern(item), size) for item in others]:
        return False
    return len(some) == 1 or [item.parameters for item in some] == [item.parameters for item in others]


def _repeat(items: Chain, times: int) -> Repeat:
    body = items[: len(items) // times]
    layers = tuple(name for item in items for name in item.layers)
    parameters = sum(item.parameters for item in items)
    return Repeat(times, folded(body), layers, _range(items[0].name, items[-1].name), items[-1].shape, parameters)


def _pattern(item: Item) -> tuple[Any, ...]:
    """What two items have in common that differ in place alone."""
    if isinstance(item, Step):
        return item.text, item.before, item.notes
    if isinstance(item, Repeat):
        return item.times, tuple(map(_pattern, item.body))
    return item.join, item.notes, tuple(tuple(map(_pattern, branch)) for branch in item.branches)


def _range(first: str, last: str) -> str:
    """`conv2_block2` and `conv2_block10` as `conv2_block2–10`."""
    shared = re.sub(r"\d+$", "", commonprefix([first, last]))  # noqa: RUF071 - letters, not folders
    return f"{first}–{last.removeprefix(shared)}" if first and last and shared else first and f"{first} – {last}"
