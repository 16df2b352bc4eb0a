"""Everything that was asked for becomes predictions: handed on one by one, written as rows, sorted into folders."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tl.data.images import ImageLike
from tl.data.inputs import TIMEOUT, ImageInputs, is_single_file, read_inputs, typed_names
from tl.errors import UsageError
from tl.prediction.predictor import Prediction, Predictor
from tl.prediction.rows import Columns, form_of
from tl.progress import Progress
from tl.runs.run import Run, load_run

# What writes rows and sorts photos is imported where that is asked for: one photo is answered sooner without.

Each = Callable[[Prediction, Columns], None]
Sort = Callable[[Prediction, Path | None], None]


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """Which run labels photos, by which engine, and where the rows and the photos go."""

    run: str | None = None
    top: int = 3
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    unknown: bool = True
    out: Path | None = None
    form: str | None = None
    sha256: bool = False
    by_class: Path | None = None
    link: str = "copy"


@dataclass(frozen=True)
class Asked(Labelling):
    """What to label, and how; whether to go on with the rows that are there. `tl predict` explains it."""

    images: ImageInputs = ()
    lists: Sequence[str] = ()
    every: int = 30
    timeout: float = TIMEOUT
    resume: bool = False


@dataclass
class Labelled:
    """How many pictures were answered, how many could not be read or sorted, and how many had their row before."""

    count: int = 0
    failed: int = 0
    before: int = 0
    sorted: int = 0
    unsorted: int = 0
    not_files: int = 0


def label(
    asked: Asked,
    each: Each = lambda *_: None,
    *,
    made: Labelled | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Label what was asked for, in its order; `each` is called with every prediction, and the
    columns of its row, once that is written.

    A photo is sorted before its row is written: whenever this is stopped, what has a row has been sorted. `made` is
    what is returned, for a caller who wants to know when interrupted. Raises a TLError where it cannot be done, before
    the first prediction if that can be known.
    """
    made = made or Labelled()
    form = form_of(asked.out, asked.form)
    _check(asked)
    run = load_run(asked.run)
    columns = Columns(min(asked.top, len(run.classes)), asked.sha256)
    predictor = Predictor(
        run,
        engine=asked.engine,
        precision=asked.precision,
        unknown=asked.unknown,
        threads=asked.threads,
        alone=not asked.lists and is_single_file(asked.images),
        progress=progress,
    )
    items: Iterator[tuple[str, ImageLike]] = read_inputs(
        asked.images, lists=asked.lists, every=asked.every, min_side=predictor.at_least, timeout=asked.timeout
    )
    with ExitStack() as stack:
        rows = None
        if asked.out is not None:
            from tl.prediction.output import rows_file

            rows, done = stack.enter_context(rows_file(asked.out, form, columns, run, resume=asked.resume))
            made.before, made.failed = done.rows, done.failed
            items = done.without(items)
        sort = stack.enter_context(sorting(asked.by_class, asked.link, run, made))
        task = stack.enter_context((progress or Progress()).task("photos", None, "photos"))
        for prediction, photo in with_files(predictor, items, asked.top):
            sort(prediction, photo)
            if rows is not None:
                rows.write(columns.record(prediction))
            made.count += 1
            made.failed += bool(prediction.error)
            each(prediction, columns)
            task.advance()
    return made


def with_files(
    predictor: Predictor, items: Iterable[tuple[str, ImageLike]], top: int
) -> Iterator[tuple[Prediction, Path | None]]:
    """Predictions in order, each with the file it is of, if it is of one."""
    files: deque[Path | None] = deque()

    def noted() -> Iterator[tuple[str, ImageLike]]:
        for name, picture in items:
            files.append(picture if isinstance(picture, Path) else None)
            yield name, picture

    for prediction in predictor.in_order(noted(), top=top):
        yield prediction, files.popleft()


@contextmanager
def sorting(folder: Path | None, how: str, run: Run, made: Labelled) -> Iterator[Sort]:
    """What sorts a predicted file below `folder` and counts it, with errors.csv beside; nothing without a folder."""
    if folder is None:
        yield lambda *_: None
        return
    from tl.prediction.output import Failures, alone
    from tl.prediction.sort import ERRORS, Sorter

    sorter = Sorter(folder, run.classes, how)
    with alone(folder / ERRORS), closing(Failures(folder / ERRORS)) as failures:

        def sort(prediction: Prediction, photo: Path | None) -> None:
            problem = prediction.error
            if photo is None:
                made.not_files += not problem
            elif not problem:
                problem = sorter.put(prediction, photo)
                made.unsorted += bool(problem)
                made.sorted = sorter.sorted
            if problem:
                failures.add(prediction.name, problem)

        yield sort


def _check(asked: Asked) -> None:
    if asked.resume and asked.out is None:
        raise UsageError("--resume goes on with a file of rows: give its name with --out")
    if asked.out is not None:
        from tl.prediction.output import check_file

        check_file(asked.out)
    if asked.by_class is not None:
        from tl.prediction.sort import ERRORS, check_outside

        check_outside(asked.by_class, typed_names(asked.images))
        if asked.out is not None and os.path.realpath(asked.out) == os.path.realpath(asked.by_class / ERRORS):
            raise UsageError(f"--out {str(asked.out)!r} is where --by-class tells what failed: give another name")
