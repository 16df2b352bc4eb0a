"""`tl predict`: every kind of input and of rows, kills at any moment, sorted files."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from html import escape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyarrow.parquet import read_table

import tl as library
from support.data_sets import photo, write, write_video
from support.image_kinds import encoded, white_drawing
from support.runs import copy_run, pin, read_csv
from support.session import ROOT
from tl.commands.predict import summary
from tl.errors import RunError, StorageError, UsageError
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run
from tl.workflows.predict import PredictResult

TL = [sys.executable, str(ROOT / "cli.py")]


def links(folder: Path, source: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        os.link(source, folder / f"{number:05}.png")
    return folder


def names(out: Path) -> list[str]:
    return [json.loads(line)["path"] for line in out.read_text().splitlines()]


def test_predict_writes_a_row_for_files_videos_and_broken_images(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", frames=5)
    (tmp_path / "bad.png").write_text("hello")
    out = tmp_path / "rows.csv"
    calls = []
    result = library.predict(
        [shapes / "noise", clip, tmp_path / "bad.png", "gone.png"],
        run=tiny_run,
        out=out,
        sha256=True,
        on_prediction=lambda one, columns: calls.append((one.name, len(out.read_text().splitlines()), columns.top)),
    )
    rows = read_csv(out)
    assert [row["path"] for row in rows] == [name for name, _, _ in calls]
    assert [lines for _, lines, _ in calls] == list(range(2, len(rows) + 2))  # the row is written before the call
    assert rows[12]["path"] == f"{clip}#frame=0"
    assert {row["label"] for row in rows[:12]} == {"noise"}
    assert [bool(row["error"]) for row in rows] == [False] * 13 + [True] * 2
    assert [len(row["sha256"]) for row in rows] == [64] * 13 + [0] * 2
    assert (result.count, result.failed, result.labels.total() + result.unknown) == (15, 2, 13)
    assert [row["seconds"] for row in rows] == [""] * 12 + ["0.0", "", ""]


def test_frames_of_videos_have_their_time(tl: Any, tiny_run: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", frames=12)
    words = ("predict", "*.avi", "--run", tiny_run, "--every", 5, "--top", 1)
    rows = json.loads(tl(*words, "--format", "json", cwd=tmp_path, expect=0).stdout)
    assert [row["seconds"] for row in rows] == pytest.approx([0, 0.2, 0.4])
    tl(*words, "--out", "rows.parquet", cwd=tmp_path, expect=0)
    assert read_table(tmp_path / "rows.parquet")["seconds"].to_pylist() == pytest.approx([0, 0.2, 0.4])
    assert "clip.avi#frame=5 (0.2 s): " in tl(*words, cwd=tmp_path, expect=0).stdout
    [prediction] = library.load(tiny_run).stream(clip, every=100)
    assert prediction.seconds == 0


def test_what_was_decided_about_images_is_said(tl: Any, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "white.png").write_bytes(encoded(white_drawing(), "PNG"))
    film = encoded(Image.new("RGB", (60, 40)), "GIF", save_all=True, append_images=[photo(1, 60, 40)])
    (tmp_path / "film.gif").write_bytes(film)
    result = tl("predict", "white.png", "film.gif", "--run", tiny_run, cwd=tmp_path, expect=0)
    assert "1 image drawn in white on a transparent ground, put over black" in result.stderr
    assert "1 image in files of several, of which one is used" in result.stderr
    assert "1 image" not in tl("predict", "white.png", "film.gif", "--quiet", "--run", tiny_run, cwd=tmp_path).stderr


def test_labels_are_counted_in_a_terminal(tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    words = ("predict", shapes, "--run", tiny_run, "--no-unknown")
    assert "labels" not in tl(*words, expect=0).stdout  # it may be piped to a program
    assert "labels      noise 12, stripes 12\n" in tl(*words, "--out", tmp_path / "rows.csv", expect=0).stdout
    result = PredictResult(unknown=3, review=1)
    assert summary(result) == "3 unknown, 1 for review"
    result.labels.update(dict.fromkeys(map(str, range(25)), 2), cat=1200)
    assert (
        summary(result) == f"cat 1,200, {', '.join(f'{at} 2' for at in range(19))} and 6 more, 3 unknown, 1 for review"
    )


def test_predict_returns_predictions_that_go_nowhere_else(shapes: Path, tiny_run: Path) -> None:
    result = library.predict(shapes / "stripes", run=tiny_run, top=1)
    assert [Path(one.name).name for one in result.predictions] == sorted(p.name for p in (shapes / "stripes").iterdir())
    assert {one.label for one in result.predictions} == {"stripes"}
    with pytest.raises(UsageError, match="no images: give a file"):
        library.predict([], run=tiny_run)


def test_kill_at_any_moment_loses_and_repeats_no_row(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
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
    assert names(out) == [str(many / f"{number:05}.png") for number in range(2001)]
    assert not (tmp_path / "rows.jsonl.unfinished").exists()


def test_interrupt_says_how_to_continue(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    many = links(tmp_path / "many", shapes / "noise" / "00.png", 3000)
    out = tmp_path / "rows.csv"
    command = [*TL, "predict", str(many), "--run", str(tiny_run), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not out.exists() or out.stat().st_size < 1000):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = out.read_bytes().count(b"\n") - 1
    assert errors == f"interrupted after {rows:,} rows: continue with --resume\n"


def test_files_are_sorted_before_their_row_is_written(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("hello")
    images = [shapes, tmp_path / "bad.png", write_video(tmp_path / "clip.avi", frames=1)]
    out, by_class = tmp_path / "rows.jsonl", tmp_path / "sorted"
    options = {"run": tiny_run, "by_class": by_class, "unknown": False}
    sorted_first = []

    def on_prediction(one, _) -> None:
        there = (by_class / one.label / Path(one.name).name).exists()
        sorted_first.append(one.error or "#" in one.name or there)

    result = library.predict(images, out=out, on_prediction=on_prediction, **options)
    assert all(sorted_first)
    assert (result.sorted, result.unsorted, result.not_files, result.failed) == (24, 0, 1, 1)
    for name in ("noise", "stripes"):
        copies = {path.name: path.read_bytes() for path in (by_class / name).iterdir()}
        assert copies == {path.name: path.read_bytes() for path in (shapes / name).iterdir()}
    assert (by_class / "errors.csv").read_text().splitlines()[1].startswith(f"{tmp_path / 'bad.png'},not an image")
    before = sorted(by_class.rglob("*"))
    assert library.predict(images, **options).sorted == 0
    assert sorted(by_class.rglob("*")) == before


def test_contradictory_options_leave_no_files(shapes: Path, tiny_run: Path, tmp_path: Path, tl) -> None:
    (tmp_path / "none").mkdir()
    photo = shapes / "noise" / "00.png"
    with pytest.raises(UsageError, match="--resume continues a file of rows"):
        library.predict(shapes, run=tiny_run, resume=True)
    with pytest.raises(UsageError, match="is inside"):
        library.predict(shapes, run=tiny_run, by_class=shapes / "sorted")
    with pytest.raises(UsageError, match="is where --by-class lists failures"):
        library.predict(shapes, run=tiny_run, out=tmp_path / "s" / "errors.csv", by_class=tmp_path / "s")
    for arguments, code, message in (
        (("none", "--out", "rows.csv"), 1, "error: folder 'none' "),
        ((photo, "none"), 1, "error: folder 'none' "),
        ((photo, "none", "--format", "json"), 1, "error: folder 'none' "),
        ((shapes, "--out", "new/rows.txt"), 2, "error: --out 'new/rows.txt': give a name that ends in .jsonl"),
        ((shapes, "--out", "none", "--format", "csv"), 2, "error: --out 'none' is not a file"),
        (("--paths-from", "gone.txt", "--out", "rows.csv"), 1, "error: list of paths 'gone.txt' cannot be read"),
        ((), 2, "error: Missing argument 'IMAGE...'"),
        ((shapes, "--timeout", "nan"), 2, "error: Invalid value for '--timeout': nan is not a number"),
    ):
        done = tl("predict", *arguments, "--run", tiny_run, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(message), done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


def test_standard_input_is_an_image_or_a_list_of_paths(shapes: Path, tiny_run: Path) -> None:
    photo = shapes / "noise" / "00.png"
    command = [*TL, "predict", "--run", str(tiny_run), "--top", "1"]
    done = subprocess.run([*command, "-"], input=photo.read_bytes(), capture_output=True, check=True)
    assert done.stdout.startswith(b"-: noise ")
    empty = subprocess.run([*command, "-"], input=b"", capture_output=True, check=False)
    assert (empty.returncode, empty.stderr) == (1, b"-: error: empty file\n")
    paths = b"\n".join(os.fsencode(path) for path in (photo, "gone.png", photo))
    listed = [*command, "--paths-from", "-", "--format", "csv"]
    done = subprocess.run(listed, input=paths, capture_output=True, check=False)
    assert done.returncode == 1
    rows = list(csv.DictReader(done.stdout.decode().splitlines(keepends=True)))
    assert [row["path"] for row in rows] == [str(photo), "gone.png", str(photo)]
    assert [row["label"] for row in rows] == ["noise", "", "noise"]


@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "json"])
def test_reader_that_closes_the_pipe_is_not_an_error(form: str, shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    many = links(tmp_path / "many", shapes / "noise" / "00.png", 500)
    command = [*TL, "predict", str(many), "--run", str(tiny_run), "--format", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(timeout=60)


def test_json_and_lines_agree_with_python(tl, shapes: Path, tiny_run: Path) -> None:
    paths = sorted(shapes.rglob("*.png"))
    predictions = Predictor(load_run(tiny_run)).predict(paths)
    lines = tl("predict", shapes, "--run", tiny_run, "--top", 2).stdout.splitlines()
    for line, path, expected in zip(lines, paths, predictions, strict=True):
        assert line.startswith(f"{path}: {expected.label} ")
        assert line.count("%") == 2
    printed = json.loads(tl("predict", shapes, "--run", tiny_run, "--format", "json").stdout)
    assert [row["path"] for row in printed] == [str(path) for path in paths]
    for row, expected in zip(printed, predictions, strict=True):
        assert row["label"] == expected.label
        assert row["confidence"] == pytest.approx(expected.confidence, abs=0.02)
        assert sum(item["confidence"] for item in row["top"]) == pytest.approx(1, abs=1e-4)


def test_no_framework_is_loaded(shapes: Path, tiny_run: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys; from tl.commands.main import cli\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'matplotlib', 'watchdog', 'pyarrow', 'openvino.tools.ovc'}\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    cli.main(words, standalone_mode=False)\n"
        "    print(words[0], sorted(heavy & set(sys.modules)))"
    )
    write_video(tmp_path / "clip.avi", frames=1)
    commands = [
        ["predict", "--out", "rows.csv", "--by-class", "sorted"],
        ["predict", "clip.avi"],
        ["grid"],
        ["explain"],
    ]
    calls = json.dumps([[*words, "--quiet", str(shapes), "--run", str(tiny_run)] for words in commands])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, calls]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment)
    assert done.stdout == "predict []\npredict []\ngrid []\nexplain []\n"


def test_what_is_left_out_in_a_folder_is_said_in_one_line(tl, tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "in", {name: (shapes / "noise" / "00.png").read_bytes() for name in ("a.png", "b", "@eaDir/c.png")}
    )
    write(tmp_path / "in", {"notes.txt": b"notes", "data.json": b"{}"})
    line = "left out: '@eaDir' (put there by the system), 2 files (not an image file: .json, .txt)"
    done = tl("predict", "in", "--run", tiny_run, cwd=tmp_path, expect=0)
    assert [row.partition(": ")[0] for row in done.stdout.splitlines()] == ["in/a.png", "in/b"]
    assert " ".join(done.stderr.split()) == f"note {line}"
    assert tl("predict", "in", "--quiet", "--run", tiny_run, cwd=tmp_path, expect=0).stderr == ""
    assert escape(line) in library.predict(tmp_path / "in", run=tiny_run)._repr_html_()


def test_interrupt_ends_the_wait_for_a_silent_server(tiny_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        command = [*TL, "predict", address, "--run", str(tiny_run), "--timeout", "60"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        connection, _ = silent.accept()
        with connection:
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors


def test_closed_standard_error_changes_nothing(tiny_run: Path, shapes: Path, tmp_path: Path) -> None:
    words = ["predict", str(shapes / "noise" / "00.png"), "--run", str(tiny_run), "--out", "rows.csv"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *TL, *words], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def strict_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was right only where it was certain: all its answers need review."""
    folder = copy_run(tiny_run, tmp_path_factory.mktemp("strict") / "run")
    rows = [row | {"confidence": "1.000000"} for row in read_csv(folder / "predictions.csv")]
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    pin(folder)
    return folder


