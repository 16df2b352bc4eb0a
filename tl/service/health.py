"""`/healthz` and `/readyz`: whether the process is alive, and whether photos are answered now. `/metrics`."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from tl.service.problems import Problem, Responses, documented
from tl.service.security import needs
from tl.service.state import of

router = APIRouter(tags=["operation"])

_FIGURES: Responses = {200: {"content": {"text/plain": {}}, "description": "Prometheus' text form"}}


@router.get("/healthz", summary="Alive?")
async def healthz() -> dict[str, str]:
    """200 while the process answers at all; no key is needed."""
    return {"status": "alive"}


@router.get("/readyz", summary="Ready?", responses=documented())
async def readyz(request: Request) -> dict[str, str]:
    """200 while photos are answered, 503 before the first run is open and from the moment of stopping; no key."""
    shared = of(request)
    if not shared.ready or not shared.models.served:
        raise Problem(503, "no run is served yet" if shared.ready else "starting or stopping")
    return {"status": "ready"}


@router.get(
    "/metrics",
    dependencies=[Depends(needs("predict"))],
    response_class=Response,
    summary="Figures for Prometheus",
    responses=_FIGURES | documented(),
)
async def metrics(request: Request) -> Response:
    """Requests, queue, batch sizes, latencies, the share of unknown photos, and how confidence drifts."""
    shared = of(request)
    shared.metrics.pending.set(shared.pending)
    shared.metrics.losses.set(shared.decoders.losses)
    return Response(shared.metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
