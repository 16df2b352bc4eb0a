"""The command `tl finetune`."""

from pathlib import Path
from typing import Any

import click

from tl.commands.options import missing_data, output_options, workflow_options
from tl.learning.learning_curve import ROUGH_BELOW, in_words
from tl.progress import Progress
from tl.runs.finetune_options import FinetuneOptions, inherited_options, read_options
from tl.text import count, interval, listed, percent

_UNEVEN = 2  # times as many images as the smallest class: then accuracy says little about the smallest
_WITH_RESUME = {"out", "budget", "as_json", "quiet", "resume"}


def _read_config(context: click.Context, _: click.Parameter, path: str | None) -> None:
    if path is not None:
        context.default_map = read_options(Path(path))


@click.command("finetune")
@click.argument("data", required=False, metavar="DATA")
@workflow_options(FinetuneOptions)
@click.option(
    "--config", is_eager=True, expose_value=False, callback=_read_config, metavar="FILE", help="TOML file of options."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--show-augment", is_flag=True, help="Draw augmented images and exit.")
@output_options
def command(data: str | None, as_json: bool, quiet: bool, resume: bool, show_augment: bool, **values: Any) -> None:
    """Train a classifier on DATA: class folders, a table or a known data set."""
    from tl.commands.console import command_line, dumped, log_next_steps, near, progress_for
    from tl.workflows.finetune import finetune

    progress = progress_for(as_json or quiet)
    options = FinetuneOptions(**_with_inherited(values))
    if resume:
        _refuse_other_options()
    elif data is None:
        raise missing_data(click.get_current_context())
    elif show_augment:
        _draw_augmented(data, options, progress, as_json=as_json, quiet=quiet)
        return
    run = finetune(data, options=options, resume=resume, progress=progress, command=command_line())
    if as_json:
        click.echo(dumped({"run": str(run.folder), **run.manifest}))
        return
    for part in ("validation", "test"):
        if part in run.metrics:
            _log_metrics(part, run.metrics[part], progress)
    if "learning_curve" in run.metrics:
        _log_learning_curve(run.metrics["learning_curve"], progress)
    elif "no_learning_curve" in run.metrics:
        progress.log("more images", f"not predicted: {run.metrics['no_learning_curve']}")
    progress.log("report", str(near(run.folder / "report.html")))
    progress.log("run", f"{run.folder} in {run.metrics['seconds']['total']:.1f} s")
    log_next_steps(run.folder, run.folder.parent, progress)


def _with_inherited(values: dict[str, Any]) -> dict[str, Any]:
    """The options, with those of the run that `--from` names for what was not typed."""
    context, unset = click.get_current_context(), click.core.ParameterSource.DEFAULT
    chosen = {name: value for name, value in values.items() if context.get_parameter_source(name) is not unset}
    return {**values, **inherited_options(chosen), **chosen}


def _refuse_other_options() -> None:
    from tl.errors import UsageError
    from tl.options import flag

    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    names = [name for name in context.params if context.get_parameter_source(name) is typed]
    typed_as = {"data": "DATA", "from_run": "--from"}
    other = [typed_as.get(name, flag(name)) for name in names if name not in _WITH_RESUME]
    if other:
        raise UsageError(f"--resume uses the options the run was started with: leave out {', '.join(other)}")


def _draw_augmented(data: str, options: FinetuneOptions, progress: Progress, *, as_json: bool, quiet: bool) -> None:
    from tl.commands.console import dumped
    from tl.data.dataset import short_name
    from tl.runs.folder import RUNS
    from tl.views.pictures.show import save_png, show
    from tl.workflows.finetune import draw_augmented

    path = RUNS / f"augmented-{short_name(Path(data).absolute().stem)}.png"
    save_png(draw_augmented(data, options, progress), path)
    if as_json:
        click.echo(dumped({"picture": str(path)}))
    elif not quiet:
        progress.log("augment", f"{path}: images as training sees them")
        progress.log("", show(path))


def _log_metrics(part: str, metrics: dict[str, Any], progress: Progress) -> None:
    folds = metrics.get("folds")
    images = f"on {count(metrics['count'], 'image' if folds else f'{part} image')}"
    images += f" in {count(metrics['groups']['count'], 'group')}" if "groups" in metrics else ""
    images += f", {folds}-fold cross-validation" if folds else ""
    progress.log("accuracy", f"{_with_interval(metrics, 'top1')} {images}")
    if "top5" in metrics:
        progress.log("", f"top-5 accuracy {_with_interval(metrics, 'top5')}")
    smallest, largest = metrics["class_photos"]
    if largest >= _UNEVEN * smallest:
        balanced = _with_interval(metrics, "balanced_accuracy")
        progress.log("", f"balanced accuracy {balanced}, {smallest:,} to {largest:,} per class")


def _log_learning_curve(curve: dict[str, Any], progress: Progress) -> None:
    rough = f"; below {ROUGH_BELOW} images a rough guess" if curve["images"] < ROUGH_BELOW else ""
    progress.log("more images", f"{in_words(curve['predictions'][0])} with twice as many{rough}")
    if len(curve["per_class"]) > 2 and curve["gain_most"]:
        progress.log("", f"classes that would gain most: {', '.join(curve['gain_most'])}")
    not_known = [name for name, about in curve["per_class"].items() if about["gain"] is None]
    if not_known:
        progress.log("", f"not known for {listed(not_known, 5)}: none of the images was judged")


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    low, high = metrics[f"{name}_interval"]
    return f"{percent(metrics[name])} ({interval(low, high)})"
