"""Options become the application: its routes, what guards them, and what runs beside them as long as it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from tl import __version__
from tl.errors import TLError
from tl.service import datasets, explain, health, jobs, predict, problems, runs, uploads
from tl.service.database import Database
from tl.service.decoding import Decoders
from tl.service.logs import Requests
from tl.service.metrics import Metrics
from tl.service.middleware import BodyLimits, Headers, Origins
from tl.service.models import Models
from tl.service.options import Options
from tl.service.page import routes
from tl.service.security import Guard
from tl.service.state import Shared
from tl.service.supervision import WorkerHandle

_LOG = logging.getLogger("tl.service")
_ABOUT = "Photos become labels; uploaded data sets become classifiers. Keys are sent as `Authorization: Bearer …`."


def create(options: Options, database: Database) -> FastAPI:
    """The application of a service, which opens its runs and starts its processes when it is started."""
    metrics = Metrics()
    app = FastAPI(
        title="tl",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # their pages would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=_lifespan(options),
        separate_input_output_schemas=False,
    )
    app.state.fault = None
    app.state.guard = Guard(database, options.limits)
    app.state.shared = Shared(
        options, database, metrics, Models(options, database, metrics), Decoders(options.decoders, options.limits)
    )
    problems.install(app)
    for part in (predict, explain, runs, uploads, datasets, jobs, health, routes):
        app.include_router(part.router)
    app.include_router(jobs.events_router)
    app.add_middleware(BodyLimits, options=options)
    app.add_middleware(Origins, options=options)
    app.add_middleware(Headers, secure=options.secure)
    app.add_middleware(Requests, metrics=metrics)
    return app


def _lifespan(options: Options) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shared: Shared = app.state.shared
        worker = None
        watching = None
        try:
            await asyncio.gather(shared.decoders.start(), shared.models.start())
            if options.workers:
                worker = await asyncio.to_thread(WorkerHandle, options.state, options.root, options.allowances)
            watching = asyncio.create_task(_watch(shared))
            shared.ready = True
            yield
        except TLError as error:
            app.state.fault = error
            raise
        finally:
            shared.ready = False
            if watching is not None:
                watching.cancel()
            await shared.models.close()
            shared.decoders.close()
            if worker is not None:
                await asyncio.to_thread(worker.stop)
            shared.database.close()

    return lifespan


async def _watch(shared: Shared) -> None:
    """Look for newer runs, until cancelled."""
    while True:
        await asyncio.sleep(shared.options.watch)
        try:
            await shared.models.renew()
        # A folder that others write into can be in any state; the next look may find it whole.
        except Exception:  # noqa: BLE001
            _LOG.exception("looking for newer runs failed")