def test_max_error_marks_what_is_to_be_reviewed(
    tl: Any, shapes: Path, tiny_run: Path, strict_run: Path, tmp_path: Path
) -> None:
    photo, bad = shapes / "noise" / "00.png", tmp_path / "bad.png"
    bad.write_text("hello")
    for run, review, label in ((tiny_run, False, "noise"), (strict_run, True, "review, best guess noise")):
        command = ["predict", photo, "--run", run, "--max-error", "50%"]
        assert tl(*command, expect=0).stdout.startswith(f"{photo}: {label} ")
        done = tl(*command, bad, "--format", "csv")
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert [row["review"] for row in rows] == [str(int(review)), ""]
        assert " ".join(done.stderr.split()).startswith(
            "answers at most 50% wrong among the answered, with 90% confidence: about 100% of images"
        )
        assert done.stderr.isascii()
        assert max(map(len, done.stderr.splitlines())) <= 80
        [row, _] = json.loads(tl(*command, bad, "--format", "json").stdout)
        assert (row["review"], row["label"]) == (review, "noise")
    assert "review" not in tl("predict", photo, "--run", tiny_run, "--format", "json").stdout


def test_max_error_in_python_and_in_sorted_folders(shapes: Path, strict_run: Path, tmp_path: Path) -> None:
    out, photo = tmp_path / "rows.parquet", shapes / "stripes" / "00.png"
    library.predict(photo, run=strict_run, max_error=0.5, out=out, by_class=tmp_path / "sorted")
    assert (tmp_path / "sorted" / "review" / "00.png").exists()
    [[review]] = zip(*read_table(out, columns=["review"]).to_pydict().values(), strict=True)
    assert review is True
    classifier = library.load(strict_run)
    [prediction] = classifier.predict(photo, max_error="50%")
    assert (prediction.label, prediction.review) == ("stripes", True)
    assert next(classifier.stream(photo, max_error=0.5)).review is True
    assert classifier.predict(photo)[0].review is None
    with pytest.raises(StorageError, match="--max-error"):
        library.predict(photo, run=strict_run, out=out, resume=True)


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_complete_rows_that_were_selected_otherwise_are_not_continued(
    shapes: Path, tiny_run: Path, strict_run: Path, tmp_path: Path, form: str
) -> None:
    photos, out = shapes / "noise", tmp_path / f"rows.{form}"
    library.predict([photos, __file__], run=tiny_run, max_error=0.5, out=out)
    before = out.read_bytes()
    library.predict([photos, __file__], run=tiny_run, max_error=0.5, out=out, resume=True)
    with pytest.raises(StorageError, match=r"another --max-error than 50%, or with another run: give the same"):
        library.predict([photos, shapes], run=strict_run, max_error=0.5, out=out, resume=True)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name]


