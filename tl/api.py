"""What `import tl` offers: the whole job as functions, the same as the commands."""

from pathlib import Path
from typing import TYPE_CHECKING

from tl.data.inputs import ImageInputs
from tl.progress import Progress

if TYPE_CHECKING:
    from tl.workflows.search import Search

# What only one function needs is imported there: together it takes longer than a prediction.


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
) -> "Search":
    """The `count` photos of a data set that are most like each image; images are given as for `Classifier.predict`.

    Raises a `tl.errors.TLError` whose message says what to do, DataError for an image that cannot be read.
    """
    from tl.workflows.search import search as find

    return find(
        images,
        data,
        backbone=backbone,
        weights=weights,
        run=run,
        count=count,
        download=download,
        offline=offline,
        progress=progress,
    )
