"""Options become a server that listens, answers until it is told to stop, finishes what it was at, and leaves."""

import shlex
import socket
import ssl
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from tl.errors import ServiceError, UsageError
from tl.service.app import create
from tl.service.connections import protocol
from tl.service.database import Database
from tl.service.keys import listed
from tl.service.logs import configure
from tl.service.options import Options
from tl.service.state import Shared

_KEEP_ALIVE = 20  # seconds for which an idle connection is kept
_BACKLOG = 512


def serve(options: Options, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `started` is told the address once it listens and the runs are open.

    Raises UsageError where other machines could reach it without a key, ServiceError when it cannot listen, RunError
    for a run that cannot be opened.
    """
    database = Database(options.state)
    if not options.local and not any(key.revoked is None for key in listed(database)):
        raise UsageError(
            f"--host {options.host}: other machines could use the service without a key; make one first with "
            f"`tl keys add NAME --role predict --state {shlex.quote(str(options.state))}`, or leave --host out"
        )
    configure()
    _one_thread_each()
    app = create(options, database)
    config = _config(options, app)
    with _listening(options) as listener:
        server = _Server(config, app, lambda: started(_address(listener, options)))
        try:
            server.run(sockets=[listener])
        except SystemExit:  # it has not come up; uvicorn would leave the process with this
            raise app.state.fault or ServiceError("the service did not start: see its log") from None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._started = app, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        shared: Shared = self._app.state.shared
        shared.ready = False
        shared.stopping.set()  # what would go on for ever ends now; what was asked is answered first
        await super().shutdown(sockets)
        self._captured_signals.clear()  # else the signal would be raised again, and a good end look like a bad one


def _one_thread_each() -> None:
    """Let numpy compute in the thread that asks: its own threads would wait in loops beside the engine's."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


def _config(options: Options, app: FastAPI) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=protocol(options.limits.header_seconds, options.limits.connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=round(options.grace),
        ssl_certfile=options.certificate,
        ssl_keyfile=options.private_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServiceError(
            f"{options.certificate} and {options.private_key} cannot be used for TLS "
            f"({getattr(error, 'strerror', None) or error}): give a certificate and its key, both PEM"
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _listening(options: Options) -> socket.socket:
    where = f"{options.host}, port {options.port}"
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceError(f"cannot listen on {where} ({reason}): give another --host or --port") from error
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket, options: Options) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if options.secure else 'http'}://{shown}:{port}"
