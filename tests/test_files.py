"""Files: written whole or not at all, free names, locks, the environment of child processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tl.errors import StorageError, TLError
from tl.files import atomic_write, child_environment, locked, remove, write_text


def test_atomic_write_replaces_a_file_and_leaves_no_scratch(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "first")
    write_text(tmp_path / "new" / "a.txt", "second é")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "second é"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("error", "kind", "message"), [
    (KeyError("x"), KeyError, "x"),
    (KeyboardInterrupt("x"), KeyboardInterrupt, "x"),
    (OSError(28, "No space left on device"), StorageError, "'.*out' cannot be written: no space left.*; free some"),
])  # fmt: skip
def test_atomic_write_that_fails_leaves_nothing(tmp_path, error, kind, message):
    def fail() -> None:
        with atomic_write(tmp_path / "out") as scratch:
            scratch.mkdir()
            (scratch / "half").write_text("x")
            raise error

    with pytest.raises(kind, match=message):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [True, False])
def test_atomic_write_without_overwrite_keeps_what_appeared_meanwhile(tmp_path, folder):
    target = tmp_path / "out"

    def write() -> None:
        with atomic_write(target, overwrite=False) as scratch:
            for path in (scratch, target):
                path.mkdir() if folder else path.write_text(path.name)

    with pytest.raises(StorageError, match="cannot be written: file exists"):
        write()
    assert list(tmp_path.iterdir()) == [target]
    assert folder or target.read_text() == "out"


def test_remove_takes_files_folders_links_and_nothing(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "link", "gone"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_locked_raises_where_another_process_holds_the_lock(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from tl.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, env=child_environment(), **pipes) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TLError, match="in use"), locked(lock, busy=TLError("in use"), timeout=0):
            pass
        process.communicate()
    with locked(lock, timeout=0):
        pass


def test_child_environment_finds_this_package_and_hides_secrets(monkeypatch):
    monkeypatch.setenv("TOKEN", "x")
    monkeypatch.setenv("TL_CACHE_DIR", "relative")
    assert child_environment()["TOKEN"] == os.environ["TOKEN"]
    assert child_environment()["TL_CACHE_DIR"] == os.path.abspath("relative")
    bare = child_environment(inherit=False)
    assert "TOKEN" not in bare
    assert Path(bare["PYTHONPATH"].split(os.pathsep)[0], "tl").is_dir()
