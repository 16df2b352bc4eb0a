"""The decoder process: image bytes come in through a socket, pixels go out in memory shared with the server.

Damaged or hostile bytes can only harm this process, which has no key, no secret in its environment, no file, and a
limit on its memory. It ends when its server does.
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

REQUEST = struct.Struct("<IIB")
"""Number of bytes that follow, side in pixels, mode (an index into `MODES`)."""

REPLY = struct.Struct("<IIH")
"""Height and width of the image in shared memory; or 0, 0 and the number of bytes of the error that follows."""

MODES = ("stretch", "crop", "view")
"""The resize rules of `tl.data.images.fit`, and "view": the whole image, with no side longer than requested."""

SLOT = 2048 * 2048 * 3
"""Bytes of the shared memory: the largest image that a network or a view needs."""


def main() -> None:
    """Answer until the server disconnects. Arguments: descriptors of socket and memory, most bytes, most pixels."""
    socket_number, memory_number, max_memory, max_pixels = (int(argument) for argument in sys.argv[1:5])
    images.preload()
    _restrict(max_memory)
    decoding.MAX_PIXELS = min(decoding.MAX_PIXELS, max_pixels)
    slot = np.frombuffer(mmap.mmap(memory_number, SLOT), np.uint8)
    with socket.socket(fileno=socket_number) as server, suppress(ConnectionError):
        server.setblocking(True)
        server.sendall(b"\0")
        while (request := _receive(server, REQUEST.size)) is not None:
            length, side, mode = REQUEST.unpack(request)
            content = _receive(server, length)
            if content is None:
                return
            server.sendall(_reply(content, side, MODES[mode], slot))


def _reply(content: bytes, side: int, mode: str, slot: NDArray[np.uint8]) -> bytes:
    try:
        pixels = _pixels(content, side, mode)
    except (ImageError, MemoryError) as error:
        reason = str(error) if isinstance(error, ImageError) else "too large to decode"
        text = reason.encode("utf-8", "replace")[:400]
        return REPLY.pack(0, 0, len(text)) + text
    slot[: pixels.size] = pixels.reshape(-1)
    return REPLY.pack(pixels.shape[0], pixels.shape[1], 0)


def _pixels(content: bytes, side: int, mode: str) -> NDArray[np.uint8]:
    if mode != "view":
        return images.read_resized(content, side, mode)
    import cv2

    image = images.decode(content, side)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(image)


def _receive(server: socket.socket, length: int) -> bytes | None:
    content = server.recv(length, socket.MSG_WAITALL)
    return content if len(content) == length else None


def _restrict(memory: int) -> None:
    """Limit this process to `memory` bytes beyond what its libraries take, one thread, no files, no core dump."""
    import cv2

    cv2.setNumThreads(1)
    try:
        import resource
    except ImportError:  # not on this system
        return
    limits: dict[Any, int] = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = used + memory
    except OSError:
        limits[resource.RLIMIT_DATA] = memory
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main()
