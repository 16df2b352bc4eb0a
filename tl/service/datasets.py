"""`/v1/datasets`: upload data sets as archives, list, check, clean and remove them."""

import json
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.formparsers import MultiPartException, MultiPartParser

from tl.errors import BackboneError, StorageError, UsageError
from tl.networks.backbones import backbone as find_backbone
from tl.options import check, json_schema, typed
from tl.service import store
from tl.service.archives import unpack
from tl.service.database import Database
from tl.service.job_process import EVENTS, FINDINGS, PAGE, last_event
from tl.service.keys import Key
from tl.service.options import TrainingLimits
from tl.service.problems import BINARY, Problem, documented, file_body
from tl.service.security import needs
from tl.service.state import ServiceState, state_of
from tl.service.store import ConflictError, StoredDataset
from tl.text import shorten
from tl.workflows.data_check import CheckOptions
from tl.workflows.data_fix import FixOptions

train = needs("train")
router = APIRouter(tags=["data sets"], dependencies=[Depends(train)], responses=documented(404, 409, 507))

Id = Annotated[str, InPath(pattern="^[0-9a-f]{16}$")]
Trainer = Annotated[Key, Depends(train)]
_MAX_JSON = 1 << 26  # bytes of a file that is read whole
_MAX_FIELD, _MAX_FIELDS = 4096, 16  # bytes, and number in a form
_WEIGHTS = ("imagenet", "bsds500", "none")  # not a file of the server
_LOCAL = ("out", "page", "group_by", "val", "seed", "download", "offline")
_ENDINGS = (".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar")
# The page contains its pictures and styles, and no script.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"

_BODY = file_body(
    "A zip or tar (.gz, .bz2, .xz) with one folder per class: the body, or a form's `file`.",
    *("application/zip", "application/x-tar", "application/octet-stream"),
    file=BINARY,
    name={"type": "string"},
)


def options_schema(options: type, *, leave_out: tuple[str, ...]) -> dict[str, Any]:
    """The JSON schema of a workflow's options for clients, who may not name files of the server."""
    schema = json_schema(options, leave_out=leave_out)
    schema["properties"]["weights"]["enum"] = list(_WEIGHTS)
    return schema


_CHECK_SCHEMA = options_schema(CheckOptions, leave_out=_LOCAL)
CheckRequest = Annotated[dict[str, Any], WithJsonSchema(_CHECK_SCHEMA)]
_FIX_SCHEMA = options_schema(FixOptions, leave_out=("out", "dry_run", "link", "download", "offline"))
FixRequest = Annotated[dict[str, Any], WithJsonSchema(_FIX_SCHEMA)]


class FindingReply(BaseModel):
    """One problem of a data set."""

    kind: str
    severity: str = Field(description="error, warning or note")
    files: list[str]
    evidence: str
    mend: str
    score: float


class ClassReply(BaseModel):
    """A class and its number of images."""

    name: str
    images: int


class CheckState(BaseModel):
    """The state of a data set's check: none, queued, running, succeeded, failed or cancelled."""

    state: str
    error: str = ""
    job: str = ""


class DatasetReply(BaseModel):
    """A data set; `left_out` counts the other files of its archive by reason; `findings` come from file names and
    counts alone, the check has more.
    """

    id: str
    name: str
    created: str
    images: int
    bytes: int
    classes: list[ClassReply]
    parts: dict[str, int]
    notes: list[str]
    left_out: dict[str, int]
    findings: list[FindingReply]
    check: CheckState


class DatasetsReply(BaseModel):
    """All data sets, newest first."""

    datasets: list[DatasetReply]


class CheckReply(CheckState):
    """The findings of a data set's check, most urgent first; while it runs, its progress."""

    progress: dict[str, Any] | None = None
    images: int = 0
    classes: int = 0
    counts: dict[str, int] = {}
    kinds: dict[str, int] = {}
    findings: list[FindingReply] = []
    notes: list[str] = []
    seconds: float = 0.0
    page: str = ""


