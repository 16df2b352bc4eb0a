"""Small stand-ins for the known data sets, and a server that they are downloaded from."""

import dataclasses
import hashlib
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from tl.data import known

CIFAR_CLASSES = ["bee", "apple", "cat"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def serve(monkeypatch: pytest.MonkeyPatch, name: str, file: Path, url: str) -> None:
    """Let a known data set be downloaded from `url`, as this file."""
    checksum = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    changed = dataclasses.replace(known.KNOWN[name], url=url + file.name, checksum=checksum)
    monkeypatch.setitem(known.KNOWN, name, changed)


def photos_zip(file: Path) -> Path:
    """Write an archive as that of dogs-vs-cats, with three photos a class."""
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for kind in ("Cat", "Dog"):
            for number in range(3):
                archive.writestr(f"PetImages/{kind}/{number}.jpg", f"{kind} {number}")
        archive.writestr("PetImages/Cat/Thumbs.db", b"x")
        archive.writestr("readme[1].txt", b"x")
    return file


def cifar_batch(count: int, seed: int = 0) -> dict[str, Any]:
    """A batch of CIFAR-100 with `count` images of noise."""
    return {
        "filenames": [f"f_{i}.png" for i in range(count)],
        "batch_label": "training batch 1 of 1",
        "fine_labels": [i % 3 for i in range(count)],
        "coarse_labels": [0] * count,
        "data": np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8),
    }


def cifar_folder(folder: Path, protocol: int = 2, **changes: Any) -> Path:
    """Write a folder as cifar-100-python, with six training and three test images."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {
        "train": cifar_batch(6),
        "test": cifar_batch(3, seed=1),
        "meta": {"fine_label_names": CIFAR_CLASSES, "coarse_label_names": ["thing"]},
        **changes,
    }
    for name, value in files.items():
        content = value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol)
        (folder / name).write_bytes(content)
    return folder


def cifar_archive(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="cifar-100-python")
    return archive
