"""A checkpoint is read back as it was written, or refused with the reason; nothing in it is ever executed."""

import io
import json
import math
import os
import resource
import zipfile

import numpy as np
import pytest

from tl.errors import RunError, StorageError
from tl.learning.trainer import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(step: int = 3) -> Checkpoint:
    draw = np.random.default_rng(step)
    return Checkpoint(
        state=[draw.normal(size=(3, 4)).astype(np.float32), np.int64(step) * np.ones((), np.int64), np.zeros(0)]
        + [np.full(2, at, np.float16) for at in range(10)],
        best=[draw.normal(size=5).astype(np.float32)],
        about={"step": step, "least": math.inf, "history": [[1, 2, 0.5, math.nan]], "stopped": "", "range_test": None},
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.npz"


def archive(**members: bytes) -> bytes:
    """A file like a checkpoint, of members as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def about(text: str = "{}") -> bytes:
    return npy(np.frombuffer(text.encode(), np.uint8))


def test_checkpoint_is_read_back(path):
    written = checkpoint()
    save_checkpoint(path, written)
    read = load_checkpoint(path)
    for mine, its in ((written.state, read.state), (written.best, read.best)):
        assert [array.dtype for array in its] == [array.dtype for array in mine]
        assert [array.shape for array in its] == [array.shape for array in mine]
        assert all(np.array_equal(one, other) for one, other in zip(mine, its, strict=True))
    assert json.dumps(read.about) == json.dumps(written.about)  # NaN and infinity among them
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.npz"]


def test_load_without_a_file_is_none(path):
    assert load_checkpoint(path) is None


def test_save_replaces_an_earlier_checkpoint(path):
    save_checkpoint(path, checkpoint(3))
    save_checkpoint(path, checkpoint(4))
    assert load_checkpoint(path).about["step"] == 4


def test_failed_save_keeps_the_earlier_checkpoint(path):
    save_checkpoint(path, checkpoint(3))
    large = Checkpoint([np.zeros(100_000)], [], {"step": 4})
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))  # a disk with so much room
    try:
        with pytest.raises(StorageError, match=r"checkpoint\.npz.* cannot be written: file too large; free some space"):
            save_checkpoint(path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert load_checkpoint(path).about["step"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.npz"]


def test_save_syncs_before_it_replaces(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, name=name: calls.append(name) or real(*given))
    save_checkpoint(path, checkpoint())
    assert calls == ["fsync", "replace"]


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.9, -1])
def test_load_refuses_a_truncated_file(path, size):
    save_checkpoint(path, checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: size if isinstance(size, int) else int(size * len(content))])
    with pytest.raises(RunError, match=r"checkpoint\.npz is damaged .*: remove it to start the training anew"):
        load_checkpoint(path)


def test_load_of_a_corrupted_file_raises_nothing_but_run_error(path):
    save_checkpoint(path, checkpoint())
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), 13):
        damaged = bytearray(content)
        damaged[at] ^= 0x41
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)  # some bytes are dates and the like, which nothing depends on
        except RunError as error:
            refused += "\n" not in str(error)
    assert refused > len(content) / 13 / 2


class Bomb:
    """What pickle would execute."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def deflated() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("about.npy", about())
        file.writestr("state0.npy", npy(np.zeros(10**6)))
    return stream.getvalue()


def encrypted() -> bytes:
    content = bytearray(archive(about=about()))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


HUGE = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**15,), }".replace(
    b"10**15", b"1" + 15 * b"0"
).ljust(118)
HOSTILE = {
    "text": b"not a checkpoint",
    "an array": npy(np.zeros(3)),
    "a pickle": npy(np.array([Bomb()], dtype=object)),
    "a pickle inside": archive(about=about(), state0=npy(np.array([Bomb()], dtype=object))),
    "without a word": archive(state0=npy(np.zeros(3))),
    "no JSON": archive(about=about("{")),
    "no text": archive(about=npy(np.frombuffer(b"\xff\xfe{", np.uint8))),
    "a list": archive(about=about("[1]")),
    "a number": archive(about=about("1")),
    "deep": archive(about=about("[" * 100_000)),
    "a gap": archive(about=about(), state1=npy(np.zeros(3))),
    "no array": archive(about=about(), state0=b"plain text"),
    "no arrays": archive(about=b"{}"),
    "a huge shape": archive(about=about(), state0=HUGE),
    "packed": deflated(),
    "encrypted": encrypted(),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_load_refuses_a_hostile_file(path, content, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.npz is damaged .*: remove it to start the training anew"):
        load_checkpoint(path)
    assert not (path.parent / "executed").exists()


def test_load_refuses_a_folder(path):
    path.mkdir()
    with pytest.raises(RunError, match="is damaged"):
        load_checkpoint(path)
