"""A process of its own: bytes of images come in by a socket, pixels go out in memory shared with the server.

Whatever damaged or hostile bytes do to a decoder they do to this process, which holds no key, no environment, no file,
and no more memory than it is given. It ends when its server does.
"""

import mmap
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl.data import decoding, images
from tl.errors import ImageError

ASKED = struct.Struct("<IIB")
"""Bytes that follow, side in pixels, way (an index into `WAYS`)."""

TOLD = struct.Struct("<IIH")
"""Height and width of what lies in the shared memory, or 0, 0 and the bytes of the reason that follows."""

WAYS = ("stretch", "crop", "view")
"""The rules of `tl.data.images.fit`, and "view": the whole image as it is, no side beyond the one asked for."""

SLOT = 2048 * 2048 * 3
"""Bytes of the shared memory: the largest image that a network or a view can ask for."""

_WORDS = 400  # bytes of a reason


def main() -> None:
    """Answer until the server hangs up; the arguments are two file descriptors, bytes and pixels."""
    socket_number, memory_number, most_memory, most_pixels = (int(argument) for argument in sys.argv[1:5])
    images.preload()
    _restrict(most_memory)
    decoding.MAX_PIXELS = min(decoding.MAX_PIXELS, most_pixels)
    slot = np.frombuffer(mmap.mmap(memory_number, SLOT), np.uint8)
    with socket.socket(fileno=socket_number) as server, suppress(ConnectionError):  # the server has gone
        server.setblocking(True)
        server.sendall(b"\0")
        while (asked := _received(server, ASKED.size)) is not None:
            length, side, way = ASKED.unpack(asked)
            content = _received(server, length)
            if content is None:
                return
            server.sendall(_answer(content, side, WAYS[way], slot))


def _answer(content: bytes, side: int, way: str, slot: NDArray[np.uint8]) -> bytes:
    try:
        pixels = _pixels(content, side, way)
    except ImageError as error:
        return _refused(str(error))
    except MemoryError:
        return _refused("too large to decode")
    slot[: pixels.size] = pixels.reshape(-1)
    return TOLD.pack(pixels.shape[0], pixels.shape[1], 0)


def _refused(reason: str) -> bytes:
    words = reason.encode("utf-8", "replace")[:_WORDS]
    return TOLD.pack(0, 0, len(words)) + words


def _pixels(content: bytes, side: int, way: str) -> NDArray[np.uint8]:
    image = images.decode(content, side)
    if way != "view":
        return images.fit(image, side, way)
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        within = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, within, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(image)


def _received(server: socket.socket, length: int) -> bytes | None:
    content = bytearray(length)
    view, have = memoryview(content), 0
    while have < length:
        more = server.recv_into(view[have:])
        if not more:
            return None
        have += more
    return bytes(content)


def _restrict(memory: int) -> None:
    """No more than so many bytes beyond what the libraries take, one thread, no files written, no core dump."""
    import cv2

    cv2.setNumThreads(1)
    try:
        import resource
    except ImportError:  # not on this system
        return
    limits: dict[Any, int] = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            taken = int(statm.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = taken + memory
    except OSError:
        limits[resource.RLIMIT_DATA] = memory
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
