"""`tl predict`: photos become labels."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tl.runs.prediction import Prediction


@click.command("predict")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--run", default=None, help="Run folder.  [default: the newest in runs/]")
@click.option("--top", default=3, show_default=True, type=click.IntRange(min=1), help="How many labels to show.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow.")
@click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16.")
@click.option(
    "--unknown/--no-unknown", default=True, help="Say which photos are unlike all training photos.  [default: do]"
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object an image.")
def command(
    images: tuple[str, ...], run: str | None, top: int, engine: str, precision: str, unknown: bool, as_json: bool
) -> int:
    """Label each IMAGE: files, folders (with all below them) or patterns. Exit code 1 if one could not be read."""
    from tl.commands.console import dumped
    from tl.datasets.paths import image_files
    from tl.runs.bundle import load
    from tl.runs.prediction import Predictor

    files = image_files(images)
    predictor = Predictor(load(run), engine=engine, precision=precision, unknown=unknown)
    failed = 0
    opening = "[\n"
    for prediction in predictor.in_order(((str(path), path) for path in files), top=top):
        failed += bool(prediction.error)
        if as_json:
            click.echo(opening + dumped(prediction.as_dict()), nl=False)
            opening = ",\n"
        else:
            _print(prediction)
    if as_json:
        click.echo("[]" if opening == "[\n" else "\n]")
    return 1 if failed else 0


def _print(prediction: "Prediction") -> None:
    from tl.commands.console import printable

    name = printable(prediction.name)
    if prediction.error:
        click.echo(f"{name}: {click.style('error', fg='red')}: {printable(prediction.error)}", err=True)
        return
    others = "".join(f", {printable(label)} {_percent(share)}" for label, share in prediction.top[1:])
    label = click.style(printable(prediction.label), bold=True)
    if prediction.unknown:
        label = f"{click.style('unknown', fg='yellow', bold=True)}, unlike all training photos; nearest {label}"
    click.echo(f"{name}: {label} {_percent(prediction.confidence)}{others}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
