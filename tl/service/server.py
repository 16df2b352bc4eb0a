"""Build the application and run it: routes, middleware, start and stop, `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tl import __version__
from tl.errors import ServiceError, TLError
from tl.service import datasets, jobs, page, predict, problems, runs, store
from tl.service.database import Database
from tl.service.decoding import Decoders
from tl.service.models import Models
from tl.service.monitoring import RequestLog, ServiceMetrics
from tl.service.options import ServeOptions
from tl.service.problems import Problem, Responses, documented
from tl.service.security import BodyLimits, Guard, OriginCheck, SecurityHeaders, needs
from tl.service.state import ServiceState, state_of
from tl.service.worker import Worker

_LOG = logging.getLogger("tl.service")

health = APIRouter(tags=["operation"])
_METRICS: Responses = {200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}}


@health.get("/healthz", summary="Check that the process is alive")
async def healthz() -> dict[str, str]:
    """200 while the process answers at all; needs no key."""
    return {"status": "alive"}


@health.get("/readyz", summary="Check that images are answered", responses=documented())
async def readyz(request: Request) -> dict[str, str]:
    """200 while images are answered; 503 before the first run is open and while stopping. Needs no key."""
    state = state_of(request)
    if not state.ready or not state.models.served:
        raise Problem(503, "no run is served yet" if state.ready else "starting or stopping")
    return {"status": "ready"}


@health.get(
    "/metrics",
    dependencies=[Depends(needs("predict"))],
    response_class=Response,
    summary="Metrics for Prometheus",
    responses=_METRICS | documented(),
)
async def metrics(request: Request) -> Response:
    """Requests, queue, batch sizes, latencies, the fraction of unknown images, and the drift of confidence."""
    state = state_of(request)
    state.metrics.pending.set(state.pending)
    state.metrics.losses.set(state.decoders.losses)
    return Response(state.metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def create_app(options: ServeOptions, database: Database) -> FastAPI:
    """The application; it opens its runs and starts its processes when it starts."""
    metrics = ServiceMetrics()
    app = FastAPI(
        title="tl",
        version=__version__,
        description="Classify images and fine-tune classifiers. Send a key as `Authorization: Bearer …`.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=_lifespan,
        separate_input_output_schemas=False,
    )
    app.state.startup_error = None
    app.state.guard = Guard(database, options)
    app.state.links = page.Links()
    models, decoders = Models(options, database, metrics), Decoders(options.decoders, options.limits)
    app.state.service = ServiceState(options, database, metrics=metrics, models=models, decoders=decoders)
    problems.install(app)
    for router in (predict.router, runs.router, datasets.router, jobs.router, health, page.router):
        app.include_router(router)
    app.add_middleware(BodyLimits, options=options)
    app.add_middleware(OriginCheck, options=options)
    app.add_middleware(SecurityHeaders, secure=options.is_secure)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ServiceState = app.state.service
    worker = watcher = None
    try:
        await asyncio.to_thread(store.tidy, state.database)
        await asyncio.gather(state.decoders.start(), state.models.start())
        if state.options.jobs:
            worker = Worker(state.database, state.options.root, state.options.training)
            worker.start()
        watcher = asyncio.create_task(_watch(state))
        state.ready = True
        yield
    except TLError as error:
        app.state.startup_error = error
        raise
    finally:
        state.ready = False
        if watcher is not None:
            watcher.cancel()
        await state.models.close()
        state.decoders.close()
        if worker is not None:
            await asyncio.to_thread(worker.stop)
        state.database.close()


async def _watch(state: ServiceState) -> None:
    while True:
        await asyncio.sleep(state.options.watch)
        try:
            await state.models.refresh()
        # A folder that others write to can be in any state; the next check may find it complete.
        except Exception:  # noqa: BLE001
            _LOG.exception("checking for newer runs failed")


def run_server(app: FastAPI, options: ServeOptions, on_start: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_start` gets the address once the service listens and its runs are open.

    Raises ServiceError when it cannot listen, and whatever TLError stopped the application from starting.
    """
    config = _config(options, app)
    with _listen(options) as listener:
        host, port = listener.getsockname()[:2]
        address = f"{'https' if options.is_secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        server = _Server(config, app, lambda: on_start(address))
        try:
            server.run(sockets=[listener])
        except SystemExit:  # uvicorn's way to say that the application did not start
            raise app.state.startup_error or ServiceError("the service did not start: see its log") from None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._on_start = app, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state: ServiceState = self._app.state.service
        state.ready = False
        state.stopping.set()  # ends endless streams; requests under way are answered first
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would raise the signal again at exit


def _config(options: ServeOptions, app: FastAPI) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=limited_protocol(options.limits.header_seconds, options.limits.connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=round(options.grace),
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServiceError(
            f"{options.tls_certificate} and {options.tls_key} cannot be used for TLS "
            f"({getattr(error, 'strerror', None) or error}): give a certificate and its key, both PEM"
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _listen(options: ServeOptions) -> socket.socket:
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServiceError(
            f"cannot listen on {options.host}, port {options.port} ({reason}): give another --host or --port"
        ) from error
    listener.setblocking(False)
    return listener


_CLOSE = b"Connection: close\r\nContent-Length: 0\r\n"
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\n" + _CLOSE + b"\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n" + _CLOSE + b"\r\n"


def limited_protocol(header_seconds: float, most: int) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with `header_seconds` for the headers of a request and at most `most` connections."""

    class LimitedProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(_FULL)
                transport.close()
                return
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._start_timer()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop_timer()
            super().on_headers_complete()

        def _start_timer(self) -> None:
            self._stop_timer()
            self._timer = self.loop.call_later(header_seconds, self._time_out)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _time_out(self) -> None:
            transport: Any = self.transport
            if transport is not None and not transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    transport.write(_TIMEOUT)
                transport.close()

    return LimitedProtocol
