"""`tl evaluate`: classes matched by name, images trained on left out, another run beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.runs import change_head, copy_run, read_csv
from support.session import draw_shapes
from tl.errors import DataError, RunError, UsageError
from tl.prediction.evaluation import Evaluation
from tl.workflows.evaluate import evaluate


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images like those of the tiny run, which it has not seen: six per class."""
    return draw_shapes(tmp_path_factory.mktemp("fresh") / "more shapes", 6, seed=7)


@pytest.fixture
def score(tiny_run: Path, tmp_path: Path):
    """Evaluate the tiny run without a report, by default into `out`."""

    def run(data: Path | None, *, out: str = "out", **options: Any) -> Evaluation:
        return evaluate(data, **{"run": tiny_run, "out": tmp_path / out, "report": False} | options)

    return run


def trained_images(run: Path) -> list[str]:
    return [row["path"] for row in read_csv(run / "split.csv") if row["split"] == "train"]


def test_evaluate_writes_metrics_and_predictions(score, fresh, tmp_path):
    evaluation = score(fresh)
    assert (evaluation.metrics.count, evaluation.left_out) == (12, {})
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 12
    assert {row["split"] for row in rows} == {"evaluation"}
    assert evaluation.metrics.top1.value == pytest.approx(sum(row["label"] == row["predicted"] for row in rows) / 12)
    assert all(float(row["confidence"]) >= float(row["confidence_of_second"]) for row in rows)
    assert all(row["second"] != row["predicted"] for row in rows)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["evaluation"]["top1"] == evaluation.metrics.top1.value
    assert set(metrics["evaluation"]["per_class"]) == {"noise", "stripes"}


def test_evaluate_makes_a_new_folder_in_the_run_by_default(tiny_run, fresh, tmp_path):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    first, second = (evaluate(fresh, run=run, report=False).folder for _ in range(2))
    assert first.parent == second.parent == run / "evaluations"
    assert first != second


def test_evaluate_leaves_out_images_trained_on(score, tiny_run, shapes, tmp_path):
    trained = len(trained_images(tiny_run))
    evaluation = score(shapes)
    assert evaluation.left_out == {"trained on": trained}
    assert (evaluation.metrics.count, evaluation.trained_on) == (24 - trained, 0)
    whole = score(shapes, out="all", include_trained=True)
    assert (whole.metrics.count, whole.trained_on) == (24, trained)
    for name, count in (("out", 0), ("all", trained)):
        assert json.loads((tmp_path / name / "metrics.json").read_text())["trained_on"] == count


def test_evaluate_without_data_uses_held_out_images(score, tiny_run, shapes, tmp_path, monkeypatch):
    draw_shapes(tmp_path / "data", 5, seed=9)
    monkeypatch.chdir(tmp_path)
    evaluation = score(None)
    of_run = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert (evaluation.metrics.count, evaluation.metrics.top1.value) == (4, of_run["top1"])
    assert evaluation.metrics.log_loss == pytest.approx(of_run["log_loss"], rel=1e-4)
    assert evaluation.left_out == {}
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert (metrics["data"], metrics["held_out"]) == (str(shapes), "validation")
    with pytest.raises(DataError, match="has no test images"):
        score(None, out="none", part="test")
    with pytest.raises(DataError, match="trained on all 20 images"):
        score(None, out="none", part="train")


def test_evaluate_refuses_data_with_nothing_but_images_trained_on(score, tiny_run, shapes, tmp_path):
    for name in trained_images(tiny_run):
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shapes / name, tmp_path / "same" / name)
    with pytest.raises(DataError, match="trained on.*--include-trained"):
        score(tmp_path / "same")
    assert not (tmp_path / "out").exists()


def test_evaluate_matches_classes_by_name(score, fresh, tmp_path):
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    shutil.copytree(data / "noise", data / "aardvarks")  # sorts before the others
    with pytest.raises(DataError, match=r"classes differ: only data has aardvarks: .*--allow-missing"):
        score(data)
    evaluation, alone = score(data, allow_missing=True), score(fresh, out="alone")
    assert evaluation.left_out == {"of classes that the run does not know": 6}
    assert evaluation.metrics.top1 == alone.metrics.top1
    shutil.rmtree(data / "aardvarks")
    shutil.rmtree(data / "stripes")
    with pytest.raises(DataError, match=r"only run .* knows stripes"):
        score(data)
    evaluation = score(data, out="noise", allow_missing=True)
    assert [figures.support for figures in evaluation.metrics.per_class] == [6, 0]


