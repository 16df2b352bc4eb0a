"""Tests of tl/service/archives.py: archives are unpacked, or refused without leaving anything."""

import gzip
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from support.hostile import ATTACKS, GOOD, PNG, mutated, tarred, zipped
from tl.errors import DataError, StorageError
from tl.service.archives import unpack
from tl.service.options import ArchiveLimits

LIMITS = ArchiveLimits(files=2000, unpacked=100_000_000, member=50_000_000, seconds=30, spare=0)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_unpack_a_zip(tmp_path):
    more = {"__MACOSX/cat/._1.png": b"", "readme.txt": b"hi", "more.zip": b"PK", "cat/.hidden.png": PNG, "dog/": b""}
    unpacked = unpack(zipped(tmp_path / "a", GOOD | more), tmp_path / "out", LIMITS)
    assert files_in(tmp_path / "out") == sorted(GOOD)
    assert (tmp_path / "out/cat/1.png").read_bytes() == PNG
    assert (unpacked.images, unpacked.bytes) == (4, 4 * len(PNG))
    assert unpacked.left_out == {"hidden": 2, "not an image file": 1, "an archive in the archive": 1}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_unpack_tars_of_all_formats(tmp_path, mode, form):
    long = "고양이/" + "a" * 60 + "/" + "b" * 60 + ".png"
    files = GOOD | ({long: PNG} if form != tarfile.USTAR_FORMAT else {})
    unpack(tarred(tmp_path / "a", files, mode, format=form), tmp_path / "out", LIMITS)
    assert files_in(tmp_path / "out") == sorted(files)


def test_unpack_concatenated_streams(tmp_path):
    content = tarred(tmp_path / "tar", GOOD).read_bytes()
    for at, pack in enumerate((gzip.compress, lzma.compress)):
        (tmp_path / "a").write_bytes(pack(content[:1000]) + pack(content[1000:]))
        assert unpack(tmp_path / "a", tmp_path / f"out{at}", LIMITS).images == 4


def test_only_images_are_unpacked(tmp_path):
    own = {"runs/a/grid.png": PNG, "runs/a/manifest.json": b"{}", "runs/a/head.npz": b"PK"}
    empty = {f"cat/{at}.jpg": b"" for at in range(3)}
    odd = {"cat/photo": PNG, "dog/b.jpg_large": PNG, "dog/notes": b"text"}
    helpers = {"@eaDir/1.jpg": PNG, "cat/#recycle/2.jpg": PNG}
    unpacked = unpack(zipped(tmp_path / "a", GOOD | own | empty | odd | helpers), tmp_path / "out", LIMITS)
    assert files_in(tmp_path / "out") == sorted([*GOOD, "cat/photo", "dog/b.jpg_large"])
    assert (unpacked.images, unpacked.bytes) == (6, 6 * len(PNG))
    others = {"empty file": 3, "not an image file": 3, "put there by the system": 2, "written by tl": 1}
    assert unpacked.left_out == others


@pytest.mark.parametrize(("encoding", "names"), [
    ("cp949", ["고양이", "강아지"]), ("cp949", ["개", "dog 사진"]), ("utf-8", ["고양이", "Bär"]),
    ("cp437", ["über", "maße"]),
    ("cp850", ["Bären", "Vögel"]), ("cp850", ["blåbær", "jordbær", "ø"]), ("cp850", ["señal", "niño"]),
    ("cp1252", ["Bären", "Vögel"]), ("cp1252", ["pêche", "clé"]), ("cp850", ["été", "forêt"]),
    ("cp932", ["猫", "犬"]), ("cp932", ["ねこ", "いぬ"]), ("cp932", ["リンゴ", "柴犬"]), ("cp936", ["苹果", "香蕉"]),
    ("cp866", ["кошка", "собака"]), ("cp1251", ["кошка", "собака"]),
])  # fmt: skip
def test_unpack_guesses_the_encoding_of_names_by_the_whole_zip(tmp_path, encoding, names):
    plain = {f"c{at}".ljust(len(name.encode(encoding)), "_"): name.encode(encoding) for at, name in enumerate(names)}
    if any(len(placeholder) != len(raw) for placeholder, raw in plain.items()):  # "c0" does not fit into one byte
        plain = {
            chr(ord("v") + at) * len(name.encode(encoding)): name.encode(encoding) for at, name in enumerate(names)
        }
    content = zipped(tmp_path / "a", {f"{name}/1.png": PNG for name in plain}).read_bytes()
    for name, raw in plain.items():
        content = content.replace(name.encode() + b"/1.png", raw + b"/1.png")
    (tmp_path / "a").write_bytes(content)
    unpacked = unpack(tmp_path / "a", tmp_path / "out", LIMITS)
    assert files_in(tmp_path / "out") == sorted(f"{name}/1.png" for name in names)
    assert bool(unpacked.notes) == (encoding != "utf-8")


