"""Predict images: report each prediction, write rows, sort the files by label."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tl.data.images import ImageLike
from tl.data.inputs import TIMEOUT, ImageInputs, as_list, is_single_file, names_video, read_inputs, typed_names
from tl.data.listing import LeftOut
from tl.errors import UsageError
from tl.evaluation.selective import MAX_ERROR, Selection
from tl.options import engine_option, keywords, option, precision_option, run_option, threads_option
from tl.prediction.columns import FORMATS, Columns, row_format
from tl.prediction.predictor import HEADINGS, Prediction, Predictor, cells
from tl.progress import Progress
from tl.runs.run import Run, load_run
from tl.text import html_table

# What writes rows and sorts files is imported where it is needed: a single image is predicted sooner without.

OnPrediction = Callable[[Prediction, Columns], None]
SortFile = Callable[[Prediction, Path | None], None]


@dataclass(frozen=True)
class LabelOptions:
    """The options that `tl predict` and `tl watch` share."""

    run: str | None = run_option()
    top: int = option(3, "Number of labels per image.", low=1)
    format: str | None = option(None, "Format of the rows.", choices=FORMATS, default_text="by --out, else table")
    out: Path | None = option(None, "Write the rows to a file, such as rows.csv.", metavar="FILE")
    sha256: bool = option(False, "Add the sha256 of each file to its row.")
    by_class: Path | None = option(None, "Sort the files into FOLDER/label/.", metavar="FOLDER")
    link: str = option("copy", "How files are sorted.", choices=("copy", "hard", "symbolic"))
    unknown: bool = option(True, "Mark images unlike the training images.")
    max_error: float | None = option(None, **vars(MAX_ERROR))
    engine: str = engine_option()
    precision: str = precision_option()
    threads: int | None = threads_option()


@dataclass(frozen=True)
class PredictOptions(LabelOptions):
    """The options of `tl predict`."""

    paths_from: tuple[str, ...] = option(
        (), "Read paths from a file, one per line; - is standard input.", metavar="FILE"
    )
    every: int = option(30, "Predict every n-th frame of a video.", low=1)
    timeout: float = option(TIMEOUT, "Seconds to wait for a web address.", low=0.1, high=3600, metavar="SECONDS")
    resume: bool = option(False, "Continue the file given with --out.")


@dataclass
class PredictResult:
    """Numbers of images: predicted now (`failed` of them unreadable), with a row `before`, `sorted`, not sorted.

    `not_files` were not sorted because they are no files: addresses, frames of videos, standard input. `labels` counts
    the images of each label but those that are `unknown` or, with an error bound, for `review`. `remarks` counts what
    was decided while images were decoded, by kind. `predictions` holds the predictions where neither `out` nor
    `on_prediction` receives them.
    """

    count: int = 0
    failed: int = 0
    before: int = 0
    sorted: int = 0
    unsorted: int = 0
    not_files: int = 0
    unknown: int = 0
    review: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    predictions: list[Prediction] = field(default_factory=list, repr=False)
    left_out: LeftOut = field(default_factory=LeftOut)

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.count += 1
        self.remarks.update(prediction.remarks)
        if prediction.error:
            self.failed += 1
        elif prediction.unknown:
            self.unknown += 1
        elif prediction.review:
            self.review += 1
        else:
            self.labels[prediction.label] += 1

    def _repr_html_(self) -> str:
        if self.predictions:
            left_out = f"left out: {self.left_out}" if self.left_out.counts else ""
            return html_table(map(cells, self.predictions), HEADINGS, left_out)
        return html_table([("images", self.count), ("unreadable", self.failed), ("sorted", self.sorted)])


@keywords(PredictOptions)
def predict(
    images: ImageInputs = (),
    *,
    options: PredictOptions,
    on_prediction: OnPrediction | None = None,
    result: PredictResult | None = None,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict images in order: files, folders, patterns, tables, videos, addresses, or images in memory.

    A file is sorted before its row is written, and `on_prediction` is called after that: wherever it stops, every image
    with a row has been sorted. `result` is counted in and returned, for a caller that wants the counts of an
    interrupted call. Raises a TLError for what cannot be done, before the first prediction where possible.
    """
    result = result if result is not None else PredictResult()
    images = as_list(images)
    row_form = row_format(options.out, options.format)
    _check(options, images)
    run = load_run(options.run)
    columns = replace(columns_of(options, run), seconds=names_video(images))
    lists = list(options.paths_from)
    predictor = open_predictor(run, options, single=not lists and is_single_file(images), progress=progress)
    selection = select_answers(predictor, options, progress)
    of_videos: Any = {"every": options.every, "min_side": predictor.min_side}
    items: Iterator[tuple[str, ImageLike]] = read_inputs(
        images, lists=lists, timeout=options.timeout, skip=result.left_out, **of_videos
    )
    with ExitStack() as stack:
        rows = None
        if options.out is not None:
            from tl.prediction.row_writer import open_rows

            rows, done = stack.enter_context(
                open_rows(options.out, row_form, columns, run, resume=options.resume, selection=selection)
            )
            result.before, result.failed = done.rows, done.failed
            items = done.without(items)
        sort = stack.enter_context(file_sorter(options, run, result))
        task = stack.enter_context((progress or Progress()).task("images", None, "images"))
        for prediction, file in _with_files(predictor, items, options.top, selection):
            sort(prediction, file)
            if rows is not None:
                rows.write(columns.record(prediction))
            result.add(prediction)
            if on_prediction is not None:
                on_prediction(prediction, columns)
            elif rows is None:
                result.predictions.append(prediction)
            task.advance()
    return result


