"""`/v1/datasets`: the data sets that were uploaded, what is wrong with each, and their removal."""

import shutil
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from tl.errors import BackboneError
from tl.networks.backbones import backbone as find_backbone
from tl.service import dataset_store, job_store
from tl.service.child import PAGE
from tl.service.dataset_store import Stored
from tl.service.job_store import ConflictError
from tl.service.keys import Key
from tl.service.problems import Problem, documented
from tl.service.replies import CheckReply, DatasetReply, DatasetsReply, check_reply, check_state, dataset_reply
from tl.service.security import needs
from tl.service.state import of

train = needs("train")
router = APIRouter(tags=["data sets"], dependencies=[Depends(train)], responses=documented(404, 409))

Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
Trainer = Annotated[Key, Depends(train)]
# Pictures and styles stand in the page itself; a script has no place in it.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


class CheckRequest(BaseModel):
    """Which network's features are compared."""

    model_config = ConfigDict(extra="forbid")

    backbone: str = "resnet50"
    weights: Literal["imagenet", "bsds500", "none"] = "imagenet"


@router.get("/v1/datasets", summary="List the data sets", response_model=DatasetsReply)
def every(request: Request) -> DatasetsReply:
    """All data sets, the newest first."""
    database = of(request).database
    return DatasetsReply(datasets=[dataset_reply(database, stored) for stored in dataset_store.listed(database)])


@router.get("/v1/datasets/{dataset}", summary="One data set", response_model=DatasetReply)
def one(request: Request, dataset: Id) -> DatasetReply:
    """A data set: its classes, how many photos they have, and what is seen at first sight."""
    return dataset_reply(of(request).database, _known(request, dataset))


@router.delete("/v1/datasets/{dataset}", summary="Remove a data set", status_code=204)
def remove(request: Request, dataset: Id) -> Response:
    """Remove a data set and its checks; the runs made of it stay. Refused while a job trains on it."""
    database = of(request).database
    stored = _known(request, dataset)
    try:
        dataset_store.remove(database, stored)
    except ConflictError as error:
        raise Problem(409, str(error)) from error
    for job in job_store.forget(database, dataset):
        shutil.rmtree(job_store.job_folder(database, job), ignore_errors=True)
    return Response(status_code=204)


@router.post("/v1/datasets/{dataset}/check", summary="Check a data set", status_code=202, response_model=CheckReply)
def check_again(request: Request, dataset: Id, key: Trainer, wanted: CheckRequest | None = None) -> JSONResponse:
    """Look for what is wrong with a data set."""
    database = of(request).database
    _known(request, dataset)
    wanted = wanted or CheckRequest()
    try:
        find_backbone(wanted.backbone)
    except BackboneError as error:
        raise Problem(422, str(error)) from error
    if check_state(database, dataset).state in ("queued", "running"):
        raise Problem(409, "this data set is being checked")
    allowed = of(request).options.allowances
    job_store.add(database, "check", dataset, wanted.model_dump(), owner=key.name, most=allowed.waiting)
    return _told(check_reply(database, dataset, 0), dataset)


@router.get(
    "/v1/datasets/{dataset}/check",
    summary="What is wrong with a data set",
    response_model=CheckReply,
    responses={202: {"model": CheckReply}},
)
def check(request: Request, dataset: Id, most: Annotated[int, Query(ge=0, le=10_000)] = 500) -> JSONResponse:
    """What was found, the most pressing first; 202 as long as it is looked for."""
    _known(request, dataset)
    reply = check_reply(of(request).database, dataset, most)
    if reply.state == "none":
        raise Problem(404, f"this data set was not checked: POST /v1/datasets/{dataset}/check")
    return _told(reply, dataset)


@router.get("/v1/datasets/{dataset}/check/page", summary="The same as a page", response_class=FileResponse)
def check_page(request: Request, dataset: Id) -> FileResponse:
    """What was found, as a page with pictures that needs nothing else."""
    database = of(request).database
    _known(request, dataset)
    state = check_state(database, dataset)
    path = job_store.job_folder(database, state.job or "none") / PAGE
    if state.state != "succeeded" or not path.is_file():
        raise Problem(404, "there is no page yet: the data set has not been checked")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})


def _known(request: Request, dataset: str) -> Stored:
    found = dataset_store.get(of(request).database, dataset)
    if found is None:
        raise Problem(404, f"no data set {dataset}: GET /v1/datasets lists them")
    return found


def _told(reply: CheckReply, dataset: str) -> JSONResponse:
    if reply.state in ("queued", "running"):
        headers = {"Retry-After": "2", "Location": f"/v1/datasets/{dataset}/check"}
        return JSONResponse(reply.model_dump(), 202, headers)
    return JSONResponse(reply.model_dump())
