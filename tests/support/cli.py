"""Run the command line in this process, or in one of its own where the process is what is tested."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from rich.cells import cell_len

from support.session import ROOT
from tl.commands.main import run

Completed = subprocess.CompletedProcess[str]


def run_here(
    *arguments: object, cwd: Path = ROOT, stdin: str = "", expect: int | None = None, **environment: str
) -> Completed:
    """`run_here("predict", path, cwd=folder)`: exit code, standard output and standard error of the command line. An
    exit code other than the expected one is an error.
    """
    words = [str(ROOT / "cli.py"), *map(str, arguments)]
    with CliRunner().isolation(stdin, env={"COLUMNS": "80", **environment}) as (stdout, stderr, _):
        saved, sys.argv = sys.argv, words
        try:
            with contextlib.chdir(cwd):
                code = run()
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            sys.argv = saved
        sys.stdout.flush()
        sys.stderr.flush()
        output, errors = (stream.getvalue().decode("utf-8", "replace") for stream in (stdout, stderr))
    assert expect in (None, code), errors
    assert environment.get("COLUMNS", "80") != "80" or not wide_lines(words[1:], output, errors)
    return subprocess.CompletedProcess(words, code, output, errors)


def wide_lines(words: list[str], output: str, errors: str) -> list[str]:
    """The lines of more than 80 columns, which a terminal breaks anywhere, apart from what must stay on one line: rows
    for programs, an error, and a word that does not fit, such as a path.
    """
    is_rows = {"--json", "--format", "predict", "watch"} & set(words)
    lines = [*(() if is_rows else output.splitlines()), *errors.splitlines()]
    return [
        line
        for line in lines
        if cell_len(line) > 80 and not line.startswith(("error:", "    $ ")) and max(map(cell_len, line.split())) < 50
    ]


def run_process(*arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str) -> Completed:
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "80", **environment},
        check=False,
    )
