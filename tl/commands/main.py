"""The command `tl`: finds the subcommand, loads only that, and turns expected failures into one line."""

import atexit
import errno
import importlib
import os
import sys
import threading
from typing import NoReturn

import click

from tl import __version__
from tl.errors import TLError

COMMANDS = (
    "finetune",
    "predict",
    "watch",
    "evaluate",
    "report",
    "grid",
    "explain",
    "export",
    "bench",
    "compare",
    "runs",
    "data",
    "search",
    "serve",
    "keys",
    "model",
    "weights",
    "cache",
)

INTERRUPTED = 130

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LazyGroup(click.Group):
    """A group whose commands are modules of `tl.commands`, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tl.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed; of one that is not there, those that are nearly called so."""
        if args[0] not in COMMANDS:
            from difflib import get_close_matches

            if near := get_close_matches(args[0].lower(), COMMANDS, n=2):
                ctx.fail(f"No such command {args[0]!r}: did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tl")
def cli() -> None:
    """Turn a folder of labelled photos into an image classifier you can trust.

    \b
    tl finetune --backbone resnet50 data/    one folder a class -> a run
    tl predict photo.jpg                     newest run -> label, confidence
    tl grid                                  held-out photos, green or red
    """


def start() -> NoReturn:
    """Run the command line and end the process."""
    leave(run())


def run() -> int:
    """Run the command line; its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        code = cli.main(prog_name="tl", standalone_mode=False)
    except TLError as error:
        _complain(str(error))
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        _complain(_usage(error))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted; nothing half-written was left behind")
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        code = 1
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        _complain(_unwritten(error) if error.filename is None else _unusable(error))
        code = 1
    return code if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """End the process with this exit code, once what was to be done at its end is done and all is written.

    It is not taken apart, which takes 0.1 s where it holds a network: the system takes back all at once.
    """
    busy = any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate())
    if busy and code != INTERRUPTED:  # else one that waits for a server would be waited for
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _complain(_unwritten(error))
        code = code or 1
    except ValueError:  # one that is closed has nothing left
        pass
    os._exit(code)


def _usage(error: click.ClickException) -> str:
    said, asked = error.format_message().rstrip("."), getattr(error, "ctx", None)
    return said + (f"{' ' if said.endswith('?') else '; '}see {asked.command_path} --help" if asked else "")


def _unwritten(error: OSError) -> str:
    return f"the output cannot be written ({(error.strerror or str(error)).lower()}): make room, or send it elsewhere"


def _unusable(error: OSError) -> str:
    """A name that the system refuses wherever it is first touched: too long, say, or a loop of links."""
    name, why = os.fsdecode(error.filename), (error.strerror or type(error).__name__).lower()
    return f"{name!r} cannot be used: {why}; give another name or place"


def _complain(text: str) -> None:
    from tl.commands.console import printable

    click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(text)}", err=True)