@pytest.mark.parametrize(("folders", "message"), [(("cats", "dogs"), "none in common"), ((), "no labels")])
def test_evaluate_refuses_data_without_usable_labels(score, folders, message, fresh, tmp_path):
    data = Path(shutil.copytree(fresh / "noise", tmp_path / "data"))
    for name in folders:
        shutil.copytree(fresh / "noise", data / name)
    with pytest.raises(DataError, match=message):
        score(data, allow_missing=True)


def test_evaluate_one_part_of_the_data(score, fresh, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(fresh, data / "train")
    draw_shapes(data / "test", 2, seed=8)
    evaluation = score(data, part="test")
    assert (evaluation.metrics.count, evaluation.left_out) == (4, {"of other parts": 12})
    with pytest.raises(UsageError, match="--part validation"):
        score(data, out="no", part="validation")
    with pytest.raises(UsageError, match="choose all, train"):
        score(data, out="no", part="holdout")


def test_evaluate_leaves_out_broken_files_and_lists_them(score, fresh, tmp_path):
    data = Path(shutil.copytree(fresh, tmp_path / "data"))
    (data / "noise" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not one")
    assert score(data).metrics.count == 12
    assert "noise/broken.png" in (tmp_path / "out" / "skipped.csv").read_text()


def test_evaluate_against_itself_shows_no_difference(score, tiny_run, fresh):
    test = score(fresh, against=tiny_run).comparison
    assert (test.gained, test.lost, test.count) == (0, 0, 12)


def test_evaluate_against_a_run_with_swapped_classes(score, tiny_run, fresh, tmp_path):
    rival = Path(shutil.copytree(tiny_run, tmp_path / "rival"))
    change_head(
        rival, lambda head: {name: head[name][..., ::-1].copy() for name in ("kernel", "bias", "normalized_kernel")}
    )
    evaluation = score(fresh, against=rival)
    correct = round(12 * evaluation.metrics.top1.value)
    assert evaluation.comparison is not None
    assert (evaluation.comparison.gained, evaluation.comparison.lost) == (correct, 12 - correct)
    against = json.loads((tmp_path / "out" / "metrics.json").read_text())["against"]
    assert against["run"] == "rival"
    assert "rival" in against["sentence"]


def test_evaluate_against_a_run_with_other_classes(score, tiny_run, fresh, tmp_path):
    rival = copy_run(tiny_run, tmp_path / "rival", classes=["noise", "zebras"])
    with pytest.raises(DataError, match="only run rival knows zebras"):
        score(fresh, against=rival)
    evaluation = score(fresh, against=rival, allow_missing=True)
    assert evaluation.left_out == {"of classes that not both runs know": 6}
    assert evaluation.comparison is not None
    assert evaluation.comparison.count == 6


def test_evaluate_does_not_touch_an_existing_folder(score, fresh, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        score(fresh)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_evaluate_leaves_nothing_behind_when_it_is_interrupted(score, fresh, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tl.workflows.evaluate.write_metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(fresh)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("head", [None, [], "hot", {}])
def test_evaluate_accepts_a_manifest_without_details_of_the_head(head, score, tiny_run, fresh, tmp_path):
    evaluation = score(fresh, run=copy_run(tiny_run, tmp_path / "odd", head=head))
    assert evaluation.predictions.fitted_on == "training images held out from the head"


def test_evaluation_in_a_notebook_is_an_escaped_table(score, fresh, tmp_path):
    html = score(Path(shutil.copytree(fresh, tmp_path / "<b>")))._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "accuracy" in html


def test_evaluate_command_prints_metrics_and_writes_a_report(tl, tiny_run, fresh, tmp_path):
    words = ("evaluate", fresh, "--run", tiny_run, "--out", tmp_path / "out", "--against", tiny_run)
    done = tl(*words, cwd=tmp_path, expect=0)
    for word in ("accuracy", "balanced", "log-loss", "calibration", "classes", "confused", "against", "unknown"):
        assert word in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "00.png" in page
    assert "tl evaluate" in page


def test_evaluate_command_prints_json(tl, tiny_run, fresh, tmp_path):
    data = Path(shutil.copytree(fresh, tmp_path / "odd\udcff"))  # not UTF-8
    arguments = ("evaluate", data.name, "--run", tiny_run, "--out", "out", "--json", "--no-report")
    done = tl(*arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8:strict", expect=0)
    result = json.loads(done.stdout)
    assert (result["evaluation"]["count"], result["data"]) == (12, "odd?")
    assert not (tmp_path / "out" / "report.html").exists()
