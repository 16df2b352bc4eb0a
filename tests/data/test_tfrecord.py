"""TFRecord: written and read back, and damaged files."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from support.data_sets import photo, write
from tl.data.load import load
from tl.data.tfrecord import is_tfrecord, read_records, write_records
from tl.errors import DataError
from tl.workflows.data import convert


def records(path: Path, *values: dict[str, bytes | int]) -> Path:
    write_records(path, values)
    return path


def test_written_records_are_read_back(tmp_path):
    photos = {
        f"{part}/{label}/{at}.jpg": photo(at) for part in ("train", "val") for label in ("개", "cat") for at in (1, 2)
    }
    write(tmp_path / "photos", photos | {"train/cat/empty.png": b""})
    written = tmp_path / "records"
    assert convert(tmp_path / "photos", to="tfrecord", out=written).left_out == {"train/cat/empty.png": "empty file"}
    files = ["labels.txt", "train-00000-of-00001.tfrecord", "validation-00000-of-00001.tfrecord"]
    assert sorted(entry.name for entry in written.iterdir()) == files
    assert (written / "labels.txt").read_text(encoding="utf-8") == "cat\n개\n"
    original, back = load(tmp_path / "photos"), load(written)
    assert back.class_names == ("cat", "개")
    assert set(back.names) == set(original.names) - {"train/cat/empty.png"}
    for name, image, part in zip(back.names, back.images, back.parts, strict=True):
        at = original.names.index(name)
        assert isinstance(image, Path)
        assert image.read_bytes() == (tmp_path / "photos" / name).read_bytes()
        assert part == original.parts[at]
    assert load(written).images == back.images
    assert set(load(written / files[1]).parts) == {"train"}
    assert is_tfrecord(written / files[1])
    assert not is_tfrecord(written / "labels.txt")
    assert not is_tfrecord(tmp_path / "photos")


def test_values_are_read_back_compressed_or_not(tmp_path):
    values = {"text": "개".encode(), "number": -1, "large": 1 << 40, "empty": b""}
    path = records(tmp_path / "a.tfrecord", values, {})
    assert list(read_records(path)) == [values, {}]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_records(path)) == [values, {}]


def test_records_of_tensorflow_tutorials_are_read(tmp_path):
    content = (write(tmp_path, {"x.png": photo(1)}) / "x.png").read_bytes()
    back = load(records(tmp_path / "a.tfrecord", *({"image": content, "label": label} for label in (0, 5))))
    assert back.class_names == ("0", "5")
    assert back.names == ("a.tfrecord/000000", "a.tfrecord/000001")


def test_names_in_records_are_no_paths(tmp_path):
    image = (write(tmp_path, {"x.png": photo(1)}) / "x.png").read_bytes()
    hostile = ("../../../evil.png", "/etc/evil.png", "a\0b", "")
    rows = [
        {"image/encoded": image, "image/filename": name.encode(), "image/class/text": label}
        for name, label in zip(hostile, (b"../up", b"b", b"b", b"b"), strict=True)
    ]
    data = load(records(tmp_path / "h.tfrecord", *rows))
    assert len({image.parent.parent for image in data.images}) == 1
    assert all(image.name.isdecimal() for image in data.images)
    convert(tmp_path / "h.tfrecord", to="folders", out=tmp_path / "deep" / "er" / "out")
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "deep").rglob("*") if path.is_file()}
    assert all(name.startswith("deep/er/out/") for name in written)
    assert len(written) == 4
    assert not [path for path in tmp_path.rglob("evil*") if tmp_path / "deep" not in path.parents]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-3], "record 2: truncated or damaged"),
        (lambda raw: raw[:14], "record 1: truncated or damaged"),
        (lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:], "record 1: truncated or damaged"),
        (lambda raw: b"\x01" + raw[1:], "record 1: truncated or damaged"),
    ],
)
def test_damaged_file_is_a_data_error(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    path = records(tmp_path / "a.tfrecord", *[{"image/encoded": b"12345678", "image/class/text": b"cat"}] * 2)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert [entry.suffix for entry in (tmp_path / "cache" / "datasets").iterdir()] == [".lock"]


def test_record_that_is_no_example_is_a_data_error(tmp_path):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(DataError, match="record 1: no tf.train.Example"):
        load(tmp_path / "a.tfrecord")


def test_records_of_one_name_get_different_names(tmp_path):
    rows = [{"image/encoded": b"1", "image/filename": b"same.jpg", "image/class/text": label} for label in (b"a", b"b")]
    assert load(records(tmp_path / "a.tfrecord", *rows)).names == ("same.jpg", "a.tfrecord/000001")


def test_records_without_images_are_skipped(tmp_path):
    path = records(tmp_path / "a.tfrecord", {"x": 1}, {"image/encoded": b"1", "image/class/text": b"cat"})
    with pytest.raises(DataError, match="one class only"):
        load(path)
    data = load(path, labelled=False)
    assert [skipped.reason for skipped in data.skipped] == ["the record has no image/encoded"]
    with pytest.raises(DataError, match="no images"):
        load(records(tmp_path / "b.tfrecord", {"x": 1}))


def test_records_are_written_in_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("tl.data.tfrecord._SHARD", 20_000)
    write(tmp_path / "d", {f"{label}/{at}.png": photo(at) for label in "ab" for at in range(3)})
    convert(tmp_path / "d", to="tfrecord", out=tmp_path / "r")
    shards = sorted(path.name for path in (tmp_path / "r").glob("*.tfrecord"))
    assert len(shards) > 1
    assert shards[0] == f"data-00000-of-{len(shards):05d}.tfrecord"
    assert load(tmp_path / "r").parts == (None,) * 6


def test_tensorflow_writes_nothing_to_the_terminal(tmp_path):
    file = tmp_path / "a.tfrecord"
    script = "import pathlib, sys; from tl.data.tfrecord import write_records as write;"
    script += "write(pathlib.Path(sys.argv[1]), [{'image/encoded': b'photo'}])"
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr, file.exists()) == ("", "", True)
