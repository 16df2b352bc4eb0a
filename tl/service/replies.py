"""Data sets and jobs as the service tells of them: the models of its JSON, and what fills them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tl.service import dataset_store, job_store, progress
from tl.service.child import EVENTS, FINDINGS
from tl.service.database import Database
from tl.service.dataset_store import Stored
from tl.service.job_store import Job
from tl.service.problems import Problem

_LARGEST = 1 << 26  # bytes of a file that is read whole


class FindingReply(BaseModel):
    """One thing to look at."""

    kind: str
    severity: str = Field(description="error, warning or note")
    files: list[str]
    evidence: str
    mend: str
    score: float


class ClassReply(BaseModel):
    """A class and how many photos it has."""

    name: str
    images: int


class CheckState(BaseModel):
    """How far the check of a data set is: none, queued, running, succeeded, failed or cancelled."""

    state: str
    error: str = ""
    job: str = ""


class DatasetReply(BaseModel):
    """A data set; `left_out` counts what its archive held beside the photos, by reason; `findings` are what is seen at
    first sight, the check says more.
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
    """All data sets, the newest first."""

    datasets: list[DatasetReply]


class CheckReply(CheckState):
    """What the check of a data set found, the most pressing first; while it runs, how far it is."""

    progress: dict[str, Any] | None = None
    images: int = 0
    classes: int = 0
    counts: dict[str, int] = {}
    kinds: dict[str, int] = {}
    findings: list[FindingReply] = []
    notes: list[str] = []
    seconds: float = 0.0
    page: str = ""


class DatasetName(BaseModel):
    """A data set by id; the name is empty where it was removed."""

    id: str
    name: str


class ResultReply(BaseModel):
    """What came of a job: the run's name and its figures on the photos held out."""

    run: str
    top1: float | None = None
    top1_interval: list[float] | None = None
    top5: float | None = None
    count: int | None = None


class JobReply(BaseModel):
    """A job: queued, running, succeeded, failed or cancelled. `cancelling`: its end was asked for; `ahead`: so many
    come before it; `seconds`: its processes ran for so long; `progress`: what its process counted last.
    """

    id: str
    state: str
    dataset: DatasetName
    options: dict[str, Any]
    run: str
    error: str
    created: str
    started: str | None
    ended: str | None
    seconds: float
    attempt: int
    cancelling: bool
    ahead: int
    progress: dict[str, Any] | None
    result: ResultReply | None


class JobsReply(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobReply]


def dataset_reply(database: Database, stored: Stored) -> DatasetReply:
    """A data set as it is told."""
    about = stored.about
    return DatasetReply(
        id=stored.id,
        name=stored.name,
        created=_time(stored.created),
        images=stored.images,
        bytes=stored.bytes,
        classes=[ClassReply(name=name, images=count) for name, count in about["classes"].items()],
        parts=about["parts"],
        notes=about["notes"],
        left_out=about["left_out"],
        findings=[FindingReply(**finding) for finding in about["findings"]],
        check=check_state(database, stored.id),
    )


def check_state(database: Database, dataset: str) -> CheckState:
    """How far the newest check of a data set is."""
    found = job_store.listed(database, kind="check", dataset=dataset, most=1)
    return (
        CheckState(state="none")
        if not found
        else CheckState(state=found[0].state, error=found[0].error, job=found[0].id)
    )


def check_reply(database: Database, dataset: str, most: int) -> CheckReply:
    """What the newest check found, or how far it is; at most so many findings."""
    state = check_state(database, dataset)
    told = state.model_dump()
    if not state.job:
        return CheckReply(**told)
    folder = job_store.job_folder(database, state.job)
    if state.state != "succeeded":
        return CheckReply(**told, progress=progress.last(folder / EVENTS, "progress"))
    found = _read(folder / FINDINGS)
    del found["data"]
    found["findings"] = found["findings"][:most]
    return CheckReply(**told | found, page=f"/v1/datasets/{dataset}/check/page")


def job_reply(database: Database, job: Job, runs: Path) -> JobReply:
    """A job as it is told."""
    stored = dataset_store.get(database, job.dataset)
    events = job_store.job_folder(database, job.id) / EVENTS
    return JobReply(
        id=job.id,
        state=job.state,
        dataset=DatasetName(id=job.dataset, name=stored.name if stored is not None else ""),
        options=job.options,
        run=job.run,
        error=job.error,
        created=_time(job.created),
        started=_time(job.started) if job.started else None,
        ended=_time(job.ended) if job.ended else None,
        seconds=round(job.seconds, 1),
        attempt=job.attempt,
        cancelling=job.cancel and not job.has_ended,
        ahead=job_store.ahead(database, job) if job.state == "queued" else 0,
        progress=None if job.has_ended else progress.last(events, "progress"),
        result=_result(runs / job.run) if job.state == "succeeded" else None,
    )


def _result(run: Path) -> ResultReply:
    try:
        scores = _read(run / "manifest.json")["metrics"].get("validation", {})
    except (Problem, KeyError, AttributeError):
        return ResultReply(run=run.name)  # removed since
    known = {name: scores.get(name) for name in ("top1", "top1_interval", "top5", "count")}
    return ResultReply(run=run.name, **known)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError) as error:
        raise Problem(404, "what was found is no longer there: check the data set again") from error
    return found if isinstance(found, dict) else {}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
