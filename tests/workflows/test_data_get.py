"""Known data sets: listed, fetched from a real server with their checksum, and put where one wants them."""

import json
from pathlib import Path

import pytest

from support.known_data import photos_zip, serve
from support.known_data import site as site
from support.session import Tl
from tl.data.load import load
from tl.errors import DataError, DownloadError, UsageError
from tl.workflows.data import get, list_known


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TL_OFFLINE", raising=False)
    return tmp_path


def test_get_downloads_once_and_copies(
    home: Path,
    site: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
):
    served = photos_zip(site[0] / "photos.zip")
    serve(monkeypatch, "dogs-vs-cats", served, site[1])
    assert [one.path for one in list_known()] == [None, None]
    got = get("dogs-vs-cats")
    assert got.path == home / "cache" / "datasets" / "dogs-vs-cats"
    assert got.checksum.startswith("sha256:")
    served.unlink()
    copied = get("dogs-vs-cats", out=home / "mine", offline=True)
    assert copied.path == home / "mine" / "dogs-vs-cats"
    assert load(copied.path).class_names == ("Cat", "Dog")
    assert [one.path is not None for one in list_known()] == [False, True]
    with pytest.raises(UsageError, match="is there already"):
        get("dogs-vs-cats", out=home / "mine")


def test_get_refuses_another_checksum(
    home: Path,
    site: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
):
    served = photos_zip(site[0] / "photos.zip")
    serve(monkeypatch, "dogs-vs-cats", served, site[1])
    served.write_bytes(served.read_bytes() + b"x")
    with pytest.raises(DownloadError):
        get("dogs-vs-cats")
    assert list_known()[1].path is None


def test_get_refuses_unknown_names_and_offline(home: Path):
    with pytest.raises(UsageError, match="there are cifar100, dogs-vs-cats"):
        get("imagenet")
    with pytest.raises(DataError, match="cannot be fetched offline"):
        get("cifar100", offline=True)


def test_command_lists_and_gets(tl: Tl, home: Path):
    listing = tl("data", "get", cwd=home)
    assert listing.stdout.splitlines()[1].startswith("data set    dogs-vs-cats: not here; 825 MB from download.")
    assert [one["name"] for one in json.loads(tl("data", "get", "--json", cwd=home).stdout)] == [
        "cifar100",
        "dogs-vs-cats",
    ]
    (home / "cache/datasets/dogs-vs-cats/Cat").mkdir(parents=True)
    done = tl("data", "get", "dogs-vs-cats", "--offline", "--out", "here", cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "data set    dogs-vs-cats: here/dogs-vs-cats"
    assert (home / "here/dogs-vs-cats/Cat").is_dir()
    refused = tl("data", "get", "cifar100", "--offline", cwd=home)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
