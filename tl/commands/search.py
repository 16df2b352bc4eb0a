"""`tl search`: find the images of a data set that are most similar to given ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl.commands.grid import picture_options, show_picture
from tl.commands.options import output_options, workflow_options
from tl.workflows.search import SearchOptions

if TYPE_CHECKING:
    from tl.features.search import SearchMatches

_LABEL_WIDTH = 24


@click.command("search")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--in", "data", required=True, metavar="DATA", help="Data set to search: a folder, a table, a known name."
)
@workflow_options(SearchOptions)
@picture_options(None)
@output_options
def command(
    images: tuple[str, ...], data: str, out: Path | None, show: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Find the images of a data set that are most similar to each IMAGE.

    Images are files, folders or patterns. Similarity is the cosine of the
    features, at most 1. Features are cached, so a second search in the same
    data set takes no time.
    """
    from tl.commands.console import dumped, progress_for
    from tl.text import count
    from tl.views.pictures.grid import draw_search
    from tl.views.pictures.show import check_png_name, save_png
    from tl.workflows.search import search

    if out is not None:
        check_png_name(out)
    progress = progress_for(as_json or quiet)
    result = search(images, data, options=SearchOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped(result.as_dict()))
    elif not quiet:
        for answer in result.answers:
            _print_matches(answer, heading=len(result.answers) > 1)
        if result.broken:
            progress.warn(f"{count(result.broken, 'image')} could not be read")
    if out is not None or show:
        out = out or Path("found.png")
        save_png(draw_search(result), out)
        progress.log("picture", str(out))
    if show and out is not None:
        show_picture(out, progress)


def _print_matches(answer: "SearchMatches", *, heading: bool) -> None:
    from tl.views.terminal.tables import padded, printable, shortened, terminal_width, width_of

    if heading:
        click.secho(shortened(printable(answer.query), terminal_width()), bold=True)
    longest = max((width_of(printable(match.label or "")) for match in answer.matches), default=0)
    room = min(longest, _LABEL_WIDTH)
    for match in answer.matches:
        label = padded(shortened(printable(match.label or ""), room), room + 2) if room else ""
        same = "  identical bytes" if match.same else ""
        name = shortened(printable(match.name), terminal_width() - 9 - width_of(label) - len(same))
        click.echo(f"{match.similarity_text}  {label}{name}{same}")