class FixReply(CheckState):
    """The state of the newest cleaned copy of a data set: `dataset` is its id once it has succeeded."""

    progress: dict[str, Any] | None = None
    dataset: str = ""


@router.get("/v1/datasets", summary="List the data sets")
def list_datasets(request: Request) -> DatasetsReply:
    """All data sets, newest first."""
    database = state_of(request).database
    return DatasetsReply(datasets=[_reply(database, stored) for stored in store.list_datasets(database)])


@router.get("/v1/datasets/{dataset}", summary="Show one data set")
def show_dataset(request: Request, dataset: Id) -> DatasetReply:
    """A data set: its classes with their numbers of images, and first findings."""
    return _reply(state_of(request).database, _find(request, dataset))


@router.delete("/v1/datasets/{dataset}", summary="Remove a data set", status_code=204)
def remove_dataset(request: Request, dataset: Id) -> Response:
    """Remove a data set and its checks; runs trained on it stay. Refused while a job trains on it."""
    try:
        store.remove_dataset(state_of(request).database, _find(request, dataset))
    except ConflictError as error:
        raise Problem(409, str(error)) from error
    return Response(status_code=204)


@router.post("/v1/datasets/{dataset}/check", summary="Check a data set", status_code=202, response_model=CheckReply)
def start_check(request: Request, dataset: Id, key: Trainer, options: CheckRequest | None = None) -> JSONResponse:
    """Start a check of a data set."""
    state = state_of(request)
    _find(request, dataset)
    checked = check_options(CheckOptions, _CHECK_SCHEMA, options or {})
    if _check_state(state.database, dataset).state in ("queued", "running"):
        raise Problem(409, "this data set is already being checked")
    most = state.options.training.waiting
    store.add_job(state.database, "check", dataset, checked, owner=key.name, most=most)
    return _check_response(_check_reply(state.database, dataset, 0), dataset)


@router.get(
    "/v1/datasets/{dataset}/check",
    summary="Show the check of a data set",
    response_model=CheckReply,
    responses={202: {"model": CheckReply}},
)
def show_check(request: Request, dataset: Id, most: Annotated[int, Query(ge=0, le=10_000)] = 500) -> JSONResponse:
    """The findings, most urgent first; 202 while the check runs."""
    _find(request, dataset)
    reply = _check_reply(state_of(request).database, dataset, most)
    if reply.state == "none":
        raise Problem(404, f"this data set was not checked: POST /v1/datasets/{dataset}/check")
    return _check_response(reply, dataset)


@router.get("/v1/datasets/{dataset}/check/page", summary="Read the check as a page", response_class=FileResponse)
def check_page(request: Request, dataset: Id) -> FileResponse:
    """The findings as a self-contained page with pictures."""
    database = state_of(request).database
    _find(request, dataset)
    check = _check_state(database, dataset)
    path = store.job_folder(database, check.job or "none") / PAGE
    if check.state != "succeeded" or not path.is_file():
        raise Problem(404, "there is no page yet: the data set has not been checked")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})


@router.post("/v1/datasets/{dataset}/fix", summary="Make a cleaned copy", status_code=202, response_model=FixReply)
def start_fix(
    request: Request,
    dataset: Id,
    key: Trainer,
    name: Annotated[str, Query(max_length=200, description="The name of the copy")] = "",
    options: FixRequest | None = None,
) -> JSONResponse:
    """Start a copy of a data set without what its check found to be broken, doubled or leaking, as a new data set.

    It is compared with the network of the newest check, unless `options` name another.
    """
    state = state_of(request)
    stored, last = _find(request, dataset), store.newest_check(state.database, dataset)
    inherited = (
        {} if last is None else {key: last.options[key] for key in ("backbone", "weights") if key in last.options}
    )
    chosen = check_options(FixOptions, _FIX_SCHEMA, inherited | (options or {}))
    if _fix_reply(state.database, dataset).state in ("queued", "running"):
        raise Problem(409, "a cleaned copy of this data set is already being made")
    job = chosen | {"fix": True, "name": name or f"{stored.name} (cleaned)"}
    store.add_job(state.database, "check", dataset, job, owner=key.name, most=state.options.training.waiting)
    return _check_response(_fix_reply(state.database, dataset), dataset, "fix")


