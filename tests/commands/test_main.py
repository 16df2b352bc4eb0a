"""The command line itself: help that fits a terminal and loads nothing heavy, errors, versions, its end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import pytest

import tl as library
from support.data_sets import put
from support.session import ROOT
from tl.cache import open_cache
from tl.commands.main import _REMOVED, COMMANDS, cli


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """All commands and groups with their names, such as "data check"."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


@pytest.mark.parametrize(("name", "command"), [("", cli), *every_command(cli)])
def test_help_fits_two_screens_and_explains_every_option(tl, name, command):
    done = tl(*name.split(), "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= 46
    assert max(map(len, lines)) <= 80
    assert "..." not in done.stdout.partition("\nCommands:\n")[2]
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def test_help_lists_every_command_and_imports_nothing_heavy():
    heavy = {"numpy", "scipy", "sklearn", "PIL", "cv2", "matplotlib", "keras", "tensorflow", "openvino", "tl.workflows"}
    code = (
        "import sys; sys.argv = ['tl', '--help']; from tl.commands.main import run; run();"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("typed", "message"), [
    ("finetun", "No such command 'finetun': did you mean finetune? see tl --help"),
    ("Grid", "No such command 'Grid': did you mean grid? see tl --help"),
    ("data chek", "No such command 'chek'. Did you mean 'check'? see tl data --help"),
    ("xyzzy", "No such command 'xyzzy'; see tl --help"),
])  # fmt: skip
def test_unknown_command_suggests_the_nearest(tl, typed, message):
    done = tl(*typed.split())
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


@pytest.mark.parametrize("name", _REMOVED)
def test_removed_option_says_what_to_do_instead(tl, name):
    command, _, option = name.rpartition(" ")
    done = tl(*command.split(), option, "2")
    expected = f"error: {option} was removed: {_REMOVED[name]}; see tl {command} --help\n"
    assert (done.returncode, done.stderr) == (2, expected)
    assert option not in tl(*command.split(), "--help").stdout


def test_versions_agree_and_a_checkout_runs_without_being_installed(tl_process):
    assert tl_process("--version", cwd=Path(sys.prefix)).stdout.strip() == f"tl, version {library.__version__}"
    assert version("tl") == library.__version__
    assert (ROOT / "cli.py").read_text().count("\n") < 12


def test_cache_commands_count_and_clear_rows(tl, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TL_CACHE_LIMIT", "2G")
    assert "none yet (limit 2.0 GB)" in tl("cache", "info").stdout
    with open_cache() as cache:
        cache.put([(bytes(48), np.ones(10, np.float32))])
    put(tmp_path / "cache", "trunks/x/trunk.bin", "weights/x.h5")
    shown = dict(line.split(maxsplit=1) for line in tl("cache", "info").stdout.splitlines())
    assert shown["features"].startswith("1 row")
    assert shown["weights"] == shown["networks"] == "4.1 kB"
    assert shown["total"].startswith("16.4 kB")
    assert tl("cache", "clear").returncode == 0
    assert "none yet" in tl("cache", "info").stdout


ENDING = """
import atexit, sys, threading, time
from tl.commands.main import leave
atexit.register(lambda: print("at exit"))
class Late:
    def __del__(self):
        print("deleted")
late = Late()
threading.Thread(target=lambda: (time.sleep(0.5), print("thread")), daemon={daemon}).start()
print("x" * 100_000)
leave(3)
"""


@pytest.mark.parametrize("daemon", [True, False])
def test_process_ends_once_all_is_written(daemon):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(daemon=daemon)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    printed = done.stdout.splitlines()
    assert printed[0] == "x" * 100_000
    assert set(printed[1:]) == ({"at exit"} if daemon else {"at exit", "thread", "deleted"})


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
