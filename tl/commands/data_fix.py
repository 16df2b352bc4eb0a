"""`tl data fix` and `tl data split`: a data set becomes a clean copy, or one with a split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tl.commands.data_argument import of_data
from tl.commands.data_options import of_network, of_source

if TYPE_CHECKING:
    from tl.progress import Progress
    from tl.workflows.data_fix import Fixed
    from tl.workflows.data_split import Parted

_KINDS = ("unreadable", "duplicates", "two-labels", "leaks", "extensions", "class-names")
_EXAMPLES = 3


@click.command("fix")
@of_data
@click.option("--out", default=None, type=click.Path(path_type=Path), help="New folder, or a table (.csv).")
@click.option("--only", multiple=True, type=click.Choice(_KINDS), help="Mend only this; as often as you like.")
@click.option("--relabel", is_flag=True, help="Change labels that are surely wrong, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--link", is_flag=True, help="Hard links to the originals, where the disk allows.")
@click.option("--seed", default=0, show_default=True, help="Chooses the folds by which labels are judged.")
@of_network
@of_source
def fix(
    data: str, out: Path | None, only: tuple[str, ...], dry_run: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Write a clean copy of DATA; DATA itself is never touched.

    Files that cannot be read are left out. Of photos that are there more than
    once the largest stays, and where the split has one on both sides, the one
    that is checked with. Of one photo under two labels none stays, unless the
    audit of labels is sure which is right. Classes under two names become one,
    wrong file endings right. CLEAN/undo.csv (for a table CLEAN.undo.csv) has a
    line for each file: what was done, why, and where it came from.
    """
    from tl.commands.console import Console
    from tl.errors import UsageError
    from tl.progress import Progress
    from tl.workflows.data_fix import fix as clean

    if out is None and not dry_run:
        raise UsageError("give a new folder or table with --out, or see what would be done with --dry-run")
    progress = Progress() if as_json or quiet else Console()
    made = clean(data, None if dry_run else out, only=only or _KINDS, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(made.as_dict(), ensure_ascii=False))
    elif not quiet:
        _tell_fixed(made, progress)


def _tell_fixed(made: "Fixed", progress: "Progress") -> None:
    told = made.plan.as_dict()
    changes = told["changes"]
    for kind, count in told["kinds"].items():
        some = [change for change in changes if change["kind"] == kind][:_EXAMPLES]
        progress.log(kind, f"{count:,} {some[0]['done'] if len({c['done'] for c in some}) == 1 else 'changed'}")
        for change in some:
            progress.log("", f"{change['path']}: {change['why']}")
        if count > len(some):
            progress.log("", f"and {count - len(some):,} more")
    if not changes:
        progress.log("result", "nothing to mend")
    for note in told["notes"]:
        progress.warn(note)
    verb = "keeps" if made.out else "would keep"
    progress.log("clean", f"{verb} {told['kept']:,} of {told['images']:,} images{f': {made.out}' if made.out else ''}")
    if made.undo:
        progress.log("undo", str(made.undo))


@click.command("split")
@of_data
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New table (.csv), or folder with folders.")
@click.option("--val", default=0.2, show_default=True, help="Share for validation.")
@click.option("--test", default=0.0, show_default=True, help="Share for a test.")
@click.option("--seed", default=0, show_default=True, help="Chooses who goes where.")
@click.option("--group-by", default=None, help="What must stay together: a column, a place in the path, a pattern.")
@click.option(
    "--near-duplicates/--exact-only",
    "near",
    default=True,
    help="Keep together what shows one photo, or only what is byte-identical.  [default: one photo]",
)
@click.option("--anew", is_flag=True, help="Set aside the split that DATA has.")
@click.option("--link", is_flag=True, help="Hard links to the originals, where the disk allows.")
@of_network
@of_source
def split(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write a split of DATA, each class in its share, to a table or to folders.

    Copies of one photo stay on one side, and so does what --group-by names: by
    a column of the table (patient), by a place in the path (0: the first
    folder), or by a regular expression with a group ('(patient[0-9]+)_').
    """
    from tl.commands.console import Console
    from tl.progress import Progress
    from tl.workflows.data_split import part

    progress = Progress() if as_json or quiet else Console()
    made = part(data, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(made.as_dict(), ensure_ascii=False))
    elif not quiet:
        _tell_parted(made, progress)


def _tell_parted(made: "Parted", progress: "Progress") -> None:
    for side, counts in made.counts.items():
        least, most = min(counts.values()), max(counts.values())
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        progress.log(side, f"{sum(counts.values()):,} photos, {each} a class")
    if made.copies:
        progress.log("copies", f"{made.copies:,} kept on the side of the photo that they show")
    if made.groups:
        progress.log("groups", f"{made.groups:,}, none of them on two sides")
    for name, why in list(made.left_out.items())[:_EXAMPLES]:
        progress.warn(f"left out: {name}: {why}")
    if len(made.left_out) > _EXAMPLES:
        progress.warn(f"and {len(made.left_out) - _EXAMPLES:,} more left out")
    progress.log("split", str(made.out))
