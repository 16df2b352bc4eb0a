"""`tl explain`: draw the evidence for labels in images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl.commands.grid import picture_options, show_picture
from tl.commands.options import output_options, workflow_options
from tl.commands.predict import print_error, styled_label
from tl.workflows.explain import ExplainOptions

if TYPE_CHECKING:
    from tl.views.pictures.explain import Heatmap


@click.command("explain")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@workflow_options(ExplainOptions)
@picture_options("explain.png")
@output_options
def command(images: tuple[str, ...], out: Path, show: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Draw each IMAGE beside a heatmap of the evidence for its label (Grad-CAM).

    Images are files, folders (with their subfolders) or patterns. With --json,
    a list with the heat of each image is printed. Exit code 1 if one cannot be
    read.
    """
    from tl.commands.console import dumped, progress_for
    from tl.text import count
    from tl.views.pictures.show import check_png_name, save_png
    from tl.workflows.explain import explain

    check_png_name(out)
    silent = as_json or quiet
    on_heatmap = partial(_print, errors_only=silent)
    result = explain(images, options=ExplainOptions(**options), on_heatmap=on_heatmap)
    explained = sum(not heatmap.error for heatmap in result.heatmaps)
    progress = progress_for(silent)
    if explained:
        save_png(result.image, out)
        progress.log("explained", f"{out}: {count(explained, 'image')}")
    if as_json:
        click.echo(dumped([heatmap.as_dict() for heatmap in result.heatmaps]))
    if show and explained:
        show_picture(out, progress)
    return 1 if explained < len(result.heatmaps) else 0


def _print(heatmap: "Heatmap", errors_only: bool) -> None:
    from tl.text import percent
    from tl.views.pictures.explain import NO_EVIDENCE
    from tl.views.terminal.tables import printable

    if heatmap.explanation is None:
        print_error(heatmap.name, heatmap.error)
    elif not errors_only:
        label = styled_label(heatmap.label, heatmap.unknown)
        line = f"{printable(heatmap.name)}: {label} {percent(heatmap.explanation.confidence)}"
        click.echo(f"{line}, {NO_EVIDENCE}" if heatmap.empty else line)
