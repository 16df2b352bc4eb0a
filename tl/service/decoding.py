"""Bytes that anybody may have sent become pixels, in a few processes; one that crashes or hangs costs one image.

The bytes go to a process by a socket, the pixels come back in memory that both share; no thread waits for either.
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
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tl.errors import ImageError, ServiceError
from tl.service.decoder import ASKED, SLOT, TOLD, WAYS
from tl.service.options import Limits

Pixels = NDArray[np.uint8]
Done = TypeVar("Done")

_START = 60.0  # seconds in which a new process must say that it is there
_LOG = logging.getLogger("tl.service")


class Decoders:
    """A pool of `count` decoding processes; one that crashes or takes too long is replaced.

    For one event loop: `await start()` first, `close()` at the end.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        self._count, self._limits = count, limits
        self._idle: asyncio.LifoQueue[_Decoder] = asyncio.LifoQueue()  # the one used last has warm caches
        self._alive: set[_Decoder] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.losses = 0

    @property
    def processes(self) -> list[int]:
        """The ids of the processes."""
        return [one.process.pid for one in self._alive]

    async def start(self) -> None:
        """Start all processes, and wait for them. Raises ServiceError when they do not come."""
        await asyncio.gather(*(self._add() for _ in range(self._count)))

    async def decode(self, content: bytes, side: int, way: str) -> Pixels:
        """An image as RGB `[height, width, 3]`: fitted to `side` by the rule `way`, or by "view", no side beyond it.

        Raises ImageError with the reason. A caller that is cancelled loses nobody else a process.
        """
        if not content:
            raise ImageError("empty file")
        if len(content) > self._limits.image:
            raise ImageError(f"larger than {self._limits.image >> 20} MB")
        decoder = await self._free()
        return await asyncio.shield(self._kept(self._use(decoder, content, side, way)))

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        for decoder in self._alive:
            decoder.end()
        self._alive.clear()

    async def _free(self) -> "_Decoder":
        while (decoder := await self._idle.get()).process.poll() is not None:
            self._replace(decoder)  # it died while nobody used it, so no image is to blame
        return decoder

    async def _use(self, decoder: "_Decoder", content: bytes, side: int, way: str) -> Pixels:
        try:
            async with asyncio.timeout(self._limits.decode_seconds):
                pixels = await decoder.decode(content, side, WAYS.index(way))
        except ImageError:
            self._idle.put_nowait(decoder)
            raise
        except TimeoutError:
            self._replace(decoder)
            raise ImageError(f"takes longer than {self._limits.decode_seconds:g} s to decode") from None
        except OSError:
            self._replace(decoder)
            raise ImageError("cannot be decoded: it ended the process that tried") from None
        self._idle.put_nowait(decoder)
        return pixels

    def _replace(self, decoder: "_Decoder") -> None:
        self.losses += 1
        self._alive.discard(decoder)
        decoder.end()
        _LOG.warning("a decoding process is replaced", extra={"exit_code": decoder.process.returncode})
        self._kept(self._heal())

    async def _heal(self) -> None:
        for pause in (0.0, 0.5, 2.0, 10.0, 30.0):
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
            raise ServiceError("a decoding process does not start: see what it wrote above") from error
        if self._closed:
            decoder.end()
            return
        self._alive.add(decoder)
        self._idle.put_nowait(decoder)

    def _kept(self, work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # has been told to whoever waited, who may have gone meanwhile


class _Decoder:
    """One process, its socket, and the memory shared with it."""

    def __init__(self, limits: Limits) -> None:
        file = _memory()
        ours, theirs = socket.socketpair()
        with theirs:
            numbers = (theirs.fileno(), file)
            given = [*map(str, numbers), str(limits.decode_memory), str(limits.pixels)]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tl.service.decoder", *given],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the server, which lets its requests finish first
            )
        self._slot = np.frombuffer(mmap.mmap(file, SLOT), np.uint8)
        os.close(file)
        ours.setblocking(False)
        self._socket = ours

    async def ready(self) -> None:
        await self._receive(1)

    async def decode(self, content: bytes, side: int, way: int) -> Pixels:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, ASKED.pack(len(content), side, way) + content)
        height, width, words = TOLD.unpack(await self._receive(TOLD.size))
        if words:
            raise ImageError((await self._receive(words)).decode("utf-8", "replace"))
        size = height * width * 3
        if not 0 < size <= SLOT:
            raise ConnectionError("the process says what cannot be")
        return self._slot[:size].reshape(height, width, 3).copy()

    def end(self) -> None:
        self._socket.close()
        self.process.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            _LOG.error("a decoding process cannot be ended", extra={"process": self.process.pid})

    async def _receive(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            more = await asyncio.get_running_loop().sock_recv(self._socket, size - len(content))
            if not more:
                raise ConnectionError("the process has ended")
            content += more
        return content


def _memory() -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("tl-pixels")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.ftruncate(file, SLOT)
    return file


def _environment() -> dict[str, str]:
    """What Python needs to find the same modules, and nothing else: no secrets of the server."""
    root = str(Path(__file__).resolve().parents[2])
    wanted = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL", "HOME", "TMPDIR")
    given = {name: os.environ[name] for name in wanted if name in os.environ}
    return given | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH", "")])])}
