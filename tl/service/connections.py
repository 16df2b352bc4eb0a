"""A connection that does not send the headers of a request in time is closed, and so is one beyond those allowed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def protocol(header_seconds: float, most: int) -> type[HttpToolsProtocol]:
    """The HTTP protocol of the server, with so many seconds from opening a connection, or from a request's first byte,
    to the end of its headers, and at most so many connections.
    """

    class Timed(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(_FULL)
                transport.close()
                return
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._disarm()
            self._arm()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._disarm()
            super().on_headers_complete()

        def _arm(self) -> None:
            self._timer = self.loop.call_later(header_seconds, self._late)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            transport: Any = self.transport
            if transport is not None and not transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    transport.write(_LATE)
                transport.close()

    return Timed


_CLOSE = b"Connection: close\r\nContent-Length: 0\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\n" + _CLOSE + b"\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n" + _CLOSE + b"\r\n"
