"""`tl predict`: photos become labels."""

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path
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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object an image.")
def command(images: tuple[str, ...], run: str | None, top: int, engine: str, precision: str, as_json: bool) -> int:
    """Label each IMAGE: files, folders (with all below them) or patterns. Exit code 1 if one could not be read."""
    from tl.runs.bundle import load
    from tl.runs.prediction import Predictor

    predictor = Predictor(load(run), engine=engine, precision=precision)
    failed = 0
    opening = "[\n"
    for prediction in predictor.in_order(((str(path), path) for path in _files(images)), top=top):
        failed += bool(prediction.error)
        if as_json:
            click.echo(opening + json.dumps(prediction.as_dict(), ensure_ascii=False), nl=False)
            opening = ",\n"
        else:
            _print(prediction)
    if as_json:
        click.echo("[]" if opening == "[\n" else "\n]")
    return 1 if failed else 0


def _files(images: tuple[str, ...]) -> Iterator[Path]:
    from tl.datasets.images import IMAGE_SUFFIXES
    from tl.errors import UsageError

    for image in images:
        path = Path(image)
        if not image:
            raise UsageError("an IMAGE is empty: give a file, a folder or a pattern")
        if path.is_dir():
            yield from _below(path, IMAGE_SUFFIXES)
        elif not path.exists() and glob.has_magic(image):
            matches = [Path(match) for match in sorted(glob.glob(image, recursive=True)) if Path(match).is_file()]
            yield from matches or [path]  # no match: the pattern itself is reported as missing
        else:
            yield path


def _below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(parent, name)


def _print(prediction: "Prediction") -> None:
    from tl.commands.console import printable

    name = printable(prediction.name)
    if prediction.error:
        click.echo(f"{name}: {click.style('error', fg='red')}: {printable(prediction.error)}", err=True)
        return
    others = "".join(f", {printable(label)} {_percent(share)}" for label, share in prediction.top[1:])
    label = click.style(printable(prediction.label), bold=True)
    click.echo(f"{name}: {label} {_percent(prediction.confidence)}{others}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
