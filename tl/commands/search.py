"""`tl search`: photos become the photos of a data set that are most like them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tl.progress import Progress
    from tl.workflows.search import Found


@click.command("search")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--in", "data", required=True, help="Data set that is searched: a folder, a table, a known name.")
@click.option("--backbone", default=None, help="Network whose features are compared.  [default: resnet50]")
@click.option("--weights", default="imagenet", show_default=True, help="Its weights: a name or a file.")
@click.option("--run", default=None, help="Run whose network is taken instead.")
@click.option("--count", default=12, show_default=True, type=click.IntRange(1, 200), help="How many photos to find.")
@click.option("--out", default=None, type=click.Path(dir_okay=False, path_type=Path), help="ImageLike of them (PNG).")
@click.option("--show", is_flag=True, help="Show it: in a window, in the terminal, or as the file's path.")
@click.option("--download", is_flag=True, help="Fetch the data set if it is a known name and not here.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(
    images: tuple[str, ...], data: str, out: Path | None, show: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Find the photos that are most like each IMAGE, given as for `tl predict`.

    Two photos are as alike as the cosine of their features, at most 1. The
    features are kept: a second search in the same photos takes no time.
    """
    from tl.commands.console import Console
    from tl.progress import Progress
    from tl.views.pictures.show import check_png_name
    from tl.workflows.search import search

    if out is not None:
        check_png_name(out)
    progress = Progress() if as_json or quiet else Console()
    found = search(images, data, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    elif not quiet:
        for answer in found.answers:
            _tell(answer, len(found.answers) > 1)
        if found.broken:
            progress.warn(f"{found.broken:,} photo{'' if found.broken == 1 else 's'} could not be read")
    if out is not None or show:
        _draw(found, out or Path("found.png"), show, progress)


def _tell(answer: "Found", several: bool) -> None:
    from tl.commands.console import printable
    from tl.views.pictures.search import likeness
    from tl.views.terminal.tables import shortened, terminal_width, width_of

    if several:
        click.echo(click.style(shortened(printable(answer.query), terminal_width()), bold=True))
    longest = max((width_of(printable(match.label or "")) for match in answer.matches), default=0)
    room = min(longest, 24)
    for match in answer.matches:
        label = shortened(printable(match.label or ""), room)
        gap = " " * (room - width_of(label) + 2 if room else 0)
        same = "  the same bytes" if match.same else ""
        name = shortened(printable(match.name), terminal_width() - 9 - (room + 2 if room else 0) - len(same))
        click.echo(f"{likeness(match)}  {label}{gap}{name}{same}")


def _draw(found: Any, out: Path, show: bool, progress: "Progress") -> None:
    from tl.views.pictures.search import draw
    from tl.views.pictures.show import save_png

    save_png(draw(found), out)
    progress.log("picture", str(out))
    if show:
        from tl.views.pictures.show import show as display

        progress.log("", display(out))