@router.get(
    "/v1/datasets/{dataset}/fix",
    summary="Show the cleaned copy of a data set",
    response_model=FixReply,
    responses={202: {"model": FixReply}},
)
def show_fix(request: Request, dataset: Id) -> JSONResponse:
    """The state of the newest cleaned copy, and the id of its data set; 202 while it is made."""
    _find(request, dataset)
    reply = _fix_reply(state_of(request).database, dataset)
    if reply.state == "none":
        raise Problem(404, f"this data set has no cleaned copy: POST /v1/datasets/{dataset}/fix")
    return _check_response(reply, dataset, "fix")


@router.post(
    "/v1/datasets", summary="Upload a data set", status_code=201, response_model=DatasetReply, openapi_extra=_BODY
)
async def upload(
    request: Request,
    key: Trainer,
    name: Annotated[str, Query(max_length=200, description="Its name; by default that of the file")] = "",
    check: Annotated[bool, Query(description="Check it at once")] = True,
) -> JSONResponse:
    """Store an archive of images as a data set: one folder per class, or train, val and test folders of these."""
    state = state_of(request)
    limits, database = state.options.training, state.database
    length = request.headers.get("content-length", "")
    _check_disk(database.folder, limits, int(length) if length.isdecimal() else 0)
    with _upload_slot(state):
        folder = await to_thread.run_sync(store.incoming_folder, database)
        cancelled = threading.Event()

        def unpack_and_store(name: str) -> StoredDataset:
            try:
                unpacked = unpack(folder / "archive", folder / "photos", limits.archive, cancelled.is_set)
                return store.add_dataset(
                    database, folder / "photos", name, unpacked, owner=key.name, most=limits.datasets
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        try:
            file_name = await _receive(request, folder / "archive", limits)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            stored = await to_thread.run_sync(unpack_and_store, name or file_name, abandon_on_cancel=True)
        finally:
            cancelled.set()
    if check:
        await to_thread.run_sync(lambda: store.add_job(database, "check", stored.id, {}, owner=key.name))
    reply = await to_thread.run_sync(_reply, database, stored)
    return JSONResponse(reply.model_dump(), 201, {"Location": f"/v1/datasets/{stored.id}"})


@contextmanager
def _upload_slot(state: ServiceState) -> Iterator[None]:
    """One of the uploads that may run at the same time. Raises Problem 429 when there are too many."""
    if state.uploads >= state.options.training.uploads:
        raise Problem(429, "too many uploads at the same time: try again soon", {"Retry-After": "10"})
    state.uploads += 1
    try:
        yield
    finally:
        state.uploads -= 1


def _check_disk(folder: Path, limits: TrainingLimits, size: int = 0) -> None:
    if shutil.disk_usage(folder).free < size + limits.spare:
        raise StorageError("there is not enough disk space: remove data sets or runs, or free some space")


async def _receive(request: Request, path: Path, limits: TrainingLimits) -> str:
    """Write the archive in the body to `path`; returns its name, or "". `BodyLimits` limits its size and time."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            _check_disk(path.parent, limits)
            yield chunk

    name = ""
    try:
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            name = await _UploadForm(request, chunks(), path).receive()
        else:
            with path.open("xb") as file:
                async for chunk in chunks():
                    await to_thread.run_sync(file.write, chunk)
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read ({error.message[:100]}): send one file, and its name") from error
    except OSError as error:
        raise StorageError(f"the archive cannot be stored ({(error.strerror or '').lower()})") from error
    if not path.is_file() or not path.stat().st_size:
        raise Problem(400, "no archive was sent: send one as the body, or as the field `file` of a form")
    return name


class _UploadForm(MultiPartParser):
    """Writes the one file of a form to `path`, where Starlette's own parser would spool it to /tmp."""

    def __init__(self, request: Request, chunks: AsyncGenerator[bytes, None], path: Path) -> None:
        super().__init__(request.headers, chunks, max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD)
        self._path, self._ended = path, False

    async def receive(self) -> str:
        """The form's field `name`, or the name of its file without its ending. Raises MultiPartException."""
        form = await self.parse()
        await form.close()
        if not self._ended:
            raise MultiPartException("it is incomplete")
        files = [stem(part.filename or "") for _, part in form.multi_items() if not isinstance(part, str)]
        name = form.get("name")
        return name if isinstance(name, str) and name else "".join(files)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if (upload := self._current_part.file) is not None:
            upload.file.close()
            upload.file = self._path.open("xb")
            self._files_to_close_on_error.append(upload.file)  # type: ignore[arg-type]

    def on_end(self) -> None:
        self._ended = True


def stem(file: str) -> str:
    """The name of an archive without its folders and endings."""
    name = file.replace("\\", "/").rpartition("/")[2]
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def check_options(cls: Any, schema: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The options that were set, with the backbone's full name. Raises Problem 422 for invalid ones."""
    options = {}
    try:
        for name, value in values.items():
            if name not in schema["properties"]:
                raise UsageError(f"there is no option {name!r}: choose from {', '.join(schema['properties'])}")
            if value is not None:
                options[name] = typed(cls, name, value, name)
        if options.get("weights", "none") not in _WEIGHTS:
            raise UsageError(f"weights {options['weights']!r}: choose {', '.join(_WEIGHTS)}")
        check(cls(**options))
        return options | {"backbone": find_backbone(options.get("backbone", cls.backbone)).name}
    except (UsageError, BackboneError, OverflowError) as error:
        raise Problem(422, f"options: {shorten(str(error), 500)}") from error


def _find(request: Request, dataset: str) -> StoredDataset:
    stored = store.get_dataset(state_of(request).database, dataset)
    if stored is None:
        raise Problem(404, f"there is no data set {dataset}: GET /v1/datasets lists all data sets")
    return stored


def _reply(database: Database, stored: StoredDataset) -> DatasetReply:
    classes = [{"name": name, "images": count} for name, count in stored.about["classes"].items()]
    own = {"created": iso_time(stored.created), "classes": classes, "check": _check_state(database, stored.id)}
    return DatasetReply(**vars(stored) | stored.about | own)


def _check_state(database: Database, dataset: str) -> CheckState:
    job = store.newest_check(database, dataset)
    return CheckState(state="none") if job is None else CheckState(state=job.state, error=job.error, job=job.id)


def _fix_reply(database: Database, dataset: str) -> FixReply:
    job = store.newest_check(database, dataset, fix=True)
    if job is None:
        return FixReply(state="none")
    progress = None if job.has_ended else last_event(store.job_folder(database, job.id) / EVENTS, "progress")
    made = job.id if job.state == "succeeded" else ""
    return FixReply(state=job.state, error=job.error, job=job.id, progress=progress, dataset=made)


def _check_reply(database: Database, dataset: str, most: int) -> CheckReply:
    """The newest check with at most `most` findings."""
    check = _check_state(database, dataset)
    fields = check.model_dump()
    if not check.job:
        return CheckReply(**fields)
    folder = store.job_folder(database, check.job)
    if check.state != "succeeded":
        return CheckReply(**fields, progress=last_event(folder / EVENTS, "progress"))
    content = read_json(folder / FINDINGS)
    del content["data"]
    content["findings"] = content["findings"][:most]
    return CheckReply(**fields | content, page=f"/v1/datasets/{dataset}/check/page")


def _check_response(reply: CheckState, dataset: str, path: str = "check") -> JSONResponse:
    headers = {"Retry-After": "2", "Location": f"/v1/datasets/{dataset}/{path}"}
    is_active = reply.state in ("queued", "running")
    return JSONResponse(reply.model_dump(), 202, headers) if is_active else JSONResponse(reply.model_dump())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises Problem 404 when it is no longer there."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_JSON))
    except (OSError, ValueError) as error:
        raise Problem(404, "the result is no longer there: check the data set again") from error
    return content if isinstance(content, dict) else {}


def iso_time(seconds: float) -> str:
    """Unix seconds as ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
