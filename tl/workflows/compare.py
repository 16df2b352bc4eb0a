"""Train several networks on the same split of one data set and compare them on the same validation images."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data.dataset import Dataset
from tl.data.images import decode, read
from tl.data.load import Data, is_in_memory, load
from tl.data.splits import GROUP_BY_HELP, check_groups, grouped
from tl.engines.autotune import rate
from tl.errors import DataError, RunError, TLError, UsageError
from tl.evaluation.metrics import Proportion
from tl.evaluation.predictions import Predictions
from tl.evaluation.significance import beats_majority, mcnemar
from tl.learning.hyperparameters import HELD_OUT_TO_TUNE
from tl.networks.backbones import backbone
from tl.options import fraction_option, keywords, offline_option, option, seconds
from tl.prediction.predictor import run_engine
from tl.progress import Progress
from tl.runs.finetune_options import UNFREEZE, FinetuneOptions
from tl.runs.folder import RUNS, claim_folder, make_newest, new_folder, read_history
from tl.runs.network_comparison import ComparedImage, ComparedNetwork, ComparedPrediction, Comparison, write_comparison
from tl.runs.run import Run
from tl.views.pages.comparison import page
from tl.views.pictures.charts import compared_curves, save_figure, save_gradients
from tl.views.pictures.comparison import chart, comparison_grid
from tl.views.pictures.show import save_png
from tl.workflows.finetune import log_data, train

_TIMED_BATCH, _TIMED_SECONDS = 16, 0.5
_UNJUDGED = "every class has one image or group, which leaves none to judge networks by: add images"
_DRAWING = 5.0  # seconds for the chart, the grid and the page
_SHORTEST = 20.0  # seconds for a network, however little is left of the budget


@dataclass(frozen=True)
class CompareOptions:
    """The options of `tl compare`."""

    backbones: tuple[str, ...] | None = option(
        None, "Pretrained networks, separated by commas.", default_text="resnet50, without --scratch", metavar="NAMES"
    )
    scratch: tuple[str, ...] = option(
        (), "Networks to train from random weights, separated by commas.", metavar="NAMES"
    )
    unfreeze: str = option("none", "How much of the pretrained networks to train.", choices=UNFREEZE)
    epochs: int | None = option(None, "Epochs of what is trained.", low=1, high=10_000, unit="epochs")
    budget: str | None = option(
        None, "Total time, such as 10m, divided evenly among the networks.", parse=seconds, metavar="TIME"
    )
    image_size: int | None = option(None, "Input side of every network.", low=32, high=1024, unit="pixels")
    val: float | None = fraction_option(
        None,
        "Fraction of each class held out for validation.",
        exclusive=True,
        default_text="none where only heads are trained: all images are cross-validated; else 0.2",
    )
    group_by: str | None = option(None, GROUP_BY_HELP, metavar="GROUPS")
    seed: int = option(0, "Seed of the split, which all networks share.", low=0, high=2**32 - 1)
    out: Path | None = option(None, "Folder to make.", default_text="runs/<date>-compare-<data>")
    gradients: bool = option(False, "Plot the gradients of each layer of networks trained from random weights.")
    offline: bool = offline_option()


@keywords(CompareOptions)
def compare(
    data: "Data", *, options: CompareOptions, command: str = "", progress: Progress | None = None
) -> Comparison:
    """Train each of `backbones` from pretrained weights and each of `scratch` from random ones, and compare them.

    Writes a folder with a run of each network, and the comparison as JSON, CSV, pictures and a page that shows
    `command`; the run of the best becomes the newest. A network that cannot be trained is an entry with its error.
    Raises UsageError when there are none to compare, RunError when not one could be trained.
    """
    progress = progress or Progress()
    networks = _networks(options)
    dataset = grouped(load(data, offline=options.offline), data, options.group_by)
    check_groups(dataset, options.group_by)
    _check_judged(dataset)
    log_data(dataset, progress)
    source = "" if is_in_memory(data) else str(data)
    folder = options.out or new_folder(RUNS, f"compare-{dataset.name}")
    deadline = time.monotonic() + seconds(options.budget) - _DRAWING if options.budget is not None else None
    with claim_folder(folder, latest=False) as scratch:
        trained = []
        for at, (name, from_scratch) in enumerate(networks):
            share = None if deadline is None else (deadline - time.monotonic()) / (len(networks) - at)
            budget = None if share is None else f"{max(_SHORTEST, share):.0f}s"
            out = scratch / (f"{name}-scratch" if from_scratch else name)
            training = _training(source, options, name, from_scratch=from_scratch, budget=budget, out=out)
            trained.append(_train(dataset, training, command, progress))
        if all(entry.error for entry, _ in trained):
            raise RunError(f"no network could be trained: {'; '.join(entry.error for entry, _ in trained)}")
        entries, images = _rank(trained)
        comparison = Comparison(
            folder=folder,
            data=source or dataset.name,
            count=len(images),
            classes=dataset.class_names,
            entries=entries,
            photos=images,
            command=command,
            folds=next(one.metrics["validation"].folds for _, one in trained if one is not None),
        )
        write_comparison(comparison, scratch)
        _draw(comparison, dataset, scratch, gradients=options.gradients)
    make_newest(comparison.best_run, folder.parent)
    return comparison


def _networks(options: CompareOptions) -> list[tuple[str, bool]]:
    pretrained = options.backbones
    if pretrained is None:
        pretrained = () if options.scratch else ("resnet50",)
    networks = [(backbone(name).name, False) for name in pretrained]
    networks += [(backbone(name).name, True) for name in options.scratch]
    if not networks:
        raise UsageError("nothing to compare: name networks with --backbones or --scratch, such as resnet50,lenet5")
    if len(set(networks)) < len(networks):
        raise UsageError("a network is named twice: each is trained once")
    return networks


def _training(
    data: str, options: CompareOptions, name: str, *, from_scratch: bool, budget: str | None, out: Path
) -> FinetuneOptions:
    return FinetuneOptions(
        data,
        backbone=name,
        weights="none" if from_scratch else "imagenet",
        out=str(out),
        unfreeze="all" if from_scratch else options.unfreeze,
        budget=budget,
        **{option: getattr(options, option) for option in ("epochs", "image_size", "group_by", "seed", "offline")},
        val=options.val or (HELD_OUT_TO_TUNE if options.scratch or options.unfreeze != "none" else None),
    )


def _train(
    dataset: Dataset, training: FinetuneOptions, command: str, progress: Progress
) -> tuple[ComparedNetwork, Predictions | None]:
    name, from_scratch = training.backbone, training.weights == "none"
    progress.log("", "")
    progress.log("compare", f"{name}, {'random' if from_scratch else 'pretrained'} weights")
    try:
        run, trained = train(dataset, training, describe=False, progress=progress, command=command)
        if "validation" in run.metrics:
            return _entry(run, name, from_scratch), trained.predictions
    except TLError as error:
        progress.warn(f"{name} is left out: {error}")
        return ComparedNetwork(name, from_scratch, Proportion(0.0, 0.0, 1.0, 0), error=str(error)), None
    raise DataError(_UNJUDGED)  # copies are known once they are read: the other networks need not be trained


def _check_judged(dataset: Dataset) -> None:
    """Raise DataError where no class has two images or groups, so that no network could be judged."""
    if "validation" in dataset.parts:
        return
    groups = dataset.groups or ("",) * len(dataset.names)
    distinct = {
        (label, group or name)
        for label, group, name, part in zip(dataset.labels.tolist(), groups, dataset.names, dataset.parts, strict=True)
        if label >= 0 and part != "test"
    }
    if max(Counter(label for label, _ in distinct).values(), default=0) < 2:
        raise DataError(_UNJUDGED)


def _entry(run: Run, name: str, from_scratch: bool) -> ComparedNetwork:
    metrics = run.manifest["metrics"]
    validation = metrics["validation"]
    count = int(validation["count"])
    top1 = _proportion(validation, "top1", count)
    return ComparedNetwork(
        name,
        from_scratch,
        top1,
        _proportion(validation, "top5", count) if "top5" in validation else None,
        parameters=run.backbone.parameters + run.head.parameters,
        seconds=float(metrics["seconds"]["total"]),
        speed=rate(run_engine(run), run.backbone.recipe.image_size, _TIMED_BATCH, _TIMED_SECONDS),
        size=sum((run.folder / file).stat().st_size for file in ("trunk.xml", "trunk.bin", "head.npz")),
        learned=beats_majority(top1.low, top1.high, validation["class_photos"][1] / count),
        folder=run.folder.name,
    )


def _proportion(metrics: dict[str, Any], name: str, count: int) -> Proportion:
    low, high = metrics[f"{name}_interval"]
    return Proportion(metrics[name], low, high, count)


def _rank(
    trained: Sequence[tuple[ComparedNetwork, Predictions | None]],
) -> tuple[tuple[ComparedNetwork, ...], tuple[ComparedImage, ...]]:
    """The networks from best to worst, each tested against the best, and their predictions for the same images."""
    ranked = [(entry, predictions) for entry, predictions in trained if predictions is not None]
    ranked.sort(key=lambda item: -item[0].top1.value)
    columns = [_validation_images(predictions) for _, predictions in ranked]
    if any([(path, truth) for path, truth, _ in column] != [row[:2] for row in columns[0]] for column in columns):
        raise RunError("the networks did not see the same validation images: a file changed meanwhile; compare again")
    images = tuple(
        ComparedImage(path, truth, tuple(column[row][2] for column in columns))
        for row, (path, truth, _) in enumerate(columns[0])
    )
    correct = np.array([image.correct for image in images], bool)
    entries = [
        replace(entry, p_value=mcnemar(correct[:, 0], correct[:, at]).p_value) for at, (entry, _) in enumerate(ranked)
    ]
    failed = [entry for entry, predictions in trained if predictions is None]
    return (*entries, *failed), images


def _validation_images(predictions: Predictions) -> list[tuple[str, str, ComparedPrediction]]:
    dataset, classes = predictions.dataset, predictions.dataset.class_names
    images = []
    for row in predictions.of_part("validation"):
        index, probabilities = predictions.indices[row], predictions.probabilities[row]
        best = int(probabilities.argmax())
        predicted = ComparedPrediction(classes[best], round(float(probabilities[best]), 6))
        images.append((dataset.names[index], classes[dataset.labels[index]], predicted))
    return images


def _draw(comparison: Comparison, dataset: Dataset, folder: Path, *, gradients: bool) -> None:
    images = dict(zip(dataset.names, dataset.images, strict=True))

    def pixels(name: str) -> NDArray[np.uint8]:
        return decode(read(images[name]), 256)

    save_figure(chart(comparison), folder / "comparison.png")
    save_png(comparison_grid(comparison, pixels), folder / "grid.png")
    drawn = {}
    histories = {entry: read_history(folder / entry.folder) for entry in comparison.ranked}
    trained = {entry.title: history for entry, history in histories.items() if history is not None}
    if trained:
        save_figure(compared_curves(trained), folder / "curves.png")
        drawn["Learning curves"] = (folder / "curves.png").read_bytes()
    for entry in comparison.ranked if gradients else ():
        if save_gradients(folder / entry.folder):
            drawn[f"Gradients of {entry.title}"] = (folder / entry.folder / "gradients.png").read_bytes()
    chart_png, grid_png = ((folder / name).read_bytes() for name in ("comparison.png", "grid.png"))
    text = page(comparison, chart_png, grid_png, more=drawn)
    (folder / "comparison.html").write_text(text, encoding="utf-8", errors="replace")
