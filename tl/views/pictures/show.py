"""Write a picture as a PNG file, and show it in the terminal or the desktop's image viewer."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TextIO

from tl.data.listing import PNG_MARK
from tl.errors import UsageError
from tl.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

IN_TERMINAL = "shown in the terminal"
IN_VIEWER = "opened in the image viewer"

KITTY_CHUNK = 4096  # bytes of base64 in one escape sequence: https://sw.kovidgoyal.net/kitty/graphics-protocol/
CELL_PIXELS = 9  # about the width of a character cell; a wider picture is reduced to the terminal
VIEWER_SECONDS = 1.5  # an opener that fails does so within this time


def check_png_name(target: Path) -> None:
    """Raises UsageError for a file name that does not end in .png."""
    if target.suffix.lower() != ".png":
        raise UsageError(f"--out {str(target)!r}: only PNG files are written: give a name that ends in .png")


def save_png(image: "Image", target: Path) -> None:
    """Write a PNG file, whole or not at all. Raises StorageError, or UsageError for a name that cannot be a PNG."""
    check_png_name(target)
    target = target.resolve()
    if target.exists() and not target.is_file():
        raise UsageError(f"--out {str(target)!r} is not a file: give the name of a PNG file, new or to be replaced")
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(*PNG_MARK)
    with atomic_write(target, hint="give another --out") as scratch:
        # A fifth larger than with the default, and four times as fast.
        image.save(scratch, "PNG", pnginfo=mark, compress_level=1)


def show(
    path: Path, stream: TextIO | None = None, env: Mapping[str, str] | None = None, system: str = sys.platform
) -> str:
    """Show a PNG file, and return a short phrase that says how.

    `stream` is the terminal (default: standard output), `env` the environment (default: that of the process), `system`
    a value of `sys.platform`. Raises OSError if the file cannot be read.
    """
    stream = sys.stdout if stream is None else stream
    env = os.environ if env is None else env
    picture = path.read_bytes()
    desktop = bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))
    if system in ("darwin", "win32"):
        desktop = "SSH_CONNECTION" not in env  # the desktop is on that machine, the user is elsewhere
    protocol = _protocol(env, desktop) if stream.isatty() else ""
    if protocol:
        stream.write(_kitty(picture, env) if protocol == "kitty" else _iterm(picture, env))
        stream.flush()
        return IN_TERMINAL
    if desktop and _open(path.resolve(), env, system):
        return IN_VIEWER
    return f"no window here: open {path}"


def _protocol(env: Mapping[str, str], desktop: bool) -> str:
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if "TMUX" in env or term.startswith(("screen", "tmux")):
        return ""  # a multiplexer does not pass pictures on to its terminal
    if "kitty" in term or "KITTY_WINDOW_ID" in env or "ghostty" in term or program == "ghostty":
        return "kitty"
    # Visual Studio Code needs the setting terminal.integrated.enableImages to show pictures: the viewer is safer
    return "iterm" if program in ("iTerm.app", "WezTerm") or (program == "vscode" and not desktop) else ""


def _kitty(picture: bytes, env: Mapping[str, str]) -> str:
    text = base64.b64encode(picture).decode("ascii")
    chunks = [text[start : start + KITTY_CHUNK] for start in range(0, len(text), KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        first = f"a=T,f=100,q=2,c={_cells(picture, env)}," if number == 0 else ""
        parts.append(f"\x1b_G{first}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts) + "\n"


def _iterm(picture: bytes, env: Mapping[str, str]) -> str:
    text = base64.b64encode(picture).decode("ascii")
    return (
        f"\x1b]1337;File=inline=1;size={len(picture)};width={_cells(picture, env)};preserveAspectRatio=1:{text}\x07\n"
    )


def _cells(picture: bytes, env: Mapping[str, str]) -> int:
    across = int.from_bytes(picture[16:20], "big")  # the width in a PNG's header
    columns = env.get("COLUMNS", "")
    limit = int(columns) if columns.isdecimal() else shutil.get_terminal_size().columns
    return max(1, min(limit, -(-across // CELL_PIXELS)))


def _open(path: Path, env: Mapping[str, str], system: str) -> bool:
    if sys.platform == "win32" and system == "win32":
        os.startfile(path)  # noqa: S606 - the user's picture in the program chosen for pictures
        return True
    opener = shutil.which("open" if system == "darwin" else "xdg-open", path=env.get("PATH"))
    if opener is None:
        return False
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [opener, str(path)], env=dict(env), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return process.wait(VIEWER_SECONDS) == 0
    except subprocess.TimeoutExpired:  # some openers run until the viewer is closed
        Thread(target=process.wait, daemon=True).start()
        return True
