"""`tl explain`: photos with the heat of what speaks for their label."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tl.workflows.explain import Heatmap


@click.command("explain")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--run", default=None, help="Run folder.  [default: the newest in runs/]")
@click.option("--label", default=None, metavar="NAME", help="The class to explain.  [default: the predicted one]")
@click.option(
    "--out", default="explain.png", show_default=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG."
)
@click.option("--show", is_flag=True, help="Show it: in a window, in the terminal, or as the file's path.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object an image, with the heat.")
def command(images: tuple[str, ...], run: str | None, label: str | None, out: Path, show: bool, as_json: bool) -> int:
    """Draw each IMAGE beside what speaks for its label, as Grad-CAM finds it.

    Images are given as for `tl predict`. Exit code 1 if one could not be read.
    """
    from tl.commands.console import dumped
    from tl.data.inputs import is_single_file, read_inputs
    from tl.prediction.predictor import Predictor
    from tl.runs.run import load_run
    from tl.views.pictures.show import check_png_name, save_png
    from tl.workflows.explain import MOST, heatmaps, sheet

    check_png_name(out)
    predictor = Predictor(load_run(run), alone=is_single_file(images))
    items = list(islice(read_inputs(images, min_side=predictor.at_least), MOST + 1))
    found: list[Heatmap] = []
    for entry in heatmaps(predictor, items, label):
        found.append(entry)
        if not as_json:
            _print(entry)
    explained = [entry for entry in found if not entry.error]
    if explained:
        save_png(sheet(explained, f"{predictor.run.name}: what speaks for the label"), out)
    if as_json:
        click.echo(dumped([entry.as_dict() for entry in found]))
    elif explained:
        _finish(out, len(explained))
    if show and explained:
        from tl.views.pictures.show import show as display

        said = display(out)
        click.echo(said, err=as_json)
    return 1 if len(explained) < len(found) else 0


def _print(entry: "Heatmap") -> None:
    from tl.commands.console import printable
    from tl.workflows.explain import NOTHING

    name = printable(entry.name)
    if entry.explanation is None:
        click.echo(f"{name}: {click.style('error', fg='red')}: {printable(entry.error)}", err=True)
        return
    label = click.style(printable(entry.label), bold=True)
    if entry.unknown:
        label = f"{click.style('unknown', fg='yellow', bold=True)}, unlike all training photos; {label}"
    click.echo(f"{name}: {label} {100 * entry.explanation.confidence:.1f} %" + (f", {NOTHING}" if entry.empty else ""))


def _finish(out: Path, count: int) -> None:
    from tl.commands.console import Console

    Console().log("explained", f"{out}: {count:,} photo{'' if count == 1 else 's'}")
