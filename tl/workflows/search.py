"""Search a data set for the images most similar to given ones, by the features of one network."""

from dataclasses import dataclass

from tl.cache import usable_cache
from tl.data.inputs import ImageInputs, read_inputs
from tl.data.load import Data, load
from tl.engines import open_named
from tl.engines.engine import Engine
from tl.errors import DataError, UsageError
from tl.features.extract import extract
from tl.features.search import SearchResult, find_matches
from tl.networks.backbones import Recipe
from tl.options import download_option, keywords, offline_option, option
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs.run import load_run

_QUERY_SIDE = 640  # pixels below which frames of a video are not shrunk: more than any network takes


@dataclass(frozen=True)
class SearchOptions:
    """The options of `tl search`."""

    backbone: str | None = option(None, "Network whose features are compared.", default_text="resnet50")
    weights: str = option("imagenet", "Weights of the backbone: a name or a file.")
    run: str | None = option(None, "Use the network of a run instead.", metavar="RUN")
    count: int = option(12, "Number of images to find.", low=1, high=200)
    download: bool = download_option()
    offline: bool = offline_option()


@keywords(SearchOptions)
def search(
    images: ImageInputs, data: "Data", *, options: SearchOptions, progress: Progress | None = None
) -> SearchResult:
    """The images of a data set that are most similar to each of `images`; labels are not needed.

    Raises DataError for an image that cannot be read and a data set without readable images, UsageError for a backbone
    together with a run.
    """
    progress = progress or Progress()
    if options.run is not None and options.backbone is not None:
        raise UsageError("--run has a network of its own: give --run or --backbone, not both")
    queries = list(read_inputs(images, min_side=_QUERY_SIDE))
    if not queries:
        raise UsageError("no image to search for: give one or more")
    dataset = load(data, labelled=False, download=options.download, offline=options.offline, progress=progress)
    engine, recipe, network = _open_network(options, progress)
    with usable_cache(progress) as cache:
        query_features = extract([image for _, image in queries], engine, recipe, cache, progress=Progress())
        for index, reason in query_features.failures.items():
            raise DataError(f"image {queries[index].name!r} cannot be searched for: {reason}")
        features = extract(dataset.images, engine, recipe, cache, progress=progress)
    if not len(features.kept):
        raise DataError(f"none of the images of {dataset.name!r} can be read: see `tl data check`")
    answers = find_matches(queries, query_features, dataset, features, options.count)
    return SearchResult(answers, len(features.kept), len(features.failures), network)


def _open_network(options: SearchOptions, progress: Progress) -> tuple[Engine, Recipe, str]:
    if options.run is None:
        name = options.backbone or "resnet50"
        engine, network = open_named(name, weights=options.weights, offline=options.offline, progress=progress)
        return engine, network.recipe, network.name
    run = load_run(options.run)
    return run_engine(run, compiled=False), run.backbone.recipe, f"{run.backbone.name} of run {run.name}"
