"""Read every n-th frame of a video, in a process of its own: parsers of video crash on some files.

This file is also that process's program, which runs without `tl`; hence imports of `tl` stand inside functions.

    python video.py VIDEO EVERY MIN_SIDE MAX_PIXELS SECONDS

It writes to standard output, for each frame, a line `frame NUMBER MILLISECONDS HEIGHT WIDTH` and the RGB bytes; the
last line is `end` or `error REASON`. A decoder that works at one frame for longer than SECONDS is ended by SIGALRM,
where the system has it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from subprocess import Popen

    from tl.data.images import UnreadableImage, VideoFrame

Frame: TypeAlias = "VideoFrame | UnreadableImage"

SECONDS = 60  # how long a decoder may work at one frame

# FFmpeg also reads lists of further files and addresses, whatever they are called: only what is video itself is let in.
_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_MEMORY = 8 << 30  # bytes of address space, of which the decoder's threads take most and use few


def read_video(path: Path, every: int, min_side: int) -> Iterator[tuple[str, Frame]]:
    """Read every `every`-th frame of a video with its name, `clip.mp4#frame=120`; one that cannot be read has a reason.

    Frames are RGB `[height, width, 3]`, shrunk by whole numbers while no side falls below `min_side` pixels.
    """
    import subprocess

    from tl.data.decoding import MAX_PIXELS
    from tl.data.images import UnreadableImage
    from tl.errors import ImageError

    try:
        _check(path)
    except ImageError as error:
        yield str(path), UnreadableImage(str(error))
        return
    numbers = map(str, (every, min_side, MAX_PIXELS, SECONDS))
    command = [sys.executable, "-P", __file__, os.path.join(os.getcwd(), path), *numbers]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            if process.stdout is not None:
                yield from _receive(str(path), process.stdout, process)
        finally:
            with suppress(OSError):
                process.kill()


def _check(path: Path) -> None:
    from tl.data.images import open_regular
    from tl.errors import ImageError

    with open_regular(path) as file:
        head = file.read(4 * 188)
    if not head:
        raise ImageError("empty file")
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    stream = len(head) == 4 * 188 and all(head[at] == 0x47 for at in range(0, len(head), 188))  # MPEG transport stream
    if not (head.startswith(_STARTS) or head[4:8] in _BOXES or riff or stream):
        raise ImageError("not a video (MP4, MOV, AVI, MKV, WebM, MPEG, WMV and FLV are read)")
    if str(path).encode("utf-8", "replace").decode() != str(path):
        raise ImageError("its name is not UTF-8, which the video decoder needs: rename it")


def _receive(name: str, output: IO[bytes], process: "Popen[bytes]") -> Iterator[tuple[str, Frame]]:
    import numpy as np

    from tl.data.images import UnreadableImage, VideoFrame

    while True:
        word, *rest = output.readline(200).decode("ascii", "replace").split() or [""]
        if word == "end":
            return
        if word == "error":
            yield name, UnreadableImage(" ".join(rest))
            return
        number, milliseconds, height, width = map(int, rest) if word == "frame" else (0, 0, 0, 0)
        pixels = output.read(height * width * 3)
        if word != "frame" or len(pixels) < height * width * 3:
            yield name, UnreadableImage(_crash(process))
            return
        frame = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        yield f"{name}#frame={number}", VideoFrame(frame, milliseconds / 1000)


def _crash(process: "Popen[bytes]") -> str:
    process.kill()  # it may still run, and write what is no frame
    if hasattr(signal, "SIGALRM") and process.wait() == -signal.SIGALRM:
        return f"damaged video: its decoder was at one frame for {SECONDS} seconds"
    return "damaged video: its decoder crashed"


def main() -> None:
    """Write the frames of the video that the command line names."""
    out = sys.stdout.buffer
    try:
        if sys.platform != "win32":
            _limit_memory()
        _write_frames(out, sys.argv[1], *map(int, sys.argv[2:6]))
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest
    except (MemoryError, ValueError) as error:
        out.write(f"error {type(error).__name__}\n".encode())
    out.flush()


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was inherited


def _alarm(seconds: int) -> None:
    """End this process in so many seconds, whatever code it is in then; 0: do not."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _write_frames(out: BinaryIO, path: str, every: int, min_side: int, max_pixels: int, seconds: int) -> None:
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    import cv2

    _alarm(seconds)
    # FFmpeg alone: others of OpenCV's readers take a file's name for a pattern, or for a device.
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    width, height = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if not video.isOpened() or width < 1 or height < 1:
        out.write(b"error damaged video\n")
        return
    if width * height > max_pixels:
        out.write(f"error too large: frames of {width} x {height} pixels\n".encode())
        return
    count = 0
    while video.grab():
        if count % every == 0:
            decoded, frame = video.retrieve()
            if not decoded or frame.ndim != 3:
                break
            _alarm(0)  # the reader may take its time
            frame, milliseconds = _shrunk(frame, min_side), round(max(0.0, video.get(cv2.CAP_PROP_POS_MSEC)))
            out.write(f"frame {count} {milliseconds} {frame.shape[0]} {frame.shape[1]}\n".encode() + frame.tobytes())
        count += 1
        _alarm(seconds)
    _alarm(0)
    expected = video.get(cv2.CAP_PROP_FRAME_COUNT)
    if count == 0:
        out.write(b"error no frame can be read\n")
    elif 0.9 * expected > count:  # it is an estimate for some kinds of file
        out.write(f"error damaged video: ends after {count} of {expected:.0f} frames\n".encode())
    else:
        out.write(b"end\n")


def _shrunk(frame: Any, min_side: int) -> Any:
    import cv2

    height, width = frame.shape[:2]
    factor = max(1, min(height, width) // max(1, min_side))
    if factor > 1:
        frame = cv2.resize(frame, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    main()
