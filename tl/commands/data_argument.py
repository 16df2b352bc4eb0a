"""The argument DATA of commands that need one: without it, one line that says what to give."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def of_data(command: Command) -> Command:
    """A data set, which must be given."""
    return click.argument("data", required=False, metavar="DATA", callback=_given)(command)


def missing(context: click.Context) -> click.UsageError:
    """What is said where no data set is given."""
    return click.UsageError(
        "Missing argument 'DATA': give a folder with one folder of photos a class, a table, or a known data set, such "
        f"as `{context.command_path} photos/`",
        context,
    )


def _given(context: click.Context, _: click.Parameter, value: str | None) -> str:
    if value is None:
        raise missing(context)
    return value