def test_unpack_decodes_names_in_a_tar_and_keeps_files_that_differ_only_in_case(tmp_path):
    files = {"강아지/A.png": PNG, "강아지/a.png": PNG, "강아지/a.PNG": PNG}
    archive = tarred(tmp_path / "a", files, encoding="cp949", format=tarfile.GNU_FORMAT)
    unpack(archive, tmp_path / "out", LIMITS)
    assert files_in(tmp_path / "out") == ["강아지/A.png", "강아지/a-2.png", "강아지/a-3.PNG"]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing(tmp_path, name):
    archive = ATTACKS[name](tmp_path / "archive")
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(DataError) as caught:
        unpack(archive, home / "out", LIMITS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert list(home.iterdir()) == []
    assert sorted(os.listdir(tmp_path)) == ["archive", "home"]


def peak_memory(archive, folder):
    tracemalloc.start()
    with suppress(DataError):
        unpack(archive, folder, LIMITS)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    "name", ["tar of a long name", "tar sparse map", "tar.bz2 bomb", "tar.xz dictionary", "zip of too many"]
)
def test_an_attack_takes_little_memory(tmp_path, name):
    assert peak_memory(ATTACKS[name](tmp_path / "archive"), tmp_path / "out") < 16_000_000


def test_a_large_tar_is_streamed(tmp_path):
    files = {f"cat/{at}.png": os.urandom(1 << 20) * 3 for at in range(15)}
    archive = tarred(tmp_path / "a", files, "w:gz", compresslevel=1)
    assert peak_memory(archive, tmp_path / "out") < 8_000_000
    assert len(files_in(tmp_path / "out")) == 15


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    archive = zipped(tmp_path / "a", {"cat/1.png": os.urandom(100_000)}, zipfile.ZIP_STORED)
    code = (
        "import resource, signal, sys; from pathlib import Path; from tl.service.archives import unpack;"
        "from tl.service.options import ArchiveLimits as Limits; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "unpack(Path(sys.argv[1]), Path(sys.argv[2]), Limits(spare=0))"
    )
    done = subprocess.run([sys.executable, "-c", code, archive, tmp_path / "out"], capture_output=True, text=True)
    assert "StorageError: the archive cannot be unpacked (file too large)" in done.stderr
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("limits", "is_cancelled", "error", "message"), [
    (LIMITS, True, DataError, "cancelled"),
    (ArchiveLimits(seconds=-1), False, DataError, "longer than -1 s"),
    (ArchiveLimits(spare=1 << 60), False, StorageError, "disk is full"),
])  # fmt: skip
def test_unpack_that_is_cancelled_late_or_out_of_space_leaves_nothing(tmp_path, limits, is_cancelled, error, message):
    with pytest.raises(error, match=message):
        unpack(zipped(tmp_path / "a", GOOD), tmp_path / "out", limits, lambda: is_cancelled)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_damaged_archives_never_write_outside_their_folder(tmp_path, kind):
    files = GOOD | {"cat/lang-고양이.png": os.urandom(3000), "x" * 120 + "/1.png": PNG}
    make = zipped if kind == "zip" else partial(tarred, mode=f"w:{kind.removeprefix('tar')}")
    archive = make(tmp_path / "a", files)
    home = tmp_path / "home"
    home.mkdir()
    content, draw = archive.read_bytes(), random.Random(len(kind))
    for _ in range(150):
        (tmp_path / "a").write_bytes(mutated(content, draw))
        with suppress(DataError):
            unpack(tmp_path / "a", home / "out", LIMITS)
            shutil.rmtree(home / "out")
        assert list(home.iterdir()) == []
    assert sorted(os.listdir(tmp_path)) == ["a", "home"]