def open_predictor(
    run: Run, options: LabelOptions, *, single: bool = False, progress: Progress | None = None
) -> Predictor:
    """The predictor of a run with the engine that the options choose."""
    return Predictor(
        run,
        engine=options.engine,
        precision=options.precision,
        unknown=options.unknown,
        threads=options.threads,
        single=single,
        progress=progress,
    )


def columns_of(options: LabelOptions, run: Run) -> Columns:
    """The columns of the rows that the options choose."""
    return Columns(min(options.top, len(run.classes)), options.sha256, max_error=options.max_error)


def select_answers(predictor: Predictor, options: LabelOptions, progress: Progress | None) -> Selection | None:
    """Which images are answered with `options.max_error`; logs the promise before the first is."""
    selection = predictor.selection(options.max_error)
    if selection is not None and progress is not None:
        progress.log("answers", selection.sentence)
    return selection


@contextmanager
def file_sorter(options: LabelOptions, run: Run, result: PredictResult) -> Iterator[SortFile]:
    """A function that sorts a predicted file into `options.by_class` and counts it; failures go to errors.csv there."""
    folder = options.by_class
    if folder is None:
        yield lambda *_: None
        return
    from tl.prediction.row_writer import FailureTable, exclusive
    from tl.prediction.sort import ERRORS, Sorter

    sorter = Sorter(folder, run.classes, options.link)
    with exclusive(folder / ERRORS), closing(FailureTable(folder / ERRORS)) as failures:

        def sort(prediction: Prediction, file: Path | None) -> None:
            problem = prediction.error
            if file is None:
                result.not_files += not problem
            elif not problem:
                problem = sorter.put(prediction, file)
                result.unsorted += bool(problem)
                result.sorted = sorter.sorted
            if problem:
                failures.add(prediction.name, problem)

        yield sort


def _with_files(
    predictor: Predictor, items: Iterable[tuple[str, ImageLike]], top: int, selection: Selection | None
) -> Iterator[tuple[Prediction, Path | None]]:
    files: deque[Path | None] = deque()

    def images() -> Iterator[tuple[str, ImageLike]]:
        for name, image in items:
            files.append(image if isinstance(image, Path) else None)
            yield name, image

    for prediction in predictor.in_order(images(), top=top, selection=selection):
        yield prediction, files.popleft()


def _check(options: PredictOptions, images: list[Any]) -> None:
    if not images and not options.paths_from:
        raise UsageError("no images: give a file, a folder, a pattern, a table, a video or an address")
    if options.resume and options.out is None:
        raise UsageError("--resume continues a file of rows: give its name with --out")
    check_outputs(options, typed_names(images))


def check_outputs(options: LabelOptions, images: Sequence[str]) -> None:
    """Raises UsageError where `out` or `by_class` cannot be written, or is inside a folder of images."""
    if options.out is not None:
        from tl.prediction.row_writer import check_output_file

        check_output_file(options.out)
    if options.by_class is not None:
        from tl.prediction.sort import ERRORS, check_outside

        check_outside(options.by_class, images)
        if options.out is not None and os.path.realpath(options.out) == os.path.realpath(options.by_class / ERRORS):
            raise UsageError(f"--out {str(options.out)!r} is where --by-class lists failures: give another name")
