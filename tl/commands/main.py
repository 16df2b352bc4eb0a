"""The command `tl`: finds the subcommand, loads only that, and turns expected failures into one line."""

import importlib
import sys

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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tl")
def cli() -> None:
    """Turn a folder of labelled photos into an image classifier you can trust.

    \b
    tl finetune --backbone resnet50 data/    one folder a class -> a run
    tl predict photo.jpg                     newest run -> label, confidence
    tl grid data/                            green (right) and red (wrong)
    """


def start() -> None:
    """Run the command line; exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except TLError as error:
        _complain(str(error))
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        asked = getattr(error, "ctx", None)
        _complain(error.format_message().rstrip(".") + (f"; see {asked.command_path} --help" if asked else ""))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted; nothing half-written was left behind")
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str) -> None:
    from tl.commands.console import printable

    click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(text)}", err=True)
