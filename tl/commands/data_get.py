"""`tl data get` and `tl data convert`: a name becomes a data set, and a data set one in another form."""

import json
from pathlib import Path
from typing import Any

import click

from tl.commands.data_argument import of_data
from tl.commands.data_options import of_source

_FORMS = ("folders", "csv", "tfrecord", "cifar100")


@click.command("get")
@click.argument("name", required=False)
@click.option("--out", default=None, type=click.Path(file_okay=False, path_type=Path), help="Put a copy in there.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def get(name: str | None, out: Path | None, offline: bool, as_json: bool, quiet: bool) -> None:
    """Fetch the data set NAME, with its checksum, and say where it is.

    Without NAME: which there are. What is here already is not fetched again.
    """
    from tl.commands.console import Console
    from tl.progress import Progress
    from tl.workflows.data_get import get as fetch
    from tl.workflows.data_get import listed

    progress = Progress() if as_json or quiet else Console()
    told = [fetch(name, out=out, offline=offline, progress=progress)] if name else listed()
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in told] if name is None else told[0].as_dict()))
        return
    for one in told:
        progress.log("data set", f"{one.name}: {one.path or f'not here; {one.size} from {one.host}'}")
        if name:
            progress.log("checksum", one.checksum)


@click.command("convert")
@of_data
@click.option("--to", required=True, type=click.Choice(_FORMS), help="Form to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder, or table (.csv).")
@click.option("--link", is_flag=True, help="Folders: hard links to the originals, where the disk allows.")
@of_source
def convert(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write DATA in another form, which tl reads back as DATA.

    \b
    folders    class folders, below train, validation and test if there is a split
    csv        a table of path,label,split that names the files where they are
    tfrecord   tf.train.Example records, in files of 128 MB by part
    cifar100   train, test and meta of CIFAR-100, 32 × 32 pixels
    """
    from tl.commands.console import Console
    from tl.data.write import convert as write
    from tl.progress import Progress

    progress = Progress() if as_json or quiet else Console()
    made = write(data, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(made.as_dict(), ensure_ascii=False))
        return
    parts = ", ".join(f"{count:,} {part}".rstrip() for part, count in made.parts.items())
    progress.log("images", f"{parts} in {made.classes:,} classes")
    for name, why in list(made.left_out.items())[:3]:
        progress.warn(f"left out: {name}: {why}")
    if len(made.left_out) > 3:
        progress.warn(f"and {len(made.left_out) - 3:,} more left out")
    progress.log(options["to"], str(made.out))
