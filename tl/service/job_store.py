"""The database becomes the queue of jobs: what the server asks for, what the worker takes, and how each went."""

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl.errors import ServiceError
from tl.service.database import Database, register

KINDS = ("finetune", "check")
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = frozenset({"succeeded", "failed", "cancelled"})

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
    """What was asked for contradicts what is there."""


@dataclass(frozen=True)
class Job:
    """One job. Times are Unix seconds; `seconds` is how long its processes ran, `attempt` counts them, `fruitless`
    those in a row that came no further. `cancel` says that someone asked for its end.
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
        """Whether nothing more will come of it."""
        return self.state in ENDED


def job_folder(database: Database, job: str) -> Path:
    """Where a job keeps its events, its log and what it found."""
    return database.folder / "jobs" / job


def add(
    database: Database,
    kind: str,
    dataset: str,
    options: Mapping[str, Any],
    *,
    run: str = "",
    owner: str = "",
    most: int = 1000,
) -> Job:
    """A new job at the end of the queue. Raises ServiceError where `most` wait already, ConflictError
    where another job makes that run."""
    job = secrets.token_hex(8)
    text = json.dumps(options, ensure_ascii=False)
    with database.writing() as connection:
        if connection.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()[0] >= most:
            raise ServiceError(f"{most:,} jobs wait already: try again when some of them have ended")
        try:
            connection.execute(
                "INSERT INTO jobs (id, kind, dataset, options, run, owner, state, created) "
                "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
                (job, kind, dataset, text, run, owner, time.time()),
            )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"another job makes the run {run!r}: choose another name") from error
        return _one(connection, job)


def get(database: Database, job: str) -> Job | None:
    """The job of that id."""
    with database.reading() as connection:
        row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return _job(row) if row is not None else None


def listed(database: Database, *, kind: str = "finetune", dataset: str = "", most: int = 100) -> list[Job]:
    """Jobs of a kind, the newest first."""
    query = "SELECT * FROM jobs WHERE kind = ? AND (? = '' OR dataset = ?) ORDER BY number DESC LIMIT ?"
    with database.reading() as connection:
        return [_job(row) for row in connection.execute(query, (kind, dataset, dataset, most))]


def ahead(database: Database, job: Job) -> int:
    """How many jobs of its kind come before a queued one."""
    query = (
        "SELECT COUNT(*) FROM jobs WHERE kind = ? AND (state = 'running' OR (state = 'queued' AND "
        "number < (SELECT number FROM jobs WHERE id = ?)))"
    )
    with database.reading() as connection:
        return int(connection.execute(query, (job.kind, job.id)).fetchone()[0])


def cancel(database: Database, job: str) -> Job | None:
    """Ask for the end of a job: one that waits ends at once, one that runs when the worker sees it."""
    with database.writing() as connection:
        connection.execute(
            "UPDATE jobs SET state = 'cancelled', ended = ?, cancel = 1 "
            "WHERE id = ? AND state = 'queued' AND attempt = 0",
            (time.time(), job),
        )
        # One that was interrupted has left something behind, which the worker removes.
        connection.execute(
            "UPDATE jobs SET cancel = 1, not_before = 0 WHERE id = ? AND state IN ('queued', 'running')", (job,)
        )
        row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return _job(row) if row is not None else None


def claim(database: Database, kind: str) -> Job | None:
    """The job that waited longest, running from now on."""
    now = time.time()
    with database.writing() as connection:
        row = connection.execute(
            "UPDATE jobs SET state = 'running', started = COALESCE(started, ?), beat = ?, attempt = attempt + 1, "
            "fruitless = fruitless + 1 WHERE number = (SELECT number FROM jobs WHERE state = 'queued' AND kind = ? "
            "AND not_before <= ? ORDER BY number LIMIT 1) RETURNING *",
            (now, now, kind, now),
        ).fetchone()
        return _job(row) if row is not None else None


def beat(database: Database, jobs: Sequence[tuple[str, float]], process: int) -> set[str]:
    """The worker is alive, and its jobs ran for so many seconds more; returns those whose end was asked for."""
    now = time.time()
    with database.writing() as connection:
        connection.execute("INSERT OR REPLACE INTO worker VALUES (1, ?, ?)", (process, now))
        for job, seconds in jobs:
            connection.execute("UPDATE jobs SET beat = ?, seconds = seconds + ? WHERE id = ?", (now, seconds, job))
        found = connection.execute("SELECT id FROM jobs WHERE state = 'running' AND cancel = 1")
        return {row["id"] for row in found}


def fruitful(database: Database, job: str) -> None:
    """The job came further than the attempt before: its failures are counted anew."""
    with database.writing() as connection:
        connection.execute("UPDATE jobs SET fruitless = 0 WHERE id = ?", (job,))


def end(database: Database, job: str, state: str, error: str = "") -> None:
    """The job came to its end, unless it has one."""
    with database.writing() as connection:
        connection.execute(
            "UPDATE jobs SET state = ?, error = ?, ended = ? WHERE id = ? AND state IN ('queued', 'running')",
            (state, error, time.time(), job),
        )


def again(database: Database, job: str, *, wait: float = 0.0, counted: bool = True) -> None:
    """Back into the queue, in its old place, to be taken after `wait` seconds; not `counted` where it was no fault."""
    less = 0 if counted else 1
    with database.writing() as connection:
        connection.execute(
            "UPDATE jobs SET state = 'queued', not_before = ?, fruitless = MAX(0, fruitless - ?) "
            "WHERE id = ? AND state = 'running'",
            (time.time() + wait, less, job),
        )


def recover(database: Database, most: int) -> list[str]:
    """All jobs that a worker left when it was killed, back in the queue. For the one worker that holds the lock.

    One over which `most` workers in a row were killed has failed.
    """
    with database.writing() as connection:
        connection.execute(
            "UPDATE jobs SET state = 'failed', ended = ?, error = ? WHERE state = 'running' AND fruitless >= ?",
            (time.time(), f"the worker was killed {most} times while it ran", most),
        )
        rows = connection.execute(
            "UPDATE jobs SET state = 'queued', not_before = 0 WHERE state = 'running' RETURNING id"
        ).fetchall()
        return [row["id"] for row in rows]


def forget(database: Database, dataset: str) -> list[str]:
    """Remove the ended checks of a data set; returns their ids."""
    with database.writing() as connection:
        rows = connection.execute(
            "DELETE FROM jobs WHERE dataset = ? AND kind = 'check' AND state IN ('succeeded', 'failed', 'cancelled') "
            "RETURNING id",
            (dataset,),
        ).fetchall()
        return [row["id"] for row in rows]


def worker_beat(database: Database) -> float | None:
    """Seconds since the worker said that it is alive; None where it never did."""
    with database.reading() as connection:
        row = connection.execute("SELECT beat FROM worker").fetchone()
        return max(0.0, time.time() - row["beat"]) if row is not None else None


def _one(connection: sqlite3.Connection, job: str) -> Job:
    return _job(connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone())


def _job(row: sqlite3.Row) -> Job:
    told = {name: row[name] for name in Job.__dataclass_fields__}
    return Job(**told | {"options": json.loads(row["options"]), "cancel": bool(row["cancel"])})
