"""Photos and a data set become the photos of the set that are most like each, by the features of one network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.cache import usable_cache
from tl.data.dataset import Dataset
from tl.data.images import ImageLike
from tl.data.inputs import ImageInputs, Input, read_inputs
from tl.data.load import load
from tl.engines import open_named
from tl.engines.engine import Engine
from tl.errors import DataError, UsageError
from tl.features.extract import Features, extract
from tl.neighbors import most_similar
from tl.networks.backbones import Recipe
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs.run import load_run

_QUERY_SIDE = 640  # pixels: frames of a video are not shrunk below what any network takes


@dataclass(frozen=True)
class Match:
    """A photo of the data set, how alike it is (cosine of the features, at most 1), and whether no byte differs."""

    name: str
    label: str | None
    similarity: float
    same: bool
    picture: ImageLike

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": self.name, "label": self.label, "similarity": round(self.similarity, 6), "same": self.same}


@dataclass(frozen=True)
class Found:
    """What is most like a query, the most similar first."""

    query: str
    picture: ImageLike
    matches: tuple[Match, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"query": self.query, "found": [match.as_dict() for match in self.matches]}


@dataclass(frozen=True)
class Search:
    """The answers to all queries, among how many photos, by which network; `broken` photos could not be read."""

    answers: tuple[Found, ...]
    searched: int
    broken: int
    network: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        answers = [answer.as_dict() for answer in self.answers]
        return {"network": self.network, "searched": self.searched, "broken": self.broken, "answers": answers}


def search(
    images: ImageInputs,
    data: str | Path,
    *,
    backbone: str | None = None,
    weights: str = "imagenet",
    run: str | Path | None = None,
    count: int = 12,
    download: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Search:
    """The `count` photos of a data set most like each of the named images, by a `backbone` or the network of a `run`.

    Photos need no labels. Raises DataError for an image that cannot be read and a data set without photos that can,
    UsageError for a backbone beside a run.
    """
    if run is not None and backbone is not None:
        raise UsageError("--run has a network of its own: give --run or --backbone, not both")
    inputs = list(read_inputs(images, min_side=_QUERY_SIDE))
    if not inputs or count < 1:
        raise UsageError("a search takes at least one image, and finds at least one")
    progress = progress or Progress()
    dataset = load(data, labelled=False, download=download, offline=offline, progress=progress)
    engine, recipe, network = _opened(backbone, weights, run, offline, progress)
    with usable_cache(progress) as cache:
        asked = extract([one.image for one in inputs], engine, recipe, cache, progress=Progress())
        for index, reason in asked.failures.items():
            raise DataError(f"image {inputs[index].name!r} cannot be searched for: {reason}")
        made = extract(dataset.images, engine, recipe, cache, progress=progress)
    if not len(made.kept):
        raise DataError(f"none of the images of {str(data)!r} can be read: look with tl data check")
    answers = _answers(inputs, asked, dataset, made, count)
    return Search(answers, len(made.kept), len(made.failures), network)


def _opened(
    backbone: str | None, weights: str, run: str | Path | None, offline: bool, progress: Progress
) -> tuple[Engine, Recipe, str]:
    if run is None:
        engine, network = open_named(backbone or "resnet50", weights=weights, offline=offline, progress=progress)
        return engine, network.recipe, network.name
    loaded = load_run(run)
    engine = run_engine(loaded, at_once=False)
    return engine, loaded.backbone.recipe, f"{loaded.backbone.name} of run {loaded.name}"


def _answers(
    images: Sequence[Input], asked: Features, dataset: Dataset, made: Features, count: int
) -> tuple[Found, ...]:
    places, similar = most_similar(asked.values, made.values, count)

    def match(query: int, place: int, similarity: float) -> Match:
        index = int(made.kept[place])
        label = int(dataset.labels[index])
        return Match(
            name=dataset.names[index],
            label=dataset.class_names[label] if label >= 0 else None,
            similarity=similarity,
            same=made.fingerprints[place] == asked.fingerprints[query],
            picture=dataset.images[index],
        )

    return tuple(
        Found(
            name,
            picture,
            tuple(match(at, *found) for found in zip(places[at].tolist(), similar[at].tolist(), strict=True)),
        )
        for at, (name, picture) in enumerate(images)
    )
