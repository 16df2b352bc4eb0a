"""Fixtures shared by the whole suite."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of 502 dogs-vs-cats photos."""
    folder = SHARED / "dogs-vs-cats"
    if not folder.is_dir():
        pytest.skip("the shared dogs-vs-cats photos are not on this machine")
    return folder


@pytest.fixture(scope="session")
def cifar_tar() -> Path:
    """The tar of the 50,000 CIFAR-100 training images."""
    archive = SHARED / "cifar100-train.tar"
    if not archive.is_file():
        pytest.skip("the shared CIFAR-100 archive is not on this machine")
    return archive
