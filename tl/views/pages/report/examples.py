"""Answers become the places of the photos to show: wrong ones, a sample of right ones, the worst, the least sure."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl.evaluation.confusion import Pair, confusion, most_confused
from tl.views.pages.report.predictions import Answers, Labels

MOST_WRONG, MOST_RIGHT, MOST_UNKNOWN = 300, 150, 50  # photos of the gallery; they fill a page of under 5 MB
MOST_WORST, MOST_UNSURE, MOST_SURE, MOST_PAIRS, OF_PAIR = 12, 12, 6, 10, 3


@dataclass(frozen=True)
class Confused:
    """A pair that is confused, and the places of its surest examples."""

    pair: Pair
    examples: tuple[int, ...]


def gallery(answers: Answers) -> Labels:
    """Wrong photos, unknown ones and right ones, in the order of their claim to a place on the page.

    Of more wrong ones than there is room for, each class gives its worst first; of right ones each class gives some.
    """
    lots = np.array([_lot(name) for name in answers.names], dtype=np.uint64)
    wrong = _by_turns(np.flatnonzero(~answers.right), answers.truth, answers.of_truth)[:MOST_WRONG]
    right = _by_turns(np.flatnonzero(answers.right), answers.truth, lots)[:MOST_RIGHT]
    unknown = np.flatnonzero(answers.unknown)
    unknown = unknown[np.argsort(lots[unknown], kind="stable")][:MOST_UNKNOWN]
    every = np.concatenate([wrong, unknown, right])
    _, first = np.unique(every, return_index=True)
    return every[np.sort(first)]


def shelved(answers: Answers, places: Labels) -> Labels:
    """The same as a reader goes through them: wrong ones, the surest first, then right ones, the least sure first."""
    right, sure = answers.right[places], answers.confidence[places]
    return places[np.lexsort((np.where(right, sure, -sure), right))]


def worst(answers: Answers) -> Labels:
    """The wrong photos whose true class was given the least."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.lexsort((-answers.confidence[wrong], answers.of_truth[wrong]))][:MOST_WORST]


def least_sure(answers: Answers) -> Labels:
    """The photos whose answer is the least ahead of the second best."""
    return np.argsort(answers.lead, kind="stable")[:MOST_UNSURE]


def most_sure(answers: Answers) -> Labels:
    """The photos answered with the most confidence."""
    return np.argsort(-answers.confidence, kind="stable")[:MOST_SURE]


def matrix(answers: Answers) -> NDArray[np.int64]:
    """The confusion matrix."""
    return confusion(answers.truth, answers.answer, len(answers.classes))


def pairs(answers: Answers, counts: NDArray[np.int64]) -> list[Confused]:
    """The pairs of a confusion matrix that are confused most, with examples."""
    found = []
    for pair in most_confused(counts, MOST_PAIRS):
        places = np.flatnonzero((answers.truth == pair.truth) & (answers.answer == pair.answer))
        surest = places[np.argsort(-answers.confidence[places], kind="stable")][:OF_PAIR]
        found.append(Confused(pair, tuple(int(at) for at in surest)))
    return found


def _by_turns(places: Labels, classes: Labels, rank: NDArray[np.generic]) -> Labels:
    """The first by rank of each class, then the second of each, and so on."""
    order = places[np.lexsort((rank[places], classes[places]))]
    starts = np.searchsorted(classes[order], classes[order], side="left")
    turn = np.arange(len(order)) - starts
    return order[np.lexsort((rank[order], turn))]


def _lot(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8])
