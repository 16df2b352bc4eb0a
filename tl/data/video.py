"""A video becomes every n-th of its frames, decoded in a process of its own that may crash without harm."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl.data import video_frames as frames
from tl.data.decoding import MAX_PIXELS
from tl.data.images import UnreadableImage
from tl.errors import ImageError

if TYPE_CHECKING:
    from subprocess import Popen

SECONDS = 60
"""How long a decoder may be at one frame."""

_HEAD = 64
# FFmpeg also reads lists of further files and addresses, whatever they are called: only what is video itself is let in.
_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


Frame = NDArray[np.uint8] | UnreadableImage


def read_video(path: Path, every: int, at_least: int) -> Iterator[tuple[str, Frame]]:
    """Every `every`-th frame of a video with its name, `clip.mp4#frame=120`; one that cannot be read has its reason.

    Frames are RGB `[height, width, 3]`, shrunk by whole numbers as long as no side falls below `at_least` pixels.
    """
    try:
        _check(path)
    except ImageError as error:
        yield str(path), UnreadableImage(str(error))
        return
    import subprocess

    numbers = map(str, (every, at_least, MAX_PIXELS, SECONDS))
    command = [sys.executable, "-P", frames.__file__, os.path.join(os.getcwd(), path), *numbers]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            if process.stdout is not None:
                yield from _named(str(path), process.stdout, process)
        finally:
            with suppress(OSError):
                process.kill()


def _check(path: Path) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("not a file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ImageError(f"cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except ValueError:
        raise ImageError("cannot be read: not a file name") from None
    if not head:
        raise ImageError("empty file")
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if not (head.startswith(_STARTS) or head[4:8] in _BOXES or riff or (head[0] == 0x47 and _is_stream(path))):
        raise ImageError("not a video (MP4, MOV, AVI, MKV, WebM, MPEG, WMV and FLV are read)")
    if str(path).encode("utf-8", "replace").decode() != str(path):
        raise ImageError("its name is no UTF-8, which the decoder of videos needs: rename it")


def _is_stream(path: Path) -> bool:
    with path.open("rb") as file:
        packets = file.read(4 * 188)
    return len(packets) == 4 * 188 and all(packets[at] == 0x47 for at in range(0, len(packets), 188))


def _named(name: str, output: IO[bytes], process: "Popen[bytes]") -> Iterator[tuple[str, Frame]]:
    while True:
        word, *rest = output.readline(200).decode("ascii", "replace").split() or [""]
        if word == "end":
            return
        if word == "error":
            yield name, UnreadableImage(" ".join(rest))
            return
        if word != "frame":
            yield name, UnreadableImage(_broken_off(process))
            return
        number, height, width = map(int, rest)
        pixels = output.read(height * width * 3)
        if len(pixels) < height * width * 3:
            yield name, UnreadableImage(_broken_off(process))
            return
        yield f"{name}#frame={number}", np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _broken_off(process: "Popen[bytes]") -> str:
    process.kill()  # it may still run, and write what is no frame
    if hasattr(signal, "SIGALRM") and process.wait() == -signal.SIGALRM:
        return f"damaged video: its decoder was at one frame for {SECONDS} seconds"
    return "damaged video: its decoder crashed"
