"""`tl grid`: photos with their predictions, green where right and red where wrong."""

from pathlib import Path

import click


@click.command("grid")
@click.argument("data", required=False)
@click.option("--run", default=None, help="Run folder.  [default: the newest in runs/]")
@click.option(
    "--only", default="all", show_default=True, type=click.Choice(["all", "right", "wrong"]), help="Which photos."
)
@click.option(
    "--sort", default="name", show_default=True, type=click.Choice(["name", "confidence"]), help="Surest first."
)
@click.option("--count", default=25, show_default=True, type=click.IntRange(min=0), help="How many photos; 0: all.")
@click.option("--columns", default=5, show_default=True, type=click.IntRange(1, 20), help="Photos side by side.")
@click.option("--explain", is_flag=True, help="Lay over each photo what speaks for its label (Grad-CAM).")
@click.option("--seed", default=0, show_default=True, help="Chooses the photos.")
@click.option(
    "--out", default="grid.png", show_default=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG."
)
@click.option("--show", is_flag=True, help="Show it: in a window, in the terminal, or as the file's path.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the account.")
def command(
    data: str | None,
    run: str | None,
    only: str,
    sort: str,
    count: int,
    columns: int,
    explain: bool,
    seed: int,
    out: Path,
    show: bool,
    as_json: bool,
) -> None:
    """Draw the photos of DATA with their predicted labels; class folders tell what is true.

    Without DATA: the photos that the run held out, for validation or else for a test, where it found them.
    """
    from tl.commands.console import Console, dumped
    from tl.prediction.predictor import Predictor
    from tl.progress import Progress
    from tl.runs.run import load_run
    from tl.views.pictures.show import check_png_name, save_png
    from tl.workflows.grid import pick

    check_png_name(out)
    progress = Progress() if as_json else Console()
    predictor = Predictor(load_run(run))
    gallery = pick(predictor, data, only=only, sort=sort, count=count, seed=seed, explain=explain, progress=progress)
    save_png(gallery.draw(columns=columns), out)
    progress.log("grid", f"{out}: {gallery.nothing or f'{len(gallery.shown):,} of {gallery.photos:,} photos'}")
    progress.log("result", gallery.caption)
    if gallery.broken:
        progress.warn(f"{gallery.broken} photos could not be read")
    if as_json:
        click.echo(dumped({"picture": str(out), **gallery.as_dict()}))
    if show:
        from tl.views.pictures.show import show as display

        said = display(out)
        if as_json:
            click.echo(said, err=True)
        else:
            progress.log("", said)
