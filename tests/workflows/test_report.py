"""`tl report`, and the report that `tl finetune` leaves in a run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from support.runs import copy_run
from support.session import draw_shapes
from tl.commands.report import command
from tl.errors import DataError, RunError
from tl.runs.run import load_run
from tl.workflows.evaluate import evaluate
from tl.workflows.report import report


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_report_from_the_folder_is_the_one_that_finetune_left(tiny_run, tmp_path):
    page = text_of(tiny_run / "report.html")
    metrics = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert f"{100 * metrics['top1']:.1f}%" in page
    assert "data:image/jpeg" in page
    assert (tiny_run / "grid.png").is_file()
    copy = Path(shutil.copytree(tiny_run, tmp_path / tiny_run.name))
    (copy / "report.html").unlink()
    assert text_of(report(copy)) == page


def test_report_does_not_show_other_images_of_the_same_names(tiny_run, shapes, tmp_path):
    copy, other = (Path(shutil.copytree(source, tmp_path / source.name)) for source in (tiny_run, shapes))
    for path in other.rglob("*.png"):
        Image.fromarray(np.full((40, 50, 3), 128, np.uint8)).save(path)
    page = text_of(report(copy, data=other))
    assert "data:image/jpeg" not in page
    assert "The images cannot be read from here" in page


def test_report_refuses_data_without_the_runs_images_and_keeps_the_old_page(tiny_run, tmp_path):
    copy = Path(shutil.copytree(tiny_run, tmp_path / "copy"))
    other = draw_shapes(tmp_path / "other", 2, seed=3)
    for path in other.rglob("*.png"):
        path.rename(path.with_name(f"other-{path.name}"))
    old = (copy / "report.html").read_bytes()
    with pytest.raises(DataError, match="none of the run's images is there.*such as"):
        report(copy, data=other)
    assert (copy / "report.html").read_bytes() == old


@pytest.mark.parametrize("options", [None, [], "data", {}, {"data": None}])
def test_report_of_a_manifest_that_does_not_name_its_data(options, tiny_run, tmp_path):
    run = copy_run(tiny_run, tmp_path / "odd", options=options, data__folder="")
    if isinstance(options, dict):
        assert "The images cannot be read from here" in text_of(report(run))
    else:
        with pytest.raises(RunError, match="damaged"):
            report(run)


def test_report_command_finds_a_run_by_name(tiny_run, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(tiny_run, tmp_path / "runs" / "mine"))
    (copy / "report.html").unlink()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["mine"], catch_exceptions=False)
    assert "runs/mine/report.html" in result.stdout
    assert (copy / "report.html").is_file()
    with pytest.raises(DataError):
        report("mine", data=tmp_path / "nowhere")


def test_report_of_an_evaluation(tiny_run, tmp_path):
    data = draw_shapes(tmp_path / "images", 2, seed=8)
    evaluation = evaluate(data, run=tiny_run, out=tmp_path / "out", report=False)
    assert not (tmp_path / "out" / "report.html").exists()
    assert "data:image/jpeg" in text_of(report(evaluation.folder))
    data.rename(tmp_path / "moved")
    assert "data:image/jpeg" not in text_of(report(evaluation.folder))
    page = text_of(report(evaluation.folder, data=tmp_path / "moved"))
    assert "data:image/jpeg" in page
    assert load_run(tiny_run).backbone.name in page
    (tmp_path / "out" / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match="damaged") as caught:
        report(evaluation.folder)
    assert "\n" not in str(caught.value)
