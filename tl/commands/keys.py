"""`tl keys`: who may use the service, and what for."""

from pathlib import Path

import click

_STATE = click.option(
    "--state",
    default="service",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the service.",
)


@click.group("keys")
def command() -> None:
    """Make, list and revoke the keys of `tl serve`."""


@command.command("add")
@click.argument("name")
@click.option(
    "--role",
    default="predict",
    show_default=True,
    type=click.Choice(["predict", "train", "admin"]),
    help="What it may do.",
)
@_STATE
def add(name: str, role: str, state: Path) -> None:
    """Make a key for NAME and show it, this once.

    A key with the role `predict` labels photos, with `train` it uploads data
    sets and fine-tunes as well, with `admin` it also says which run answers.
    """
    from tl.service import keys
    from tl.service.database import Database

    token = keys.add(Database(state), name, role)
    click.echo(f"{name} may {role}. Keep this key, it is not shown again:", err=True)
    click.echo(token)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@_STATE
def show(as_json: bool, state: Path) -> None:
    """Name, role, first letters and day of every key."""
    from datetime import UTC, datetime

    from tl.commands.console import dumped, printable
    from tl.service import keys
    from tl.service.database import Database

    found = keys.listed(Database(state))
    if as_json:
        click.echo(dumped([vars(key) for key in found]))
        return
    if not found:
        click.echo("no keys yet: `tl keys add NAME` makes one", err=True)
    for key in found:
        day = datetime.fromtimestamp(key.created, UTC).date().isoformat()
        note = "" if key.revoked is None else "  revoked"
        click.echo(f"{printable(key.name):<24}  {key.role:<7}  {key.prefix}…  {day}{note}")


@command.command("revoke")
@click.argument("name")
@_STATE
def revoke(name: str, state: Path) -> None:
    """Let the key of NAME be good for nothing; a running service knows it within seconds."""
    from tl.service import keys
    from tl.service.database import Database

    keys.revoke(Database(state), name)
    click.echo(f"{name} is revoked")
