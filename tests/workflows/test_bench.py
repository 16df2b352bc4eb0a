"""`tl bench`: numbers that can be, a table of 80 columns, a picture with nothing cut; a tiny network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tl.engines.autotune import DEFAULT, Choice, Measured, remembered
from tl.engines.openvino import OpenVINOEngine
from tl.errors import DataError, UsageError
from tl.progress import Progress
from tl.runs.run import load_run, trunk_key
from tl.views.pictures.timing import check_picture, figure, save_plot
from tl.views.terminal.timing import HEADINGS, explained, lines, number, table
from tl.workflows.bench import Asked, Timing, bench
from tl.workflows.bench_cells import MOST, Cell, Process, sample
from views.pictures.test_curves import words

MACHINE = "Intel(R) Xeon(R) Platinum 8488C, 192 CPUs, OpenVINO 2026.4.1"


def made(name: str = "run", scale: float = 1.0, sizes: tuple[int, ...] = (1, 4, 16)) -> Timing:
    cells = tuple(
        Cell(precision, size, 5, *(slow * scale * size * by for by in (1, 1.2, 1.9)), 800 / slow, 900 / slow)
        for precision, slow in (("bf16", 8.0), ("f32", 40.0))
        for size in sizes
    )
    processes = (
        Process("one photo", 1, 0.71, 259.4),
        Process("one photo, run read from disk", 1, 1.36, None),
        Process("64 photos", 64, 1.9, 1413.0),
    )
    choices = {"bf16": Choice(32, 48, 96), "f32": DEFAULT}
    measured = {"bf16": Measured(Choice(32, 48, 96), 1204.0, 900.0)}
    return Timing(name, MACHINE, "openvino", "64 validation photos", cells, processes, choices, measured, 103.2)


def test_the_command_measures_prints_and_draws(tl, tiny_run, tmp_path):
    options = ("--batch", "1,3", "--precision", "f32", "--seconds", "0.3")
    done = tl("bench", tiny_run, *options, "--out", tmp_path / "bench.png", "--remember")
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80
    assert all(heading in done.stdout for heading in HEADINGS)
    assert "validation photos" in done.stdout
    assert "remembered" in done.stdout
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.width == 1200
    engine = OpenVINOEngine(tiny_run / "trunk.xml", trunk_key(load_run(tiny_run)), "f32")
    assert remembered(engine.key, engine.machine) is not None


def test_the_figures_can_be_true(tl, tiny_run):
    done = tl("bench", tiny_run, "--batch", "1,3", "--precision", "f32", "--seconds", "0.3", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(cell["precision"], cell["batch"]) for cell in told["cells"]] == [("f32", 1), ("f32", 3)]
    for cell in told["cells"]:
        assert 0 < cell["p50"] <= cell["p95"] <= cell["p99"] < 60_000
        assert cell["rate"] > 0
        assert cell["ratio"] == pytest.approx(cell["rate"] / cell["bare"])
        assert 0.01 < cell["ratio"] < 3
        assert cell["calls"] >= 3
    assert told["choices"] == {"f32": {"batch": 16, "streams": None, "threads": 1}}
    assert told["measured"] == {}
    assert told["benchmark_app"] is None or told["benchmark_app"] > 0
    one, *_, all_photos = told["processes"]
    assert (one["photos"], all_photos["photos"]) == (1, len(list_of(tiny_run)))
    assert all(0.1 < process["seconds"] < 120 for process in told["processes"])
    assert all(50 < process["megabytes"] < 4000 for process in told["processes"])


def list_of(run: Path) -> list[str]:
    return [row for row in (run / "split.csv").read_text().splitlines() if ",validation," in row]


def test_photos_that_are_gone_are_drawn_unless_they_were_named(tiny_run, tmp_path):
    gone = tmp_path / "run"
    shutil.copytree(tiny_run, gone)
    (gone / "split.csv").unlink()
    with sample(load_run(gone), None, Progress()) as photos:
        assert photos.about == "64 drawn JPEGs of 500 × 375 pixels"
        assert len(photos.files) == MOST
        with Image.open(photos.files[0]) as photo:
            assert (photo.size, photo.format) == ((500, 375), "JPEG")
        assert 10_000 < photos.files[0].stat().st_size < 200_000
    assert not photos.files[0].exists()
    with pytest.raises(DataError), sample(load_run(tiny_run), str(tmp_path / "nowhere"), Progress()):
        pass


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"batch": (0,)}, "--batch 0"),
        ({"batch": ()}, "--batch has 0 sizes"),
        ({"batch": (4096,)}, "from 1 to 1024"),
        ({"precision": ("f64",)}, "f64"),
        ({"seconds": 0.0}, "--seconds 0"),
        ({"seconds": float("nan")}, "--seconds nan"),
        ({"threads": 2, "remember": True}, "leave --threads out"),
        ({"engine": "torch"}, "no engine is called 'torch'"),
        ({"engine": "tensorflow", "remember": True}, "leave it out, or --engine tensorflow"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(tiny_run, asked, said):
    with pytest.raises(UsageError, match=said):
        bench(Asked(tiny_run, **asked))


def test_wrong_usage_ends_with_two(tl, tiny_run):
    for options in (("--batch", "many"), ("--out", "bench.jpg"), ("--threads", "0")):
        done = tl("bench", tiny_run, *options)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert options[0].strip("-") in done.stderr


@pytest.mark.parametrize("scale", [0.001, 1.0, 10.0])
def test_the_table_fits_80_columns(scale):
    timing = made(scale=scale, sizes=(1, 4, 16, 1024))
    rows = table(timing).splitlines()
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows[0]) <= 80
    assert len(rows) == 9
    assert "5 calls" in explained(timing)
    text = dict(lines(timing))
    assert "103 photos/s" in text["OpenVINO"]
    assert text["remembered"].endswith("1204 photos/s, by default 900")
    assert text["engine"] == "f32: batches of 16, streams as OpenVINO sets them"
    assert text["tl predict"] == "a fresh process. one photo: 0.71 s, 259 MB"


def test_numbers_have_three_digits():
    assert [number(value) for value in (0.1234, 9.996, 10.04, 99.96, 100.2, 1234.5)] == [
        *("0.12", "10.0", "10.0", "100", "100", "1,234"),
    ]


@pytest.mark.parametrize(
    "timing",
    [
        made(),
        made("20261122-071317-" + "고양이와-개-" * 12, 1000.0, (1,)),
        replace(made(sizes=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024)), own=None),
    ],
    ids=["usual", "one batch, long name", "many batches"],
)
def test_nothing_in_the_picture_is_cut_or_covers_another(timing):
    page = figure(timing)
    page.canvas.draw()
    width, height = page.get_size_inches() * page.dpi
    boxes = list(words(page).items())
    for at, (name, box) in enumerate(boxes):
        assert box.x0 >= 0, name
        assert box.x1 <= width, name
        assert box.y0 >= 0, name
        assert box.y1 <= height, name
        for other, beside in boxes[at + 1 :]:
            apart = box.x1 <= beside.x0 or beside.x1 <= box.x0 or box.y1 <= beside.y0 + 3 or beside.y1 <= box.y0 + 3
            assert apart, (name, other)


def test_a_picture_is_a_png(tmp_path):
    save_plot(made(), tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.format == "PNG"
    with pytest.raises(UsageError, match="PNG"):
        check_picture(tmp_path / "bench.jpg")
