"""`tl keys add`, `tl keys list`, `tl keys revoke`."""

import shlex
from pathlib import Path

import click

from tl.commands.options import json_option
from tl.service.keys import ROLES

_STATE = click.option(
    "--state", default="service", show_default=True, type=Path, help="State folder of the service.", metavar="DIR"
)


@click.group("keys")
def command() -> None:
    """Create, list and revoke the keys of `tl serve`."""


@command.command("add")
@click.argument("name")
@click.option("--role", default="predict", show_default=True, type=click.Choice(ROLES), help="What it may do.")
@_STATE
def add_command(name: str, role: str, state: Path) -> None:
    """Create a key called NAME and print it, this once.

    The role `predict` classifies images; `train` can upload data sets and
    fine-tune as well; `admin` can also choose the default run.
    """
    from tl.workflows.keys import add

    token = add(name, role=role, state=state)
    click.echo(f"{name} may {role}. Keep this key: it is not shown again.", err=True)
    click.echo(token)


@command.command("list")
@json_option
@_STATE
def list_command(as_json: bool, state: Path) -> None:
    """List name, role, prefix and date of all keys."""
    from datetime import UTC, datetime

    from tl.commands.console import dumped
    from tl.views.terminal.tables import printable
    from tl.workflows import keys

    rows = keys.list(state=state)
    if as_json:
        click.echo(dumped([vars(key) for key in rows]))
        return
    if not rows:
        click.echo("no keys yet: create one with `tl keys add NAME`", err=True)
    for key in rows:
        day = datetime.fromtimestamp(key.created, UTC).date().isoformat()
        note = "" if key.revoked is None else "  revoked"
        click.echo(f"{printable(key.name):<24}  {key.role:<7}  {key.prefix}…  {day}{note}")


@command.command("revoke")
@click.argument("name")
@_STATE
def revoke_command(name: str, state: Path) -> None:
    """Revoke the key called NAME.

    A running service notices within seconds.
    """
    from tl.service.database import Database
    from tl.service.keys import all_revoked
    from tl.workflows.keys import revoke

    revoke(name, state=state)
    click.echo(f"revoked {name}")
    if all_revoked(Database(state)):
        add = f"tl keys add NAME --state {shlex.quote(str(state))}"
        click.echo(f"it was the last key: the service refuses every request with 401 until `{add}`", err=True)
