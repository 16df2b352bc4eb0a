"""`tl finetune`: a folder of labelled photos becomes a run."""

import json
from typing import Any

import click


@click.command("finetune")
@click.argument("data", default="data/")
@click.option(
    "--backbone", default="resnet50", show_default=True, help="Network of Keras Applications, or efficientnet-lite0."
)
@click.option(
    "--weights", default="imagenet", show_default=True, help="imagenet, bsds500 (vgg16), none (random), or a file."
)
@click.option("--out", default=None, help="Run folder to make.  [default: runs/<date>-<backbone>-<data>]")
@click.option("--val", default=0.2, show_default=True, help="Share of each class held out for validation.")
@click.option("--seed", default=0, show_default=True, help="Chooses the split; the same seed, the same split anywhere.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow.")
@click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16.")
@click.option(
    "--cache/--no-cache", default=True, show_default=True, help="Keep features, so that they are computed once."
)
@click.option("--download", is_flag=True, help="Fetch a known data set (dogs-vs-cats, cifar100) if it is not here.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the account.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a classifier on DATA: class folders, train/val/test folders, a CSV of path,label[,split], cifar100 or
    dogs-vs-cats."""
    from tl.api import finetune
    from tl.commands.console import Console
    from tl.reporting import Silent

    report = Silent() if as_json or quiet else Console()
    run = finetune(report=report, **options)
    if as_json:
        click.echo(json.dumps({"run": str(run.folder), **run.manifest}, ensure_ascii=False))
    if as_json or quiet:
        return
    for name in ("validation", "test"):
        if name in run.manifest["metrics"]:
            report.say(name, _figures(run.manifest["metrics"][name]))
    report.say("run", f"{run.folder} in {run.manifest['metrics']['seconds']['total']:.1f} s")
    newest = "" if run.folder.parent.name == "runs" else f"--run {run.folder} "
    report.say("next", f"tl predict {newest}PHOTO.jpg   or   tl grid {newest}{options['data']}")


def _figures(scores: dict[str, Any]) -> str:
    text = _share("top-1", scores["top1"], scores["top1_interval"])
    if "top5" in scores:
        text += ", " + _share("top-5", scores["top5"], scores["top5_interval"])
    return f"{text}, on {scores['count']:,} photos"


def _share(name: str, value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{name} {100 * value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
