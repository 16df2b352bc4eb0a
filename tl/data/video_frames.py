"""A video becomes its frames on standard output: run as a process of its own, for parsers of video crash on some files.

python frames.py VIDEO EVERY AT_LEAST MOST_PIXELS SECONDS

Each frame is a line `frame NUMBER HEIGHT WIDTH` and its RGB bytes; a line `error REASON` or `end` is the last. Frames
are shrunk by whole numbers, as long as no side falls below AT_LEAST pixels. A decoder that is at one frame for longer
than SECONDS is ended by SIGALRM, where the system has it.
"""

import os
import signal
import sys
from typing import Any, BinaryIO

_MEMORY = 8 << 30  # bytes of addresses, of which the decoder's threads take most and use few


def main() -> None:
    """Write the frames of the video that the command line names."""
    out = sys.stdout.buffer
    try:
        _limit()
        _write(out, sys.argv[1], *map(int, sys.argv[2:6]))
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest
    except (MemoryError, ValueError) as error:
        out.write(f"error {type(error).__name__}\n".encode())
    out.flush()


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was inherited


def _alarm(seconds: int) -> None:
    """End this process in so many seconds, whatever code it is in then; 0: do not."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _write(out: BinaryIO, path: str, every: int, at_least: int, most_pixels: int, seconds: int) -> None:
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    import cv2

    _alarm(seconds)
    # FFmpeg alone: others of OpenCV's readers take a file's name for a pattern, or for a device.
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    width, height = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if not video.isOpened() or width < 1 or height < 1:
        out.write(b"error damaged video\n")
        return
    if width * height > most_pixels:
        out.write(f"error too large: frames of {width} x {height} pixels\n".encode())
        return
    count = 0
    while video.grab():
        if count % every == 0:
            found, frame = video.retrieve()
            if not found or frame.ndim != 3:
                break
            _alarm(0)  # whoever reads may take his time
            _put(out, count, _shrunk(frame, at_least))
        count += 1
        _alarm(seconds)
    _alarm(0)
    promised = video.get(cv2.CAP_PROP_FRAME_COUNT)
    if count == 0:
        out.write(b"error no frame can be read\n")
    elif 0.9 * promised > count:  # it is an estimate for some kinds of file
        out.write(f"error damaged video: ends after {count} of {promised:.0f} frames\n".encode())
    else:
        out.write(b"end\n")


def _shrunk(frame: Any, at_least: int) -> Any:
    import cv2

    height, width = frame.shape[:2]
    factor = max(1, min(height, width) // max(1, at_least))
    if factor > 1:
        frame = cv2.resize(frame, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _put(out: BinaryIO, number: int, frame: Any) -> None:
    out.write(f"frame {number} {frame.shape[0]} {frame.shape[1]}\n".encode() + frame.tobytes())


if __name__ == "__main__":
    main()
