"""Count the images of a data set by class, part and format, and measure them: `tl data stats`."""

from dataclasses import dataclass

from tl.data.image_stats import measure_images
from tl.data.load import Data, load
from tl.doctor.balance import DatasetStats, dataset_stats
from tl.options import download_option, keywords, offline_option
from tl.progress import Progress


@dataclass(frozen=True)
class StatsOptions:
    """The options of `tl data stats`."""

    download: bool = download_option()
    offline: bool = offline_option()


@keywords(StatsOptions)
def stats(data: Data, *, options: StatsOptions, progress: Progress | None = None) -> DatasetStats:
    """The statistics of a data set, from its files alone. Raises DataError for one that cannot be loaded."""
    progress = progress or Progress()
    dataset = load(data, download=options.download, offline=options.offline, progress=progress)
    return dataset_stats(dataset, measure_images(dataset.images, progress=progress))
