"""`tl grid`: draw images with their predictions, green where correct and red where wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl.commands.options import Command, output_options, workflow_options
from tl.workflows.grid import GridOptions

if TYPE_CHECKING:
    from tl.progress import Progress


def picture_options(default: str | None) -> Callable[[Command], Command]:
    """--out and --show of a command that draws a picture."""
    path = click.Path(dir_okay=False, path_type=Path)

    def decorate(function: Command) -> Command:
        show = click.option("--show", is_flag=True, help="Show it in the terminal or an image viewer.")
        out = click.option(
            "--out", default=default, show_default=True, type=path, metavar="FILE", help="Write the picture (PNG)."
        )
        return out(show(function))

    return decorate


def show_picture(out: Path, progress: "Progress") -> None:
    """Show a PNG file, and log how."""
    from tl.views.pictures.show import show

    progress.log("", show(out))


@click.command("grid")
@click.argument("data", required=False)
@workflow_options(GridOptions)
@picture_options("grid.png")
@output_options
def command(data: str | None, out: Path, show: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Draw the images of DATA with their predicted labels.

    Class folders give the true labels. Without DATA, the images that the run
    was judged on (or else its test images) are drawn, where it found them.
    """
    from tl.commands.console import dumped, progress_for
    from tl.text import count
    from tl.views.pictures.show import check_png_name, save_png
    from tl.workflows.grid import grid

    check_png_name(out)
    progress = progress_for(as_json or quiet)
    result = grid(data, options=GridOptions(**options), progress=progress)
    save_png(result.image, out)
    shown = result.nothing or f"{len(result.shown):,} of {count(result.total, 'image')}"
    progress.log("grid", f"{out}: {shown}")
    progress.log("result", result.caption)
    if result.broken:
        progress.warn(f"{count(result.broken, 'image')} could not be read")
    if as_json:
        click.echo(dumped({"picture": str(out), **result.as_dict()}))
    if show:
        show_picture(out, progress)
