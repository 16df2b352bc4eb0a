"""`tl predict` at any size: everything that can be given, every form of rows, kills at any moment, sorted photos."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.data_sets import write_video
from support.session import ROOT
from tl.data.images import ImageLike, UnreadableImage
from tl.errors import StorageError, UsageError
from tl.prediction import predictor as prediction
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run
from tl.workflows.predict import Asked, Labelled, label

TL = [sys.executable, str(ROOT / "cli.py")]


@pytest.fixture(scope="module")
def asked(tiny_run: Path):
    """Asks for images, with the run and what else is given."""

    def make(*images: object, **options: object) -> Asked:
        return Asked(images=[str(image) for image in images], run=str(tiny_run), **options)

    return make


def links(folder: Path, source: Path, count: int) -> Path:
    folder.mkdir()
    for at in range(count):
        os.link(source, folder / f"{at:05}.png")
    return folder


def names(out: Path) -> list[str]:
    return [json.loads(line)["path"] for line in out.read_text().splitlines()]


def test_files_videos_and_broken_ones_are_rows_in_order(asked, shapes: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", frames=5)
    (tmp_path / "bad.png").write_text("hello")
    out = tmp_path / "rows.csv"
    said = []
    made = label(
        asked(shapes / "noise", clip, tmp_path / "bad.png", "gone.png", "http://127.0.0.1/x.png", out=out, sha256=True),
        lambda one, columns: said.append((one.name, len(out.read_text().splitlines()), columns.top)),
    )
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [name for name, _, _ in said]
    assert [lines for _, lines, _ in said] == list(range(2, len(rows) + 2))  # each row is there before it is said
    assert rows[12]["path"] == f"{clip}#frame=0"
    assert {row["label"] for row in rows[:12]} == {"noise"}
    assert [bool(row["error"]) for row in rows] == [False] * 13 + [True] * 3
    assert rows[15]["error"].startswith("cannot be downloaded: ")
    assert [len(row["sha256"]) for row in rows] == [64] * 13 + [0] * 3
    assert made == Labelled(count=16, failed=3)


def test_a_kill_at_any_moment_costs_no_row_and_doubles_none(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    many = links(tmp_path / "many", shapes / "noise" / "00.png", 2000)
    out = tmp_path / "rows.jsonl"
    command = [*TL, "predict", str(many), "--run", str(tiny_run), "--out", str(out), "--resume", "--quiet"]
    least = 0
    for more in (1, 300, 300):
        process = subprocess.Popen(command)
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < least + more):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        least = len(names(out)) if out.read_bytes().endswith(b"\n") else out.read_bytes().count(b"\n")
        assert (tmp_path / "rows.jsonl.unfinished").exists()
    assert least < 2000
    with out.open("ab") as file:
        file.write(b'{"path": "torn')
    (many / "00000.png").unlink()
    os.link(many / "00001.png", many / "02000.png")
    done = subprocess.run([*command[:-1]], capture_output=True, text=True, check=True)
    assert f"2,001 in {out}, {least:,} of them from before" in " ".join(done.stdout.split())
    assert names(out) == [str(many / f"{at:05}.png") for at in range(2001)]
    assert not (tmp_path / "rows.jsonl.unfinished").exists()


def test_an_interrupt_says_how_to_go_on(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    many = links(tmp_path / "many", shapes / "noise" / "00.png", 3000)
    out = tmp_path / "rows.csv"
    command = [*TL, "predict", str(many), "--run", str(tiny_run), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not out.exists() or out.stat().st_size < 1000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = out.read_bytes().count(b"\n") - 1
    assert said == f"interrupted after {rows:,} rows: go on with --resume\n"


def test_broken_files_that_pass_a_waiting_photo_do_not_gather(
    shapes: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_WINDOW", 100)
    taken = answered = most = 0

    def items() -> Iterator[tuple[str, ImageLike]]:
        nonlocal taken, most
        for at in range(2000):
            taken += 1
            most = max(most, taken - answered)
            good = at % 1000 == 0
            yield str(at), shapes / "noise" / "00.png" if good else UnreadableImage("broken")

    for at, found in enumerate(Predictor(load_run(tiny_run)).in_order(items())):
        assert found.name == str(at)
        assert found.error == ("" if at % 1000 == 0 else "broken")
        answered += 1
    assert answered == 2000
    assert most <= 101


def test_photos_are_sorted_before_their_row_is_written(asked, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("hello")
    given = [shapes, tmp_path / "bad.png", write_video(tmp_path / "clip.avi", frames=1)]
    out, by_class = tmp_path / "rows.jsonl", tmp_path / "sorted"
    seen = []

    def each(one, columns) -> None:
        seen.append(one.error or "#" in one.name or (by_class / one.label / Path(one.name).name).exists())

    made = label(asked(*given, out=out, by_class=by_class, unknown=False), each)
    assert all(seen)
    assert (made.sorted, made.unsorted, made.not_files, made.failed) == (24, 0, 1, 1)
    for name in ("noise", "stripes"):
        there = {path.name: path.read_bytes() for path in (by_class / name).iterdir()}
        assert there == {path.name: path.read_bytes() for path in (shapes / name).iterdir()}
    assert (by_class / "errors.csv").read_text().splitlines()[1].startswith(f"{tmp_path / 'bad.png'},not an image")
    before = sorted(by_class.rglob("*"))
    again = label(asked(*given, by_class=by_class, unknown=False))
    assert again.sorted == 0
    assert sorted(by_class.rglob("*")) == before


def test_what_contradicts_itself_leaves_nothing_behind(asked, shapes: Path, tiny_run: Path, tmp_path: Path, tl) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="--resume goes on with a file of rows"):
        label(asked(shapes, resume=True))
    with pytest.raises(UsageError, match="lies inside of"):
        label(asked(shapes, by_class=shapes / "sorted"))
    for arguments, code, message in (
        (("none", "--out", "rows.csv"), 1, "error: folder 'none' holds no images"),
        ((shapes, "--json", "--format", "csv"), 2, "error: --json and --format csv contradict each other"),
        ((shapes, "--out", "new/rows.txt"), 2, "error: --out 'new/rows.txt': a file of rows is called .jsonl"),
        ((shapes, "--out", "none", "--format", "csv"), 2, "error: --out 'none' is no file"),
        (("--paths-from", "gone.txt", "--out", "rows.csv"), 1, "error: list of paths 'gone.txt' cannot be read"),
    ):
        done = tl("predict", *arguments, "--run", tiny_run, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(message), done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


def test_standard_input_is_an_image_or_a_list(shapes: Path, tiny_run: Path) -> None:
    photo = shapes / "noise" / "00.png"
    command = [*TL, "predict", "--run", str(tiny_run), "--top", "1"]
    done = subprocess.run([*command, "-"], input=photo.read_bytes(), capture_output=True, check=True)
    assert done.stdout.startswith(b"-: noise ")
    nothing = subprocess.run([*command, "-"], input=b"", capture_output=True, check=False)
    assert (nothing.returncode, nothing.stderr) == (1, b"-: error: empty file\n")
    paths = b"\0".join(os.fsencode(path) for path in (photo, "gone\n.png", photo))
    listed = [*command, "--paths-from", "-", "--format", "csv"]
    done = subprocess.run(listed, input=paths, capture_output=True, check=False)
    assert done.returncode == 1
    rows = list(csv.DictReader(done.stdout.decode().splitlines(keepends=True)))
    assert [row["path"] for row in rows] == [str(photo), "gone\n.png", str(photo)]
    assert [row["label"] for row in rows] == ["noise", "", "noise"]


def test_a_reader_that_goes_away_is_no_accident(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    many = links(tmp_path / "many", shapes / "noise" / "00.png", 500)
    for form in ("table", "jsonl", "csv", "json"):
        command = [*TL, "predict", str(many), "--run", str(tiny_run), "--format", form]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b"", form
            process.wait(timeout=60)


def test_python_streams_whatever_the_command_takes(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    import tl as library

    (tmp_path / "table.csv").write_text(f"path\n{shapes / 'noise' / '00.png'}\ngone.png\n")
    clip = write_video(tmp_path / "clip.avi", frames=4)
    found = list(library.load(tiny_run).stream([tmp_path / "table.csv", clip, str(shapes / "stripes")], top=1, every=3))
    assert [one.name.rsplit("/")[-1] for one in found[:4]] == [
        "00.png",
        "gone.png",
        "clip.avi#frame=0",
        "clip.avi#frame=3",
    ]
    assert [bool(one.error) for one in found] == [False, True] + [False] * 14
    with pytest.raises(UsageError, match="at least 1 each"):
        library.load(tiny_run).stream(shapes, every=0)


def test_neither_tensorflow_nor_keras_is_loaded(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from tl.commands.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'matplotlib', 'watchdog', 'pyarrow'} & set(sys.modules)))"
    )
    clip = write_video(tmp_path / "clip.avi", frames=1)
    options = ["--out", "rows.csv", "--by-class", "sorted", "--run", str(tiny_run), "--quiet"]
    command = [sys.executable, "-c", code, "predict", str(shapes), str(clip), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment)
    assert done.stdout == "[]\n"


def test_threads_are_a_number_for_the_engine(tiny_run: Path) -> None:
    predictor = Predictor(load_run(tiny_run), threads=1)
    assert predictor.engine.network.get_property("INFERENCE_NUM_THREADS") == 1  # type: ignore[attr-defined]


def test_a_photo_alone_has_all_processors_and_the_same_answer(shapes: Path, tiny_run: Path) -> None:
    photo = shapes / "noise" / "00.png"
    alone, usual = (Predictor(load_run(tiny_run), alone=alone) for alone in (True, False))
    assert alone.engine.network.get_property("NUM_STREAMS") == 1  # type: ignore[attr-defined]
    assert alone.predict([photo]) == usual.predict([photo])
    with pytest.raises(UsageError, match="--threads 0: give 1 or more"):
        Predictor(load_run(tiny_run), alone=True, threads=0)


def test_ctrl_c_ends_it_while_a_server_keeps_silent(tiny_run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        slow = ("--timeout", "60")
        process = subprocess.Popen([*TL, "predict", address, "--run", str(tiny_run), *slow], stderr=subprocess.PIPE)
        connection, _ = silent.accept()
        with connection:
            time.sleep(0.5)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert time.monotonic() - started < 10


def test_rows_of_other_columns_are_not_mixed(asked, shapes: Path, tmp_path: Path) -> None:
    photo = shapes / "noise" / "00.png"
    for form in ("jsonl", "json", "csv", "parquet"):
        out = tmp_path / f"rows.{form}"
        label(asked(photo, out=out, top=1))
        before = out.read_bytes()
        for other in ({"top": 2}, {"top": 1, "sha256": True}):
            with pytest.raises(StorageError, match="has other columns than are to be written"):
                label(asked(photo, out=out, resume=True, **other))
            assert out.read_bytes() == before
            assert not (tmp_path / f"rows.{form}.unfinished").exists()


def test_rows_and_failures_cannot_be_one_file(asked, shapes: Path, tmp_path: Path) -> None:
    photo = shapes / "noise" / "00.png"
    with pytest.raises(UsageError, match="is where --by-class tells what failed"):
        label(asked(photo, out=tmp_path / "s" / "errors.csv", by_class=tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []


def test_nan_is_no_number_of_seconds(tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    for words in (("predict", str(shapes), "--timeout", "nan"), ("watch", str(tmp_path), "--settle", "nan")):
        done = subprocess.run([*TL, *words, "--run", str(tiny_run)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "nan is not in the range" in done.stderr


def test_a_closed_standard_error_changes_nothing(tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    words = ["predict", str(shapes / "noise" / "00.png"), "--run", str(tiny_run), "--out", "rows.csv"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *TL, *words], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2
