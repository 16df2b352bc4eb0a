"""Videos: real ones written here, truncated ones, and files that only look like videos."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from support.data_sets import write_video
from tl.data import video
from tl.data.images import VIDEO_SUFFIXES, VideoFrame, decode, read
from tl.data.video import read_video
from tl.errors import ImageError


def reason_of(path: Path) -> str:
    [(name, failed)] = list(read_video(path, 1, 16))
    assert name == str(path)
    with pytest.raises(ImageError) as caught:
        read(failed)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "MJPG"), ("a.MOV", "mp4v")]
)
def test_every_nth_frame_is_read(tmp_path, name, codec):
    assert Path(name).suffix.lower() in VIDEO_SUFFIXES
    found = list(read_video(write_video(tmp_path / name, codec), 10, 48))
    assert [name for name, _ in found] == [f"{tmp_path / name}#frame={at}" for at in (0, 10, 20)]
    for place, (_, image) in zip((0, 10, 20), found, strict=True):
        assert isinstance(image, VideoFrame)
        assert image.seconds == pytest.approx(place / 25, abs=0.001)
        frame = image.read()
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame.reshape(-1, 3).mean(0) - (8 * place, 0, 0)).max() < 6


def test_frames_are_shrunk_while_no_side_falls_below_the_limit(tmp_path):
    path = write_video(tmp_path / "a.avi", frames=2, size=(200, 100))
    for min_side, shape in ((101, (100, 200, 3)), (50, (50, 100, 3)), (30, (33, 66, 3))):
        [(_, frame), _] = read_video(path, 1, min_side)
        assert decode(read(frame)).shape == shape


def test_truncated_video_gives_its_frames_and_then_an_error(tmp_path):
    path = write_video(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, (name, failed) = read_video(path, 5, 16)
    assert 1 <= len(frames) < 5
    assert name == str(path)
    with pytest.raises(ImageError, match="damaged video: ends after [0-9]+ of 25 frames"):
        read(failed)


def test_files_that_are_no_video_are_errors(tmp_path):
    for name, content, reason in (
        ("text.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a video"),
        ("list.mkv", b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        ("empty.avi", b"", "empty file"),
        ("head.mp4", b"\0\0\0\x1cftypisom" + bytes(100), "damaged video"),
    ):
        (tmp_path / name).write_bytes(content)
        assert reason_of(tmp_path / name).startswith(reason), name
    assert reason_of(tmp_path / "gone.mp4") == "cannot be read: no such file or directory"
    (tmp_path / "folder.mp4").mkdir()
    assert reason_of(tmp_path / "folder.mp4") == "not a file"


def test_decoder_that_crashes_is_an_error(tmp_path, monkeypatch):
    crash = tmp_path / "crash.py"
    crash.write_text("import os, sys; sys.stdout.write('frame 0 0 2 2\\n123'); sys.stdout.flush(); os.abort()")
    monkeypatch.setattr(video, "__file__", str(crash))
    assert reason_of(write_video(tmp_path / "a.avi", frames=2)) == "damaged video: its decoder crashed"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes, on which a decoder waits")
def test_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.avi")
    monkeypatch.setattr(video, "_check", lambda path: None)  # which lets no pipe in
    monkeypatch.setattr(video, "SECONDS", 1)
    assert reason_of(tmp_path / "a.avi") == "damaged video: its decoder was at one frame for 1 seconds"


def test_slow_reader_gets_all_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "SECONDS", 1)
    names = []
    for name, _ in read_video(write_video(tmp_path / "a.avi", frames=4, size=(640, 480)), 1, 480):
        names.append(name)  # the decoder waits at the pipe, which is smaller than a frame
        time.sleep(1.2 if len(names) == 1 else 0)
    assert names == [f"{tmp_path / 'a.avi'}#frame={at}" for at in range(4)]


def test_frames_that_are_too_large_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("tl.data.decoding.MAX_PIXELS", 1000)
    assert reason_of(write_video(tmp_path / "a.avi", frames=2)) == "too large: frames of 64 x 48 pixels"
