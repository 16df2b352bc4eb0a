"""The data sets and jobs that the service keeps: rows of the database, and the folders that belong to them."""

# ruff: noqa: S608 - the only text put into SQL is _ACTIVE

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, clean, short_name
from tl.data.load import load
from tl.doctor.balance import balance_findings, class_counts
from tl.doctor.faulty_files import name_findings
from tl.doctor.findings import rank
from tl.errors import DataError, ServiceError
from tl.service.archives import Unpacked
from tl.service.database import Database, register

KINDS = ("finetune", "check")
ENDED = frozenset({"succeeded", "failed", "cancelled"})
_MAX_FINDINGS = 20
_ACTIVE = "state IN ('queued', 'running')"

register(
    "datasets",
    """
    CREATE TABLE datasets (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        folder TEXT NOT NULL,
        owner TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        images INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        about TEXT NOT NULL
    );
    """,
)
register(
    "jobs",
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('finetune', 'check')),
        dataset TEXT NOT NULL,
        options TEXT NOT NULL,
        run TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
        error TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        beat REAL,
        not_before REAL NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        fruitless INTEGER NOT NULL DEFAULT 0,
        cancel INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX jobs_waiting ON jobs (state, kind, number);
    CREATE INDEX jobs_of_dataset ON jobs (dataset, kind, number);
    CREATE UNIQUE INDEX jobs_run ON jobs (run) WHERE run != '' AND state NOT IN ('failed', 'cancelled');
    CREATE TABLE worker (one INTEGER PRIMARY KEY CHECK (one = 1), process INTEGER NOT NULL, beat REAL NOT NULL);
    """,
)


class ConflictError(ServiceError):
    """The request contradicts what the service already has."""


@dataclass(frozen=True)
class StoredDataset:
    """One data set: `about` has its classes and parts with counts, notes, findings, and what was left out."""

    id: str
    name: str
    folder: str
    owner: str
    created: float
    images: int
    bytes: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One job. Times are Unix seconds; `seconds` is the total run time of its processes, `attempt` their number,
    `fruitless` the number of attempts in a row without progress. `cancel` says that somebody cancelled it.
    """

    id: str
    kind: str
    dataset: str
    options: dict[str, Any]
    run: str
    owner: str
    state: str
    error: str
    created: float
    started: float | None
    ended: float | None
    seconds: float
    attempt: int
    fruitless: int
    cancel: bool

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded, failed or was cancelled."""
        return self.state in ENDED


def incoming_folder(database: Database) -> Path:
    """A new folder for an upload."""
    folder = database.folder / "incoming" / secrets.token_hex(8)
    folder.mkdir(parents=True, mode=0o700)
    return folder


def dataset_folder(database: Database, stored: StoredDataset) -> Path:
    """The folder of a data set's images."""
    return database.folder / "datasets" / stored.id / stored.folder


def job_folder(database: Database, job: str) -> Path:
    """The folder of a job's events, log and findings."""
    return database.folder / "jobs" / job


def tidy(database: Database) -> None:
    """Remove what a server left that was killed during an upload or a removal; called when the server starts."""
    shutil.rmtree(database.folder / "incoming", ignore_errors=True)
    stored = {dataset.id for dataset in list_datasets(database)}
    home = database.folder / "datasets"
    for name in os.listdir(home) if home.is_dir() else ():
        if name not in stored:
            shutil.rmtree(home / name, ignore_errors=True)


def add_dataset(
    database: Database,
    folder: Path,
    name: str,
    unpacked: Unpacked,
    *,
    owner: str = "",
    most: int = 1000,
    identity: str = "",
) -> StoredDataset:
    """Move a folder of images here as a data set, with a new id or this one.

    Raises DataError when it is none, ConflictError beyond `most`.
    """
    name = "".join(letter for letter in clean(name) if letter.isprintable()).strip()[:80] or "data"
    try:
        dataset = load(folder)
    except DataError as error:
        raise DataError(str(error).replace(str(folder), name)) from error  # do not show the server's folders
    stored = StoredDataset(
        id=identity or secrets.token_hex(8),
        name=name,
        folder=short_name(name),
        owner=owner,
        created=time.time(),
        images=len(dataset.names),
        bytes=unpacked.bytes,
        about=_describe(dataset, unpacked),
    )
    home = dataset_folder(database, stored)
    home.parent.mkdir(parents=True)
    os.rename(folder, home)
    try:
        with database.transaction() as connection:
            if connection.execute("SELECT COUNT(*) FROM datasets").fetchone()[0] >= most:
                raise ConflictError(f"{most:,} data sets are stored already: remove some")
            connection.execute(
                "INSERT INTO datasets (id, name, folder, owner, created, images, bytes, about) "
                "VALUES (:id, :name, :folder, :owner, :created, :images, :bytes, :about)",
                vars(stored) | {"about": json.dumps(stored.about, ensure_ascii=False)},
            )
    except BaseException:
        shutil.rmtree(home.parent, ignore_errors=True)
        raise
    return stored


