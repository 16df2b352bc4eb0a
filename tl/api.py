"""What `import tl` offers: the whole job as functions, the same as the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl.data.inputs import ImageInputs
from tl.errors import UsageError
from tl.progress import Progress
from tl.runs.options import Options
from tl.runs.run import Run

if TYPE_CHECKING:
    from tl.workflows.export import Export
    from tl.workflows.search import Search

# What only one function needs is imported there: together it takes longer than a prediction.


def finetune(
    data: str | Path | None = None,
    *,
    backbone: str = "resnet50",
    weights: str | Path = "imagenet",
    out: str | Path | None = None,
    val: float = 0.2,
    seed: int = 0,
    image_size: int | None = None,
    unfreeze: str = "none",
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | str | None = None,
    optimizer: str | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    augment: str | None = None,
    views: int | None = None,
    balance: str = "auto",
    unknown_rate: float = 0.01,
    budget: str | None = None,
    tensorboard: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    cache: bool = True,
    offline: bool = False,
    download: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a classifier on a data set and write its run folder; each argument is the command's option of that name.

    `resume` goes on with a run that was interrupted, the one of `out` or the newest, with the options it began with,
    `data` among them. Raises a `tl.errors.TLError` whose message says what to do.
    """
    given = {name: value for name, value in locals().items() if name not in ("resume", "progress")}
    if data is None and not resume:
        raise UsageError("no data: give a folder with one folder of photos a class, a table, or a known name")
    given["data"] = "" if data is None else data
    plain: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    from tl.workflows.finetune import finetune as train
    from tl.workflows.report import draw_finished

    run = train(Options(**plain | {"lr": None if lr is None else str(lr)}), progress=progress, resume=resume)
    draw_finished(run)
    return run


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
