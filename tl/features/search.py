"""Find the images of a data set whose features are most similar to those of given images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tl.data.dataset import Dataset
from tl.data.images import ImageLike
from tl.features.extract import Features
from tl.linalg import most_similar
from tl.text import NONE, html_table


@dataclass(frozen=True)
class SearchMatch:
    """An image of the data set; `similarity` is the cosine of the features, `same` means identical bytes."""

    name: str
    label: str | None
    similarity: float
    same: bool
    image: ImageLike

    @property
    def similarity_text(self) -> str:
        """The similarity with three digits; rounding alone never makes it 1.000."""
        return "1.000" if self.same else f"{min(self.similarity, 0.999):.3f}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"path": self.name, "label": self.label, "similarity": round(self.similarity, 6), "same": self.same}


@dataclass(frozen=True)
class SearchMatches:
    """A query image and the images most similar to it, the most similar first."""

    query: str
    image: ImageLike
    matches: tuple[SearchMatch, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"query": self.query, "found": [match.as_dict() for match in self.matches]}


@dataclass(frozen=True)
class SearchResult:
    """The matches of all queries among `searched` images, by the features of `network`; `broken` were unreadable."""

    answers: tuple[SearchMatches, ...] = field(repr=False)
    searched: int
    broken: int
    network: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        answers = [answer.as_dict() for answer in self.answers]
        return {"network": self.network, "searched": self.searched, "broken": self.broken, "answers": answers}

    def _repr_html_(self) -> str:
        rows = [
            (answer.query, match.name, NONE if match.label is None else match.label, match.similarity_text)
            for answer in self.answers
            for match in answer.matches
        ]
        return html_table(rows, ("query", "image", "label", "similarity"), f"by the features of {self.network}")


def find_matches(
    queries: Sequence[tuple[str, ImageLike]], query_features: Features, dataset: Dataset, features: Features, count: int
) -> tuple[SearchMatches, ...]:
    """For each named query, the `count` images of the data set with the most similar features."""
    places, similarities = most_similar(query_features.values, features.values, count)

    def match(query: int, place: int, similarity: float) -> SearchMatch:
        index = int(features.kept[place])
        label = int(dataset.labels[index])
        return SearchMatch(
            name=dataset.names[index],
            label=dataset.class_names[label] if label >= 0 else None,
            similarity=similarity,
            same=features.fingerprints[place] == query_features.fingerprints[query],
            image=dataset.images[index],
        )

    results = []
    for query, (name, image) in enumerate(queries):
        ranked = zip(places[query].tolist(), similarities[query].tolist(), strict=True)
        results.append(SearchMatches(name, image, tuple(match(query, *entry) for entry in ranked)))
    return tuple(results)
