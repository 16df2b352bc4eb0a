"""Decode images in a pool of processes, so that a file that crashes or hangs a decoder costs only itself.

The bytes go to a process through a socket; the pixels come back in shared memory. No thread waits for either.
"""

import asyncio
import logging
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tl.errors import ImageError, ServiceError
from tl.files import child_environment
from tl.service.decoder import MODES, REPLY, REQUEST, SLOT
from tl.service.options import RequestLimits
from tl.text import size as size_text

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")

_START = 60.0  # seconds that a new process has to report that it is ready
_RETRIES = (0.0, 0.5, 2.0, 10.0, 30.0)  # seconds before each attempt to replace a process
_LOG = logging.getLogger("tl.service")


class Decoders:
    """A pool of `count` decoder processes; one that crashes or takes too long is replaced.

    For one event loop: `await start()` first, `close()` at the end.
    """

    def __init__(self, count: int, limits: RequestLimits) -> None:
        self._count, self._limits = count, limits
        self._idle: asyncio.LifoQueue[_Decoder] = asyncio.LifoQueue()  # the one used last has warm caches
        self._alive: set[_Decoder] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.losses = 0

    async def start(self) -> None:
        """Start all processes and wait until they are ready. Raises ServiceError when one is not."""
        await asyncio.gather(*(self._add() for _ in range(self._count)))

    async def decode(self, content: bytes, side: int, mode: str) -> Pixels:
        """An image as RGB `[height, width, 3]`, fitted to `side` pixels by one of `MODES`.

        Raises ImageError with the reason. Cancelling the caller costs no process.
        """
        if not content:
            raise ImageError("empty file")
        if len(content) > self._limits.image:
            raise ImageError(f"larger than {size_text(self._limits.image)}")
        while (decoder := await self._idle.get()).process.poll() is not None:
            self._replace(decoder)  # it died while idle, so no image is to blame
        return await asyncio.shield(self._keep(self._use(decoder, content, side, mode)))

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        for decoder in self._alive:
            decoder.end()
        self._alive.clear()

    async def _use(self, decoder: "_Decoder", content: bytes, side: int, mode: str) -> Pixels:
        try:
            async with asyncio.timeout(self._limits.decode_seconds):
                pixels = await decoder.decode(content, side, MODES.index(mode))
        except ImageError:
            self._idle.put_nowait(decoder)
            raise
        except TimeoutError:
            self._replace(decoder)
            raise ImageError(f"takes longer than {self._limits.decode_seconds:g} s to decode") from None
        except OSError:
            self._replace(decoder)
            raise ImageError("cannot be decoded: it crashed the decoder") from None
        self._idle.put_nowait(decoder)
        return pixels

    def _replace(self, decoder: "_Decoder") -> None:
        self.losses += 1
        self._alive.discard(decoder)
        decoder.end()
        _LOG.warning("replacing a decoder process", extra={"exit_code": decoder.process.returncode})
        self._keep(self._add_with_retries())

    async def _add_with_retries(self) -> None:
        for pause in _RETRIES:
            await asyncio.sleep(pause)
            if self._closed:
                return
            try:
                return await self._add()
            except (ServiceError, OSError) as error:
                _LOG.error(str(error))

    async def _add(self) -> None:
        decoder = await asyncio.to_thread(_Decoder, self._limits)
        try:
            async with asyncio.timeout(_START):
                await decoder.ready()
        except (TimeoutError, OSError) as error:
            decoder.end()
            raise ServiceError("a decoder process does not start: see its output above") from error
        if self._closed:
            decoder.end()
            return
        self._alive.add(decoder)
        self._idle.put_nowait(decoder)

    def _keep(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Run work to its end whatever happens to the caller."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller may have gone


class _Decoder:
    """One process, its socket, and the memory shared with it."""

    def __init__(self, limits: RequestLimits) -> None:
        memory = _shared_memory()
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), memory)
            arguments = [*map(str, descriptors), str(limits.decode_memory), str(limits.pixels)]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tl.service.decoder", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                env=child_environment(inherit=False),
                start_new_session=True,  # Ctrl-C is for the server, which finishes its requests first
            )
        self._slot = np.frombuffer(mmap.mmap(memory, SLOT), np.uint8)
        os.close(memory)
        ours.setblocking(False)
        self._socket = ours

    async def ready(self) -> None:
        await self._receive(1)

    async def decode(self, content: bytes, side: int, mode: int) -> Pixels:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, REQUEST.pack(len(content), side, mode) + content)
        height, width, error_size = REPLY.unpack(await self._receive(REPLY.size))
        if error_size:
            raise ImageError((await self._receive(error_size)).decode("utf-8", "replace"))
        size = height * width * 3
        if not 0 < size <= SLOT:
            raise ConnectionError("the decoder sent an impossible size")
        return self._slot[:size].reshape(height, width, 3).copy()

    def end(self) -> None:
        self._socket.close()
        self.process.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            _LOG.error("a decoder process cannot be killed", extra={"process": self.process.pid})

    async def _receive(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            more = await asyncio.get_running_loop().sock_recv(self._socket, size - len(content))
            if not more:
                raise ConnectionError("the decoder process has ended")
            content += more
        return content


def _shared_memory() -> int:
    """A file descriptor of `SLOT` bytes of memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tl-pixels")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SLOT)
    return descriptor
