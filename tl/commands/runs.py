"""`tl runs`: what runs there are, what is in one, how they differ, and removing them."""

import click


@click.group("runs")
def command() -> None:
    """List, show, compare and remove runs."""


@command.command("list")
@click.argument("folder", default="runs/")
@click.option("--sort", default="created", show_default=True, help="created, accuracy or name.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a run.")
def list_(folder: str, sort: str, as_json: bool) -> None:
    """A table of all runs in FOLDER.

    Runs of comparisons, interrupted and damaged ones are in it as well.
    """
    from tl.commands.console import dumped
    from tl.runs.catalogue import catalogue
    from tl.views.terminal.runs import listing
    from tl.views.terminal.tables import terminal_width

    found = catalogue(folder, sort=sort)
    click.echo(dumped([one.as_dict() for one in found]) if as_json else listing(found, folder, terminal_width()))


@command.command("show")
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(run: str | None, as_json: bool) -> None:
    """What was done for RUN, and what came of it.

    Without RUN, it is the newest one that is shown.
    """
    from tl.commands.console import dumped
    from tl.runs.summary import summarize
    from tl.views.terminal.runs import factsheet
    from tl.views.terminal.tables import terminal_width

    about = summarize(run)
    click.echo(dumped(about.as_dict()) if as_json else factsheet(about, terminal_width()))


@command.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """What differs between runs, and which is better.

    Options, data, versions and results that are the same in all are left out.
    Each later run is tested against the first (McNemar's exact test), on the
    photos that both answered and neither was trained on.
    """
    from tl.commands.console import dumped
    from tl.runs.diff import difference
    from tl.views.terminal.runs import contrast
    from tl.views.terminal.tables import terminal_width

    found = difference(runs)
    click.echo(dumped(found.as_dict()) if as_json else contrast(found, terminal_width()))


@command.command("rm")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--keep-best",
    default=None,
    type=click.IntRange(min=1),
    help="Remove all but the N most accurate runs of each data set, of those named or of all in runs/.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors and the question.")
def rm(runs: tuple[str, ...], keep_best: int | None, yes: bool, quiet: bool) -> None:
    """Remove runs, or whole comparisons.

    Complete, damaged and interrupted ones, after asking. Symbolic links are
    not followed, and what is being written stays.
    """
    from tl.errors import UsageError
    from tl.runs.catalogue import all_but_best, removable, remove
    from tl.views.terminal.runs import removal

    if not runs and keep_best is None:
        raise UsageError("nothing to remove: name runs (`tl runs list`), or give --keep-best N")
    chosen = removable(runs) if keep_best is None else all_but_best(keep_best, runs)
    if not chosen:
        if not quiet:
            click.echo("nothing to remove")
        return
    if not (quiet and yes):
        click.echo(removal(chosen))
    if not yes and not click.confirm("Remove?"):
        return
    remove(chosen)
    if not quiet:
        click.echo("removed")
