"""Servers that tests of the service share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.live_service import Live
from tl.service.database import Database


@pytest.fixture(scope="session")
def live(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of the tiny run, which needs no keys and runs no jobs."""
    options = {"rate": 0, "limits": {"decode_seconds": 2.0}}
    served = Live(tmp_path_factory.mktemp("served"), runs=[str(tiny_run)], **options)
    yield served
    served.stop_cleanly()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state")
    yield database
    database.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Callable[..., Live]]:
    """Start servers that run until the module's tests have ended: `serve(jobs=True)`."""
    started = []

    def start(home: Path | None = None, **options: object) -> Live:
        started.append(Live(home or tmp_path_factory.mktemp("home"), **options))
        return started[-1]

    yield start
    for served in started:
        served.stop_cleanly()