def get_dataset(database: Database, dataset: str) -> StoredDataset | None:
    """The data set of that id."""
    return next(map(_dataset, database.select("SELECT * FROM datasets WHERE id = ?", dataset)), None)


def list_datasets(database: Database) -> list[StoredDataset]:
    """All data sets, newest first."""
    return [_dataset(row) for row in database.select("SELECT * FROM datasets ORDER BY number DESC")]


def remove_dataset(database: Database, stored: StoredDataset) -> None:
    """Remove a data set and its checks. Raises ConflictError while a job trains on it."""
    own = (stored.id,)
    with database.transaction() as connection:
        busy = connection.execute(f"SELECT id FROM jobs WHERE dataset = ? AND kind = 'finetune' AND {_ACTIVE}", own)
        if (job := busy.fetchone()) is not None:
            raise ConflictError(f"job {job['id']} trains on this data set: cancel it, or wait until it ends")
        connection.execute(f"UPDATE jobs SET cancel = 1, not_before = 0 WHERE dataset = ? AND {_ACTIVE}", own)
        checks = connection.execute(
            f"DELETE FROM jobs WHERE dataset = ? AND kind = 'check' AND NOT {_ACTIVE} RETURNING id", own
        ).fetchall()
        connection.execute("DELETE FROM datasets WHERE id = ?", own)
    home = dataset_folder(database, stored).parent
    trash = database.folder / "incoming" / f"removed-{stored.id}"
    trash.parent.mkdir(exist_ok=True)
    if home.exists():
        os.rename(home, trash)  # a half-removed folder is no data set
    for folder in (trash, *(job_folder(database, check["id"]) for check in checks)):
        shutil.rmtree(folder, ignore_errors=True)


def _describe(dataset: Dataset, unpacked: Unpacked) -> dict[str, Any]:
    """The `about` of a data set, from file names and counts alone."""
    numbers = Counter(dataset.labels.tolist())
    left_out = Counter(unpacked.left_out)
    left_out.update(skipped.reason for skipped in dataset.skipped)
    every = np.arange(len(dataset.names))
    counts = class_counts(dataset, every, dataset.parts, every)
    findings = rank([*name_findings(dataset), *balance_findings(counts)])
    return {
        "classes": {name: numbers[label] for label, name in enumerate(dataset.class_names)},
        "parts": dict(Counter(part or "" for part in dataset.parts)) if any(dataset.parts) else {},
        "notes": [*unpacked.notes, *dataset.notes][:_MAX_FINDINGS],
        "left_out": dict(left_out.most_common(_MAX_FINDINGS)),
        "findings": [finding.as_dict() for finding in findings[:_MAX_FINDINGS]],
    }


def add_job(
    database: Database,
    kind: str,
    dataset: str,
    options: Mapping[str, Any],
    *,
    run: str = "",
    owner: str = "",
    most: int = 1000,
) -> Job:
    """Add a job to the queue. Raises ServiceError beyond `most`, ConflictError when another job makes that run."""
    values = (secrets.token_hex(8), kind, dataset, json.dumps(options, ensure_ascii=False), run, owner, time.time())
    with database.transaction() as connection:
        if connection.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()[0] >= most:
            raise ServiceError(f"{most:,} jobs are queued already: try again later")
        try:
            row = connection.execute(
                "INSERT INTO jobs (id, kind, dataset, options, run, owner, state, created) "
                "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?) RETURNING *",
                values,
            ).fetchone()
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"another job makes the run {run!r}: choose another name") from error
        return _job(row)


def get_job(database: Database, job: str) -> Job | None:
    """The job of that id."""
    return next(map(_job, database.select("SELECT * FROM jobs WHERE id = ?", job)), None)


