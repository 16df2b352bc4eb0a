"""The command `tl`: load the subcommand that was typed, and print expected failures as one line."""

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

COMMANDS = {
    "finetune": "Train a classifier on labelled images.",
    "predict": "Predict the labels of images.",
    "watch": "Predict images as they arrive in a folder.",
    "evaluate": "Evaluate a run on labelled images.",
    "report": "Write the report of a run again.",
    "grid": "Draw images with their predictions, correct or wrong.",
    "explain": "Draw the evidence for a label in an image.",
    "export": "Write a run as a model for another runtime.",
    "bench": "Measure how fast a run is on this machine.",
    "compare": "Train several networks on the same split.",
    "runs": "List, show, compare and remove runs.",
    "data": "Check, clean, split, measure, fetch and convert data sets.",
    "search": "Find the most similar images of a data set.",
    "serve": "Serve runs over HTTP, with a web page.",
    "keys": "Create, list and revoke the keys of `tl serve`.",
    "model": "Print or draw the layers of a network.",
    "weights": "List, download and locate pretrained weights.",
    "cache": "Show and clear the cache.",
}
"""The commands in the order in which people need them, with their lines in `tl --help`, which imports none of them."""

_REMOVED = {
    "finetune --views": "leave it out; how many augmented views are stored is chosen by the size of the data",
    "predict --json": "give --format json",
    "predict --max-bytes": "leave it out; a web address may have up to 50 MB",
    "predict --total-time": "leave it out; a web address has 60 seconds, and --timeout seconds to respond",
    "predict --allow-private": "leave it out; private addresses are allowed",
    "predict --null": "end the paths of a list with line breaks",
    "watch --json": "give --format jsonl",
    "watch --interval": "leave it out; --poll lists the folder every second",
    "evaluate --no-unknown": "leave it out; images unlike the training images are always counted",
    "export --bound": "it is called --tolerance",
    "data split --anew": "leave it out; a split that the data has is always ignored",
}
"""Options of version 0.1, and what to do instead."""

INTERRUPTED = 130

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LazyGroup(click.Group):
    """A group whose commands are modules of `tl.commands`, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tl.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed; the error for an unknown one suggests the nearest names."""
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
    tl finetune --backbone resnet50 data/    a folder per class -> a run
    tl predict photo.jpg                     newest run -> label, confidence
    tl grid                                  held-out photos, green or red
    """


def start() -> NoReturn:
    """Run the command line and end the process."""
    leave(run())


def run() -> int:
    """Run the command line and return its exit code: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    try:
        code = cli.main(prog_name="tl", standalone_mode=False)
    except TLError as error:
        _print_error(str(error))
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        _print_error(_usage_text(error))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _print_error("interrupted; no incomplete files were left behind")
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        code = 1
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        reason = (error.strerror or type(error).__name__).lower()
        unusable = f"{os.fsdecode(error.filename or '')!r} cannot be used: {reason}; give another path"
        _print_error(_unwritable_text(error) if error.filename is None else unusable)
        code = 1
    return code if isinstance(code, int) else 0


def leave(code: int) -> NoReturn:
    """End the process with this exit code, after exit handlers ran and all output is written.

    The interpreter is not finalised, which takes 0.1 s where it holds a network: the system frees everything at once.
    """
    busy = any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate())
    if busy and code != INTERRUPTED:  # an interrupted one may wait for a server
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _print_error(_unwritable_text(error))
        code = code or 1
    except ValueError:  # a closed stream has nothing left to write
        pass
    os._exit(code)


def _usage_text(error: click.ClickException) -> str:
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if isinstance(error, click.MissingParameter):  # which lists choices one a line
        message = " ".join(message.split())
    if context and isinstance(error, click.NoSuchOption):
        name = f"{context.command_path.removeprefix('tl ')} {error.option_name}"
        message = f"{error.option_name} was removed: {_REMOVED[name]}" if name in _REMOVED else message
    return message + (f"{' ' if message.endswith('?') else '; '}see {context.command_path} --help" if context else "")


def _unwritable_text(error: OSError) -> str:
    return (
        f"the output cannot be written ({(error.strerror or str(error)).lower()}): free some space, or write elsewhere"
    )


def _print_error(text: str) -> None:
    from tl.views.terminal.tables import printable

    click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(text)}", err=True)
