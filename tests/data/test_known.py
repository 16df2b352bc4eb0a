"""The data sets known by name: found, asked for, fetched from a real server, unpacked with care."""

import dataclasses
import hashlib
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from data.test_cifar import official, packed
from tl.data import known
from tl.data.load import load
from tl.errors import DataError, DownloadError
from tl.progress import Progress


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(autouse=True)
def no_keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


def serve(monkeypatch: pytest.MonkeyPatch, name: str, file: Path, url: str) -> None:
    checksum = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    changed = dataclasses.replace(known.KNOWN[name], url=url + file.name, checksum=checksum)
    monkeypatch.setitem(known.KNOWN, name, changed)


def photos_zip(file: Path, *more: tuple[str | ZipInfo, bytes]) -> Path:
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for kind in ("Cat", "Dog"):
            for number in range(3):
                archive.writestr(f"PetImages/{kind}/{number}.jpg", f"{kind} {number}")
        archive.writestr("PetImages/Cat/Thumbs.db", b"x")
        archive.writestr("readme[1].txt", b"x")
        for name, content in more:
            archive.writestr(name, content)
    return file


@pytest.mark.parametrize("name", ["cifar100", "dogs-vs-cats"])
def test_what_is_not_here_says_where_it_looked_and_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name, cache_dir=tmp_path / "cache")
    text = str(caught.value)
    assert text.startswith(f"data set {name!r} is not on this machine (looked for {tmp_path}")
    assert "add --download to fetch it" in text
    assert "give the path of" in text
    assert "\n" not in text
    with pytest.raises(DataError, match="it cannot be fetched offline"):
        load(name, cache_dir=tmp_path / "cache", download=True, offline=True)
    assert not (tmp_path / "cache").exists()


def test_photos_are_fetched_once_and_found_again(
    tmp_path: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, "dogs-vs-cats", photos_zip(site[0] / "photos.zip"), site[1])
    cache = tmp_path / "cache"
    data = load("dogs-vs-cats", download=True, cache_dir=cache)
    assert data.name == "dogs-vs-cats"
    assert data.class_names == ("Cat", "Dog")
    assert len(data.names) == 6
    assert Path(data.images[0]).read_bytes() == b"Cat 0"
    assert sorted(p.name for p in (cache / "datasets").iterdir() if p.suffix != ".lock") == ["dogs-vs-cats"]
    (site[0] / "photos.zip").unlink()
    assert load("dogs-vs-cats", cache_dir=cache).names == data.names


def test_cifar_is_fetched_and_found_again(
    tmp_path: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(official(tmp_path / "c"), site[0] / "cifar-100-python.tar.gz")
    serve(monkeypatch, "cifar100", archive, site[1])
    data = load("cifar100", download=True, cache_dir=tmp_path / "cache")
    assert data.name == "cifar100"
    assert len(data.names) == 9
    assert load("cifar100", cache_dir=tmp_path / "cache").names == data.names


@pytest.mark.parametrize("where", ["cifar-100-python", "cifar-100-python-target/cifar-100-python"])
def test_what_keras_has_is_used(tmp_path: Path, no_keras_cache: Path, where: str) -> None:
    official(no_keras_cache / "datasets" / where)
    assert len(load("cifar100", cache_dir=tmp_path / "cache").names) == 9


def test_an_archive_that_keras_has_is_used(tmp_path: Path, no_keras_cache: Path) -> None:
    (no_keras_cache / "datasets").mkdir(parents=True)
    packed(official(tmp_path / "c"), no_keras_cache / "datasets" / "cifar-100-python.tar.gz")
    assert len(load("cifar100", cache_dir=tmp_path / "cache").names) == 9


def test_a_wrong_file_is_refused(tmp_path: Path, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = photos_zip(site[0] / "photos.zip")
    serve(monkeypatch, "dogs-vs-cats", file, site[1])
    file.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"dogs-vs-cats cannot be fetched from .*: its checksum is wrong"):
        load("dogs-vs-cats", download=True, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache" / "datasets" / "dogs-vs-cats").exists()


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    target = tmp_path / "in" / "photos"
    target.parent.mkdir()
    archive = photos_zip(
        tmp_path / "evil.zip",
        ("../evil.jpg", b"x"),
        ("PetImages/Cat/../../../evil.jpg", b"x"),
        ("/PetImages/Cat/1.jpg", b"x"),
        ("PetImages/Cat/9.jpg\n", b"x"),
        ("PetImages\\Cat\\8.jpg", b"x"),
        (link("PetImages/Cat/7.jpg"), b"/etc/passwd"),
    )
    known.extract_photos(archive, target, Progress())
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written - {"evil.zip", "in/photos/Cat/7.jpg"} == {
        f"in/photos/{kind}/{n}.jpg" for kind in ("Cat", "Dog") for n in range(3)
    }
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_damaged_and_oversized_archives_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "photos"
    (tmp_path / "text.zip").write_bytes(b"no archive")
    whole = photos_zip(tmp_path / "whole.zip").read_bytes()
    at = whole.index(b"Cat/0.jpg") + 12
    (tmp_path / "hurt.zip").write_bytes(whole[:at] + b"\xff\xff\xff" + whole[at + 3 :])
    for name in ("text", "hurt"):
        with pytest.raises(DataError, match=rf"{name}\.zip' is damaged .*: delete it and fetch it again"):
            known.extract_photos(tmp_path / f"{name}.zip", target, Progress())
    with ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(DataError, match="holds no photos under PetImages/Cat"):
        known.extract_photos(tmp_path / "empty.zip", target, Progress())
    monkeypatch.setattr(known, "_MAX_PHOTO", 4)
    with pytest.raises(DataError, match="holds more than the photos of cats and dogs do"):
        known.extract_photos(tmp_path / "whole.zip", target, Progress())
    assert not target.exists()
    assert not list(tmp_path.glob("*.part"))


def test_what_a_killed_extraction_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos.part" / "Cat").mkdir(parents=True)
    (tmp_path / "photos.part" / "Cat" / "99.jpg").touch()
    known.extract_photos(photos_zip(tmp_path / "whole.zip"), tmp_path / "photos", Progress())
    assert not (tmp_path / "photos" / "Cat" / "99.jpg").exists()
    assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 6
