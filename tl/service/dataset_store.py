"""The database and its folder become the data sets that were uploaded: their figures, and where their photos lie."""

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.dataset import Dataset, clean, short_name
from tl.data.load import load
from tl.doctor.balance import balance_findings, class_counts
from tl.doctor.files import name_findings
from tl.doctor.findings import Finding, rank
from tl.errors import DataError
from tl.service.archives import Unpacked
from tl.service.database import Database, register
from tl.service.job_store import ConflictError

_FEW = 12  # photos of a class, of which ten are learnt from
_FINDINGS = 20

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


@dataclass(frozen=True)
class Stored:
    """One data set: `about` has classes and parts with their counts, notes, findings, and what was left out."""

    id: str
    name: str
    folder: str
    owner: str
    created: float
    images: int
    bytes: int
    about: dict[str, Any]


def incoming(database: Database) -> Path:
    """A new folder for what is being uploaded."""
    folder = database.folder / "incoming" / secrets.token_hex(8)
    folder.mkdir(parents=True, mode=0o700)
    return folder


def tidy(database: Database) -> None:
    """Remove what a server left that was killed during an upload or a removal. For the start of the one server."""
    shutil.rmtree(database.folder / "incoming", ignore_errors=True)
    kept = {stored.id for stored in listed(database)}
    home = database.folder / "datasets"
    for name in os.listdir(home) if home.is_dir() else ():
        if name not in kept:
            shutil.rmtree(home / name, ignore_errors=True)


def place(database: Database, stored: Stored) -> Path:
    """The folder of a data set's photos."""
    return database.folder / "datasets" / stored.id / stored.folder


def keep(
    database: Database, folder: Path, name: str, unpacked: Unpacked, *, owner: str = "", most: int = 1000
) -> Stored:
    """A folder of photos, taken over as a data set.

    Raises DataError where it is none, ConflictError where there are `most` already.
    """
    name = "".join(letter for letter in clean(name) if letter.isprintable()).strip()[:80] or "data"
    try:
        dataset = load(folder)
    except DataError as error:
        raise DataError(str(error).replace(str(folder), name)) from error  # folders of this machine are its own
    about = _about(dataset, unpacked)
    stored = Stored(
        secrets.token_hex(8), name, short_name(name), owner, time.time(), len(dataset.names), unpacked.bytes, about
    )
    home = place(database, stored)
    home.parent.mkdir(parents=True)
    os.rename(folder, home)
    try:
        with database.writing() as connection:
            if connection.execute("SELECT COUNT(*) FROM datasets").fetchone()[0] >= most:
                raise ConflictError(f"{most:,} data sets are kept already: remove some that are no longer needed")
            connection.execute(
                "INSERT INTO datasets (id, name, folder, owner, created, images, bytes, about) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*list(vars(stored).values())[:-1], json.dumps(about, ensure_ascii=False)),
            )
    except BaseException:
        shutil.rmtree(home.parent, ignore_errors=True)
        raise
    return stored


def get(database: Database, dataset: str) -> Stored | None:
    """The data set of that id."""
    with database.reading() as connection:
        row = connection.execute("SELECT * FROM datasets WHERE id = ?", (dataset,)).fetchone()
        return _stored(row) if row is not None else None


def listed(database: Database) -> list[Stored]:
    """All data sets, the newest first."""
    with database.reading() as connection:
        return [_stored(row) for row in connection.execute("SELECT * FROM datasets ORDER BY number DESC")]


def remove(database: Database, stored: Stored) -> None:
    """Forget a data set and remove its photos. Raises ConflictError while a job trains on it."""
    with database.writing() as connection:
        busy = connection.execute(
            "SELECT id FROM jobs WHERE dataset = ? AND kind = 'finetune' AND state IN ('queued', 'running')",
            (stored.id,),
        ).fetchone()
        if busy is not None:
            raise ConflictError(f"job {busy['id']} trains on this data set: cancel it first, or wait for its end")
        connection.execute(
            "UPDATE jobs SET cancel = 1, not_before = 0 WHERE dataset = ? AND state IN ('queued', 'running')",
            (stored.id,),
        )
        connection.execute("DELETE FROM datasets WHERE id = ?", (stored.id,))
    home = place(database, stored).parent
    away = database.folder / "incoming" / f"removed-{stored.id}"
    away.parent.mkdir(exist_ok=True)
    if home.exists():
        os.rename(home, away)  # what is half removed is no data set any more
    shutil.rmtree(away, ignore_errors=True)


def _about(dataset: Dataset, unpacked: Unpacked) -> dict[str, Any]:
    numbers = Counter(dataset.labels.tolist())
    classes = {name: numbers[at] for at, name in enumerate(dataset.class_names)}
    left_out = Counter(unpacked.left_out)
    left_out.update(skipped.reason for skipped in dataset.skipped)
    return {
        "classes": classes,
        "parts": dict(Counter(part or "" for part in dataset.parts)) if any(dataset.parts) else {},
        "notes": list(dataset.notes)[:_FINDINGS],
        "left_out": dict(left_out.most_common(_FINDINGS)),
        "findings": _first_findings(dataset, classes),
    }


def _first_findings(dataset: Dataset, classes: dict[str, int]) -> list[dict[str, Any]]:
    """What can be said of a data set before its photos have been looked at."""
    every = np.arange(len(dataset.names))
    balanced = balance_findings(class_counts(dataset, every, dataset.parts, every))
    if not any(dataset.parts):  # how few there are to learn from and to check with is not known before the split
        balanced = [finding for finding in balanced if finding.kind != "few photos"]
        few = [(name, count) for name, count in classes.items() if count < _FEW]
        balanced += [
            Finding("few photos", "warning", (), f"class {name} has {count} photos", f"add photos of {name}", 0.5)
            for name, count in few
        ]
    return [finding.as_dict() for finding in rank([*name_findings(dataset), *balanced])[:_FINDINGS]]


def _stored(row: sqlite3.Row) -> Stored:
    told = {name: row[name] for name in Stored.__dataclass_fields__}
    return Stored(**told | {"about": json.loads(row["about"])})
