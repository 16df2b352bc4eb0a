"""`tl finetune`: a folder of labelled photos becomes a run."""

import shlex
from typing import Any

import click

from tl.commands.options import missing_data
from tl.progress import Progress

_UNEVEN = 2  # times as many photos as the smallest class: then top-1 tells little of the smallest

_FIRST = (
    click.option(
        "--backbone",
        default="resnet50",
        show_default=True,
        help="A network; `tl weights list` names all.",
    ),
    click.option(
        "--weights", default="imagenet", show_default=True, help="imagenet, bsds500 (vgg16), none (random), or a file."
    ),
    click.option("--out", default=None, help="Run folder to make.  [default: runs/<date>-<backbone>-<data>]"),
    click.option("--val", default=0.2, show_default=True, help="Share of each class held out for validation."),
    click.option(
        "--seed", default=0, show_default=True, help="Chooses the split; the same seed, the same split anywhere."
    ),
    click.option(
        "--image-size", type=int, default=None, help="Side of the network's input in pixels.  [default: its own]"
    ),
)
_TUNING = (
    click.option(
        "--unfreeze", default="none", show_default=True, help="Train the backbone as well: last, half, all or auto."
    ),
    click.option("--epochs", type=int, default=None, help="Rounds over the photos.  [default: by their number]"),
    click.option("--batch", type=int, default=None, help="Photos a step.  [default: by their number]"),
    click.option("--lr", default=None, help="Learning rate, or auto to look for one.  [default: by the optimizer]"),
    click.option("--optimizer", default=None, help="adamw or sgd.  [default: by the number of photos]"),
    click.option("--weight-decay", type=float, default=None, help="Pulls weights towards 0.  [default: 0.01]"),
    click.option("--label-smoothing", type=float, default=None, help="Share of a label given to all classes."),
    click.option("--augment", default=None, help="none, light or strong.  [default: light]"),
    click.option("--views", type=int, default=None, help="Augmented views of a photo that are stored.  [default: 4]"),
    click.option(
        "--balance", default="auto", show_default=True, help="For uneven classes: auto, none, weights or sampling."
    ),
    click.option(
        "--unknown-rate",
        type=float,
        default=0.01,
        show_default=True,
        help="False alarms among photos like these when strange ones are called unknown; 0: off.",
    ),
    click.option("--budget", default=None, help="Stop in time, such as 10m, with the best so far."),
    click.option("--resume", is_flag=True, help="Go on with the newest interrupted run, or that of --out."),
    click.option("--show-augment", is_flag=True, help="Draw augmented photos and end."),
    click.option("--tensorboard", is_flag=True, help="Write the curves for TensorBoard into the run."),
)
_MACHINE = (
    click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow."),
    click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16."),
    click.option("--threads", default=None, type=click.IntRange(1, 1024), help="Threads of the engine."),
    click.option(
        "--cache/--no-cache", default=True, show_default=True, help="Keep features, so that they are computed once."
    ),
    click.option("--download", is_flag=True, help="Fetch a known data set (dogs-vs-cats, cifar100) if it is not here."),
    click.option("--offline", is_flag=True, help="Never touch the network."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the account."),
    click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors."),
)
_WITH_RESUME = {"out", "budget", "as_json", "quiet", "resume"}


def _configured(context: click.Context, _: click.Parameter, path: str | None) -> None:
    """Options of the file become defaults: what is typed counts more."""
    if path is not None:
        from tl.runs.options import read

        context.default_map = read(path)


def _all(*groups: tuple[Any, ...]) -> Any:
    def decorate(function: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@click.command("finetune")
@click.argument("data", required=False, metavar="DATA")
@click.option(
    "--config",
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_configured,
    help="TOML file with options by these names; those typed count more.",
)
@_all(_FIRST, _TUNING, _MACHINE)  # type: ignore[untyped-decorator]
def command(as_json: bool, quiet: bool, resume: bool, show_augment: bool, **options: Any) -> None:
    """Train a classifier on DATA: class folders, train/val/test folders, a CSV of path,label[,split], cifar100 or
    dogs-vs-cats. With --resume, leave DATA out."""
    from tl.api import finetune
    from tl.commands.console import Console, dumped, near
    from tl.progress import Progress

    progress = Progress() if as_json or quiet else Console()
    if resume:
        _refuse_other_options()
    elif options["data"] is None:
        raise missing_data(click.get_current_context())
    if show_augment:
        _draw_augmented(options, progress, as_json=as_json, quiet=quiet)
        return
    run = finetune(progress=progress, resume=resume, **options)
    if as_json:
        click.echo(dumped({"run": str(run.folder), **run.manifest}))
    if as_json or quiet:
        return
    for name in ("validation", "test"):
        if name in run.manifest["metrics"]:
            _tell_figures(name, run.manifest["metrics"][name], progress)
    progress.log("report", str(near(run.folder / "report.html")))
    progress.log("run", f"{run.folder} in {run.manifest['metrics']['seconds']['total']:.1f} s")
    newest = "" if run.folder.parent.name == "runs" else f" --run {shlex.quote(str(run.folder))}"
    progress.log("next", f"tl predict{newest} PHOTO.jpg   or   tl grid{newest}")


def _refuse_other_options() -> None:
    from tl.errors import UsageError

    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    other = [
        name for name in context.params if context.get_parameter_source(name) is typed and name not in _WITH_RESUME
    ]
    if other:
        names = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in other)
        raise UsageError(f"--resume goes on with the options that the run began with: leave out {names}")


def _draw_augmented(options: dict[str, Any], progress: Progress, *, as_json: bool, quiet: bool) -> None:
    from pathlib import Path

    from tl.commands.console import dumped
    from tl.data.dataset import short_name
    from tl.runs.folder import RUNS
    from tl.runs.options import Options
    from tl.views.pictures.augmented import draw_samples
    from tl.views.pictures.show import save_png, show

    path = RUNS / f"augmented-{short_name(Path(options['data']).absolute().stem)}.png"
    save_png(draw_samples(Options(**options), progress), path)
    if as_json:
        click.echo(dumped({"picture": str(path)}))
    elif not quiet:
        progress.log("augment", f"{path}: photos as training sees them")
        progress.log("", show(path))


def _tell_figures(part: str, scores: dict[str, Any], progress: Progress) -> None:
    text = _share("top-1", scores["top1"], scores["top1_interval"])
    if "top5" in scores:
        text += ", " + _share("top-5", scores["top5"], scores["top5_interval"])
    progress.log(part, f"{text}, on {scores['count']:,} photos")
    smallest, largest = scores["class_photos"]
    if largest >= _UNEVEN * smallest:
        balanced = _share("balanced accuracy", scores["balanced_accuracy"], scores["balanced_accuracy_interval"], "")
        progress.log("", f"{balanced}, classes of {smallest:,} to {largest:,}")


def _share(name: str, value: float, interval: tuple[float, float], what: str = "95 % interval ") -> str:
    from tl.views.terminal.tables import percent

    low, high = interval
    return f"{name} {percent(value)} % ({what}{100 * low:.1f} to {100 * high:.1f})"