def list_jobs(database: Database, *, kind: str = "finetune", dataset: str = "", most: int = 100) -> list[Job]:
    """Jobs of a kind, newest first; with `dataset`, only those of that data set."""
    query = "SELECT * FROM jobs WHERE kind = ? AND (? = '' OR dataset = ?) ORDER BY number DESC LIMIT ?"
    return [_job(row) for row in database.select(query, kind, dataset, dataset, most)]


def newest_check(database: Database, dataset: str, *, fix: bool = False) -> Job | None:
    """The newest check of a data set; with `fix`, the newest job for a cleaned copy, queued among the checks."""
    jobs = list_jobs(database, kind="check", dataset=dataset)
    return next((job for job in jobs if ("fix" in job.options) == fix), None)


def jobs_ahead(database: Database, job: Job) -> int:
    """How many jobs of its kind come before a queued one."""
    query = (
        "SELECT COUNT(*) FROM jobs WHERE kind = ? AND (state = 'running' OR (state = 'queued' AND "
        "number < (SELECT number FROM jobs WHERE id = ?)))"
    )
    return int(database.select(query, job.kind, job.id)[0][0])


def cancel_job(database: Database, job: str) -> Job | None:
    """Cancel a job: a queued one ends at once; one that has run is ended by the worker, which removes its files."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE jobs SET state = 'cancelled', ended = ?, cancel = 1 "
            "WHERE id = ? AND state = 'queued' AND attempt = 0",
            (time.time(), job),
        )
        connection.execute(f"UPDATE jobs SET cancel = 1, not_before = 0 WHERE id = ? AND {_ACTIVE}", (job,))
    return get_job(database, job)


def claim_job(database: Database, kind: str) -> Job | None:
    """The oldest queued job of a kind, which is now running."""
    now = time.time()
    rows = database.execute(
        "UPDATE jobs SET state = 'running', started = COALESCE(started, ?), beat = ?, attempt = attempt + 1, "
        "fruitless = fruitless + 1 WHERE number = (SELECT number FROM jobs WHERE state = 'queued' AND kind = ? "
        "AND not_before <= ? ORDER BY number LIMIT 1) RETURNING *",
        *(now, now, kind, now),
    )
    return next(map(_job, rows), None)


def heartbeat(database: Database, jobs: Sequence[tuple[str, float]]) -> set[str]:
    """Record how many more seconds jobs have run; returns the ids of cancelled ones."""
    for job, seconds in jobs:
        database.execute("UPDATE jobs SET beat = ?, seconds = seconds + ? WHERE id = ?", time.time(), seconds, job)
    return {row["id"] for row in database.select("SELECT id FROM jobs WHERE state = 'running' AND cancel = 1")}


def record_progress(database: Database, job: str) -> None:
    """The job got further than the attempt before: count its fruitless attempts from zero again."""
    database.execute("UPDATE jobs SET fruitless = 0 WHERE id = ?", job)


def end_job(database: Database, job: str, state: str, error: str = "") -> None:
    """Set the final state of a job, unless it has one."""
    statement = f"UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ? AND {_ACTIVE}"
    database.execute(statement, state, error, time.time(), job)


def requeue_job(database: Database, job: str, *, wait: float = 0.0, at_fault: bool = True) -> None:
    """Put a running job back in its place in the queue, to be claimed after `wait` seconds.

    An attempt that ended through no fault of the job (`at_fault=False`) does not count as fruitless.
    """
    database.execute(
        "UPDATE jobs SET state = 'queued', not_before = ?, fruitless = MAX(0, fruitless - ?) "
        "WHERE id = ? AND state = 'running'",
        *(time.time() + wait, 0 if at_fault else 1, job),
    )


def recover_jobs(database: Database, most: int) -> list[str]:
    """Requeue the jobs of a server that was killed; called by the one worker that holds the lock.

    A job over which servers were killed `most` times in a row has failed.
    """
    error = f"the service was killed {most} times while running it"
    database.execute(
        "UPDATE jobs SET state = 'failed', ended = ?, error = ? WHERE state = 'running' AND fruitless >= ?",
        *(time.time(), error, most),
    )
    rows = database.execute("UPDATE jobs SET state = 'queued', not_before = 0 WHERE state = 'running' RETURNING id")
    return [row["id"] for row in rows]


def _dataset(row: sqlite3.Row) -> StoredDataset:
    fields = {name: row[name] for name in StoredDataset.__dataclass_fields__}
    return StoredDataset(**fields | {"about": json.loads(row["about"])})


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in Job.__dataclass_fields__}
    return Job(**fields | {"options": json.loads(row["options"]), "cancel": bool(row["cancel"])})
