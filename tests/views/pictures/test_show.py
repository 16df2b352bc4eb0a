"""A picture is shown in a terminal or a viewer, or its path is printed."""

import base64
import io
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tl.views.pictures.show import IN_TERMINAL, IN_VIEWER, show

shell_only = pytest.mark.skipif(sys.platform == "win32", reason="the viewer is a shell script")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grid of 그림.png"
    Image.effect_noise((600, 200), 90).save(path)  # noise does not compress: more than one kitty chunk
    return path


@pytest.mark.parametrize(
    "env", [{"TERM": "xterm-kitty"}, {"TERM": "xterm", "KITTY_WINDOW_ID": "1"}, {"TERM": "xterm-ghostty"}]
)
def test_show_sends_kitty_the_file_in_chunks(picture, env):
    stream = Terminal()
    assert show(picture, stream, env, "linux") == IN_TERMINAL
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", stream.getvalue())
    assert len(chunks) > 2
    assert chunks[0][0].startswith("a=T,f=100")
    assert [chunk[0][-3:] for chunk in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    assert all(len(chunk[1]) <= 4096 for chunk in chunks)
    assert base64.b64decode("".join(chunk[1] for chunk in chunks)) == picture.read_bytes()


@pytest.mark.parametrize("program", ["iTerm.app", "WezTerm", "vscode"])
def test_show_sends_iterm_the_file_inline(picture, program):
    stream = Terminal()
    assert show(picture, stream, {"TERM": "xterm-256color", "TERM_PROGRAM": program}, "linux") == IN_TERMINAL
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);[^:]*:(.*)\x07\n", stream.getvalue())
    assert int(found[1]) == picture.stat().st_size
    assert base64.b64decode(found[2]) == picture.read_bytes()


def test_show_reduces_a_picture_to_the_terminal(picture):
    narrow, wide = Terminal(), Terminal()
    show(picture, narrow, {"TERM": "xterm-kitty", "COLUMNS": "40"}, "linux")
    show(picture, wide, {"TERM": "xterm-kitty", "COLUMNS": "400"}, "linux")
    assert ",c=40," in narrow.getvalue()
    assert ",c=67," in wide.getvalue()  # 600 pixels in cells of 9


@pytest.mark.parametrize(("stream", "env", "system"), [
    (io.StringIO(), {"TERM": "xterm-kitty"}, "linux"),  # output goes to a file or a pipe
    (Terminal(), {"TERM": "xterm-256color"}, "linux"),
    (Terminal(), {"TERM": "xterm-kitty", "TMUX": "socket,1,0"}, "linux"),
    (Terminal(), {"TERM": "screen", "KITTY_WINDOW_ID": "1"}, "linux"),
    (Terminal(), {"TERM": "xterm", "DISPLAY": ":0", "PATH": "/nowhere"}, "linux"),  # a display but no opener
    (Terminal(), {}, "linux"),
    (io.StringIO(), {"SSH_CONNECTION": "1 2 3 4", "PATH": "/nowhere"}, "darwin"),
])  # fmt: skip
def test_show_without_window_names_the_path(picture, stream, env, system):
    assert show(picture, stream, env, system) == f"no window here: open {picture}"
    assert stream.getvalue() == ""


def _opener(folder: Path, name: str, then: str = "") -> dict[str, str]:
    """Write a viewer that records the path it opens as `seen`; returns the environment that finds it."""
    folder.mkdir()
    (folder / name).write_text(
        f'#!/bin/sh\nprintf "%s" "$1" > "{folder}/part"\nmv "{folder}/part" "{folder}/seen"\n{then}'
    )
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@shell_only
@pytest.mark.parametrize(("system", "name", "env"), [
    ("linux", "xdg-open", {"DISPLAY": ":0"}),
    ("linux", "xdg-open", {"WAYLAND_DISPLAY": "w"}),
    ("linux", "xdg-open", {"DISPLAY": ":0", "TERM_PROGRAM": "vscode"}),  # rather than in its terminal
    ("darwin", "open", {}),
])  # fmt: skip
def test_show_opens_the_absolute_path_in_the_viewer(picture, tmp_path, system, name, env):
    stream = Terminal() if "TERM_PROGRAM" in env else io.StringIO()
    assert show(picture, stream, env | _opener(tmp_path / "bin", name), system) == IN_VIEWER
    assert (tmp_path / "bin" / "seen").read_text() == str(picture.resolve())
    assert stream.getvalue() == ""


@shell_only
def test_show_does_not_wait_for_the_viewer_but_reports_its_failure(picture, tmp_path):
    waits = _opener(tmp_path / "waits", "xdg-open", f'sleep 9\ntouch "{tmp_path}/ended"')
    assert show(picture, io.StringIO(), {"DISPLAY": ":0"} | waits, "linux") == IN_VIEWER
    assert not (tmp_path / "ended").exists()
    fails = _opener(tmp_path / "fails", "xdg-open", "exit 3")
    assert show(picture, io.StringIO(), {"DISPLAY": ":0"} | fails, "linux") == f"no window here: open {picture}"


def test_show_raises_for_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        show(tmp_path / "none.png", io.StringIO(), {}, "linux")
