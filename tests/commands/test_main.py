"""The command line itself: help that fits a terminal, speed, versions."""

import os
import subprocess
import sys
import time
from importlib.metadata import version

import click
import pytest

import tl as library
from support.session import ROOT
from tl.commands.main import COMMANDS, cli


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
    return found


ALL = every_command(cli)


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_fits_80_columns(tl, path):
    done = tl(*path, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_and_option_is_explained(path, command):
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_list_of_commands(tl):
    listed = tl("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in listed


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("finetun", "No such command 'finetun': did you mean finetune? see tl --help"),
        ("Grid", "No such command 'Grid': did you mean grid? see tl --help"),
        ("data chek", "No such command 'chek'. Did you mean 'check'? see tl data --help"),
        ("xyzzy", "No such command 'xyzzy'; see tl --help"),
    ],
)
def test_the_nearest_command_is_suggested(tl, typed, said):
    done = tl(*typed.split())
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_help_is_quick():
    """Nothing heavy is loaded: a tenth of a second over the bare interpreter, with room for a busy machine."""

    def fastest(*command: str) -> float:
        times = []
        for _ in range(5):
            started = time.monotonic()
            subprocess.run([sys.executable, *command], capture_output=True, check=True, cwd=ROOT)
            times.append(time.monotonic() - started)
        return min(times)

    assert fastest("cli.py", "--help") - fastest("-c", "import click") < 0.2


def test_versions_agree(tl):
    assert tl("--version").stdout.strip() == f"tl, version {library.__version__}"
    assert version("tl") == library.__version__


def test_the_cache_commands(tl, tmp_path):
    where = {"TL_CACHE_DIR": str(tmp_path / "cache"), "TL_CACHE_LIMIT": "2G"}
    assert "none yet (limit 2.0 GB)" in tl("cache", "info", **where).stdout
    code = (
        "import numpy as np; from tl.cache import open_cache\n"
        "with open_cache() as cache: cache.put([(bytes(48), np.ones(10, np.float32))])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, **where})
    assert "1 row" in tl("cache", "info", **where).stdout
    assert tl("cache", "clear", **where).returncode == 0
    assert "none yet" in tl("cache", "info", **where).stdout


ENDING = """
import atexit, sys, threading, time
from tl.commands.main import leave
atexit.register(lambda: print("at exit"))
class Late:
    def __del__(self):
        print("taken apart")
late = Late()
threading.Thread(target=lambda: (time.sleep(0.5), print("thread")), daemon={daemon}).start()
print("x" * 100_000)
leave(3)
"""


@pytest.mark.parametrize("daemon", [True, False])
def test_the_process_ends_once_all_is_written(daemon):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(daemon=daemon)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    printed = done.stdout.splitlines()
    assert printed[0] == "x" * 100_000
    assert set(printed[1:]) == ({"at exit"} if daemon else {"at exit", "thread", "taken apart"})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
@pytest.mark.parametrize("arguments", ["--help", "cache info", "--version"])
def test_output_that_cannot_be_written_is_one_line(arguments):
    command = [sys.executable, "cli.py", *arguments.split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the output cannot be written (no space left on device): free some space, or write elsewhere"
    ]


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; sys.argv = ['tl', '--help']; from tl.commands.main import run; run();"
        "print(sorted({'numpy', 'tl.workflows'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"
