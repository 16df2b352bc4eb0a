"""`tl finetune`, `tl evaluate` and `tl report` leave a page that people can open."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.runs import make
from support.session import Tl
from tl.errors import DataError, RunError
from tl.runs.run import load_run
from tl.workflows.artifacts import draw_report


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that the tiny run has not seen, one of them with a name in Korean."""
    folder = tmp_path_factory.mktemp("unseen") / "fresh"
    draw = np.random.default_rng(3)
    for label, low, high in (("noise", 0, 60), ("stripes", 180, 256)):
        (folder / label).mkdir(parents=True)
        for name in ("one", "둘"):
            Image.fromarray(draw.integers(low, high, (40, 50, 3), np.uint8)).save(folder / label / f"{name}.png")
    return folder


def test_a_new_run_has_its_report(tiny_run: Path):
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    scores = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert f"{100 * scores['top1']:.1f}" in page
    assert "data:image/jpeg" in page
    assert (tiny_run / "grid.png").is_file()


def test_a_report_can_be_written_anew_where_the_photos_are_gone(tiny_run: Path, tmp_path: Path):
    copy = tmp_path / "copied"
    shutil.copytree(tiny_run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "report.html").unlink()
    page = draw_report(load_run(copy), str(manifest["options"]["data"]))
    assert "data:image/jpeg" in page.read_text(encoding="utf-8")


def test_other_photos_of_the_same_names_are_not_shown(tiny_run: Path, shapes: Path, tmp_path: Path):
    copy, other = tmp_path / "copied", tmp_path / "other"
    shutil.copytree(tiny_run, copy)
    shutil.copytree(shapes, other)
    for path in other.rglob("*.png"):
        Image.fromarray(np.full((40, 50, 3), 128, np.uint8)).save(path)
    text = draw_report(load_run(copy), str(other)).read_text(encoding="utf-8")
    assert "data:image/jpeg" not in text
    assert "The photos cannot be read again from here" in text


def test_data_without_any_of_the_photos_is_refused_and_the_old_page_stays(tiny_run: Path, fresh: Path, tmp_path: Path):
    copy = tmp_path / "copied"
    shutil.copytree(tiny_run, copy)
    old = (copy / "report.html").read_bytes()
    with pytest.raises(DataError, match="none of the run's photos is there.*such as"):
        draw_report(load_run(copy), str(fresh))
    assert (copy / "report.html").read_bytes() == old


@pytest.mark.parametrize("options", [None, [], "data", {}, {"data": None}])
def test_a_manifest_that_tells_nothing_of_its_data(options: object, tiny_run: Path, tmp_path: Path):
    run = load_run(make(tiny_run, tmp_path / "odd", options=options))
    if isinstance(options, dict):
        assert "The photos cannot be read again from here" in draw_report(run).read_text(encoding="utf-8")
    else:
        with pytest.raises(RunError, match="damaged"):
            draw_report(run)


def test_a_name_that_is_no_text_is_no_trouble_for_machines(tl: Tl, tiny_run: Path, fresh: Path, tmp_path: Path):
    shutil.copytree(fresh, tmp_path / "odd\udcff")
    arguments = ("evaluate", "odd\udcff", "--run", tiny_run, "--json", "--no-report", "--out", "out")
    done = tl(*arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == "odd?"


def test_evaluate_tells_and_writes(tl: Tl, tiny_run: Path, fresh: Path, tmp_path: Path):
    done = tl("evaluate", fresh, "--run", tiny_run, "--out", tmp_path / "out", "--against", tiny_run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("top-1", "balanced", "log-loss", "calibration", "classes", "confused", "against", "unknown"):
        assert word in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "둘.png" in page
    assert "evaluate" in page


def test_evaluate_for_machines(tl: Tl, tiny_run: Path, fresh: Path, tmp_path: Path):
    arguments = ("evaluate", fresh, "--run", tiny_run, "--out", "out", "--json", "--no-report", "--no-unknown")
    done = tl(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["evaluation"]["count"] == 4
    assert "unknown" not in told
    assert not (tmp_path / "out" / "report.html").exists()


def test_report_names_its_page(tl: Tl, tiny_run: Path, tmp_path: Path):
    copy = tmp_path / "runs" / "mine"
    shutil.copytree(tiny_run, copy)
    (copy / "report.html").unlink()
    done = tl("report", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "runs/mine/report.html" in done.stdout
    assert (copy / "report.html").is_file()
    wrong = tl("report", "mine", "--data", tmp_path / "nowhere", cwd=tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1


def test_the_report_of_an_evaluation_is_written_anew(tl: Tl, tiny_run: Path, fresh: Path, tmp_path: Path):
    copy = tmp_path / "photos"
    shutil.copytree(fresh, copy)
    done = tl("evaluate", copy, "--run", tiny_run, "--out", "out", "--no-report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "out" / "report.html"
    assert not page.exists()
    assert tl("report", "out", cwd=tmp_path).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "둘.png" in text
    assert "data:image/jpeg" in text
    copy.rename(tmp_path / "moved")
    assert tl("report", "out", cwd=tmp_path).returncode == 0
    assert "data:image/jpeg" not in page.read_text(encoding="utf-8")
    assert tl("report", "out", "--data", "moved", cwd=tmp_path).returncode == 0
    assert "data:image/jpeg" in page.read_text(encoding="utf-8")
    (tmp_path / "out" / "metrics.json").write_text("{}")
    wrong = tl("report", "out", cwd=tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1
