"""`tl bench` with a tiny network."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from support.timings import timing
from tl.commands.bench import command
from tl.engines.autotune import recall
from tl.engines.openvino import OpenVINOEngine
from tl.errors import DataError, UsageError
from tl.progress import Progress
from tl.runs.run import load_run, trunk_key
from tl.workflows.bench import IMAGES, bench, sample_images

MEASURED = ("--batch", "1,3", "--precision", "f32", "--seconds", "0.3")


def test_bench_prints_draws_and_remembers(tl, tiny_run, tmp_path):
    done = tl("bench", tiny_run, *MEASURED, "--out", tmp_path / "bench.png", "--remember", expect=0)
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80
    for word in (*timing().table()[0], "validation images", "remembered"):
        assert word in done.stdout
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.width == 1200
    engine = OpenVINOEngine(tiny_run / "trunk.xml", trunk_key(load_run(tiny_run)), "f32")
    assert recall(engine.key, engine.machine) is not None


def test_bench_json_has_plausible_figures(tl, tiny_run):
    done = tl("bench", tiny_run, *MEASURED, "--threads", "1", "--json", expect=0)
    result = json.loads(done.stdout)
    assert [(row["precision"], row["batch"]) for row in result["cells"]] == [("f32", 1), ("f32", 3)]
    for row in result["cells"]:
        assert 0 < row["p50"] <= row["p95"] <= row["p99"] < 60_000
        assert row["rate"] > 0
        assert row["ratio"] == pytest.approx(row["rate"] / row["bare"])
        assert 0.01 < row["ratio"] < 3
        assert row["calls"] >= 3
    assert result["choices"] == {"f32": {"batch": 16, "streams": None, "threads": 1}}
    assert result["measured"] == {}
    assert result["benchmark_app"] is None or result["benchmark_app"] > 0
    validation = [row for row in (tiny_run / "split.csv").read_text().splitlines() if ",validation," in row]
    one, *_, whole = result["processes"]
    assert (one["photos"], whole["photos"]) == (1, len(validation))
    assert all(0.1 < process["seconds"] < 120 for process in result["processes"])
    assert all(50 < process["megabytes"] < 4000 for process in result["processes"])


def test_sample_images_draws_some_where_the_runs_are_gone(tiny_run, tmp_path):
    gone = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (gone / "split.csv").unlink()
    with sample_images(load_run(gone), None, Progress()) as (files, about):
        assert about == "64 drawn JPEGs of 500 × 375 pixels"
        assert len(files) == IMAGES
        with Image.open(files[0]) as image:
            assert (image.size, image.format) == ((500, 375), "JPEG")
        assert 10_000 < files[0].stat().st_size < 200_000
    assert not files[0].exists()
    with pytest.raises(DataError), sample_images(load_run(tiny_run), str(tmp_path / "nowhere"), Progress()):
        pass


@pytest.mark.parametrize(("options", "message"), [
    ({"batch": (0,)}, "--batch 0"),
    ({"batch": ()}, "--batch has no sizes"),
    ({"batch": (4096,)}, "from 1 to 1024"),
    ({"precision": ("f64",)}, "f64"),
    ({"seconds": 0.0}, "--seconds 0"),
    ({"seconds": float("nan")}, "--seconds nan"),
    ({"threads": 2, "remember": True}, "leave --threads out"),
    ({"engine": "torch"}, "--engine torch: choose auto"),
    ({"engine": "tensorflow", "remember": True}, "leave it out, or --engine tensorflow"),
    ({"out": Path("bench.jpg")}, "give a name that ends in .png"),
])  # fmt: skip
def test_bench_refuses_wrong_options_before_it_measures(tiny_run, options, message):
    with pytest.raises(UsageError, match=message):
        bench(tiny_run, **options)


@pytest.mark.parametrize("options", [("--batch", "many"), ("--threads", "0"), ("--precision", "f64")])
def test_bench_command_names_the_wrong_option(options):
    result = CliRunner().invoke(command, options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert options[0] in result.stderr
