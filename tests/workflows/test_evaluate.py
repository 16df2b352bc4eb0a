"""`tl evaluate`: classes matched by name, images trained on left out, another run beside it."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import tl as library
from support.data_sets import photo, write
from support.html import plain_cells
from support.runs import change_head, copy_run, read_csv
from support.session import TINY, draw_shapes
from tl.errors import DataError, RunError, UsageError
from tl.prediction.evaluation import Evaluation
from tl.runs.run import load_run
from tl.text import percent
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


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validated run on twelve pictures of each of two classes, in `photos` beside it."""
    home = tmp_path_factory.mktemp("photos run")
    every = {f"{label}/{at:02}.png": photo(first + at) for label, first in (("a", 0), ("b", 50)) for at in range(12)}
    run = library.finetune(write(home / "photos", every), backbone=TINY, weights="none", out=home / "run")
    return run.folder


def jpeg(image: Image.Image, quality: int = 70) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


COPIES = {
    "a/recompressed.jpg": lambda: jpeg(photo(3)),
    "a/half.jpg": lambda: jpeg(photo(4).resize((60, 45)), 90),
    "a/mirrored.png": lambda: ImageOps.mirror(photo(5)),
    "b/all.jpg": lambda: jpeg(ImageOps.mirror(photo(53)).resize((60, 45))),
}


def test_copies_of_training_images_are_judged_by_heads_without_these(tl, photos_run, tmp_path):
    copies = write(tmp_path / "copies", {name: make() for name, make in COPIES.items()})
    shutil.copy(photos_run.parent / "photos" / "b" / "00.png", copies / "b" / "same.png")
    write(copies, {"a/new.png": photo(90), "b/new.png": photo(91)})
    done = tl("evaluate", copies, "--run", photos_run, "--out", "out", "--no-report", cwd=tmp_path, expect=0)
    assert "4 of them copies of training images: judged by heads fitted without these" in " ".join(done.stdout.split())
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["evaluation"]["count"], metrics["evaluation"]["folds"], metrics["copies"]) == (7, 10, 4)
    held_out = {row["path"]: row for row in read_csv(photos_run / "predictions.csv")}
    rows = {row["path"]: row for row in read_csv(tmp_path / "out" / "predictions.csv")}
    originals = ("a/03.png", "a/04.png", "a/05.png", "b/03.png", "b/00.png")
    for name, original in zip([*COPIES, "b/same.png"], originals, strict=True):
        for column in ("confidence_of_label", "unknown"):
            assert float(rows[name][column]) == pytest.approx(float(held_out[original][column]), abs=2e-3), name
    shown = library.grid(copies, run=str(photos_run), count=0)
    assert (shown.trained, shown.unseen) == (0, 7)
    for entry in shown.shown:
        assert entry.prediction.confidence == pytest.approx(float(rows[entry.prediction.name]["confidence"]), abs=2e-3)


def test_copies_of_training_images_that_no_head_was_fitted_without_are_left_out(tl, photos_run, tmp_path):
    files = load_run(photos_run).manifest["files"]
    run = copy_run(photos_run, tmp_path / "run", files={k: v for k, v in files.items() if k != "cross_validation.npz"})
    copies = write(tmp_path / "copies", {name: make() for name, make in COPIES.items()})
    with pytest.raises(DataError, match="trained on all 4 images of .*, or on photos they are copies of"):
        evaluate(copies, run=run, report=False)
    write(copies, {"a/new.png": photo(90)})
    evaluation = evaluate(copies, run=run, report=False)
    assert (evaluation.metrics.count, evaluation.left_out) == (1, {"that are copies of training images": 4})
    assert evaluate(copies, run=run, report=False, include_trained=True).trained_on == 4
    done = tl("grid", copies, "--run", run, cwd=tmp_path, expect=0)
    assert "4 of the 5 are training images or copies; the other one is " in " ".join(done.stdout.split())
    old = copy_run(run, tmp_path / "old", files={name: files[name] for name in ("head.npz", "trunk.xml", "trunk.bin")})
    assert evaluate(copies, run=old, report=False).metrics.count == 5  # it knows its images by sha256 alone


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


def test_classes_that_differ_in_case_are_named_and_can_be_mapped(score, fresh, tmp_path):
    data = tmp_path / "data"
    for name, label in (("Noise", "noise"), ("Stripes", "stripes")):
        shutil.copytree(fresh / label, data / name)
    hint = r"differ only in case \(tl evaluate --map Noise=noise,Stripes=stripes\)"
    with pytest.raises(DataError, match=f"none in common, but 2 {hint}"):
        score(data)
    evaluation = score(data, map=["Noise=noise", "Stripes=stripes"])
    assert (evaluation.metrics.count, evaluation.metrics.top1) == (12, score(fresh, out="alone").metrics.top1)
    with pytest.raises(UsageError, match=r"--map Noise=cat: give a class of the data \(Noise, Stripes\), = and"):
        score(data, map=["Noise=cat"])
    (data / "Noise").rename(data / "noise")
    with pytest.raises(DataError, match=r"only data has Stripes.*but 1 differ only in case \(tl evaluate --map Str"):
        score(data)


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
    assert against["top1"] == evaluation.against_accuracy == pytest.approx(1 - evaluation.metrics.top1.value)
    accuracies = f"rival {percent(against['top1'])}, {tiny_run.name} {percent(evaluation.metrics.top1.value)}; "
    assert against["sentence"].startswith(accuracies)
    assert "<td>accuracy of rival</td>" in plain_cells(evaluation._repr_html_())


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
