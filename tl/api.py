"""What `import tl` offers: the whole job as functions, the same as the commands."""

from pathlib import Path
from typing import TYPE_CHECKING

from tl.data.inputs import ImageInputs
from tl.progress import Progress

if TYPE_CHECKING:
    from tl.workflows.export import Export
    from tl.workflows.search import Search

# What only one function needs is imported there: together it takes longer than a prediction.


def export(
    run: str | Path | None = None,
    *,
    to: str,
    int8: bool = False,
    out: str | Path | None = None,
    data: str | Path | None = None,
    bound: float | None = None,
    photos: int | None = None,
    progress: Progress | None = None,
) -> "Export":
    """Write a run as a model that takes raw photos of any size, and prove it on the run's validation photos.

    Each argument is the command's option of that name. Raises a `tl.errors.TLError` whose message says what to do.
    """
    from tl.workflows.export import export as write

    return write(run, to=to, int8=int8, out=out, data=data, bound=bound, photos=photos, progress=progress)


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