def test_max_error_that_cannot_be_promised_is_refused_in_one_line(
    tl: Any, shapes: Path, tiny_run: Path, tmp_path: Path
) -> None:
    photo = shapes / "noise" / "00.png"
    too_few = f"--max-error 1% takes 230 held-out images, run {tiny_run.name} has 4: train with more images, or give"
    not_a_rate = "give a fraction from 0.0001 to 0.5, such as 0.2 or 20%"
    for value, message in (("1%", f"error: {too_few} 44% or more"), ("500%", f"'500%': {not_a_rate}")):
        done = tl("predict", photo, "--run", tiny_run, "--max-error", value, expect=2)
        assert message in done.stderr
        assert (done.stderr.count("\n"), done.stdout) == (1, "")
    with pytest.raises(UsageError, match=f"^--max-error 5: {not_a_rate}$"):
        library.predict(photo, run=tiny_run, max_error=5)
    with pytest.raises(UsageError, match=f"^max_error '5': {not_a_rate}$"):
        library.load(tiny_run).predict(photo, max_error=5)
    damaged = copy_run(tiny_run, tmp_path / "damaged")
    table = (damaged / "predictions.csv").read_text()
    for content in (table.replace(",0.9", ",7.9"), table.replace(",0.9", ",x")):
        (damaged / "predictions.csv").write_text(content)
        pin(damaged)
        with pytest.raises(RunError, match="confidence that is not between 0 and 1"):
            library.predict(photo, run=damaged, max_error=0.5)
    (damaged / "predictions.csv").unlink()
    with pytest.raises(RunError, match=r"predictions\.csv is missing"):
        library.predict(photo, run=damaged, max_error=0.5)
