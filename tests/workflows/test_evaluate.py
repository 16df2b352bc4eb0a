"""A run and photos become an assessment: classes by name, photos it was trained on left out, another run beside it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.runs import make
from support.session import draw_shapes
from tl.errors import DataError, RunError, UsageError
from tl.workflows.evaluate import Asked, assess


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos like those of the tiny run, which it has not seen: six a class."""
    return draw_shapes(tmp_path_factory.mktemp("fresh") / "more shapes", 6, seed=7)


def _asked(data: Path, run: Path, out: Path, **more) -> Asked:
    return Asked(str(data), run=str(run), out=str(out), **more)


def test_writes_figures_and_predictions(tiny_run: Path, fresh: Path, tmp_path: Path):
    made = assess(_asked(fresh, tiny_run, tmp_path / "out"))
    assert made.score.count == 12
    assert made.left_out == {}
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert {row["split"] for row in rows} == {"evaluation"}
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert made.score.top1.value == pytest.approx(right / 12)
    assert all(float(row["confidence"]) >= float(row["confidence_of_second"]) for row in rows)
    assert all(row["second"] != row["predicted"] for row in rows)
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert told["evaluation"]["top1"] == made.score.top1.value
    assert set(told["evaluation"]["per_class"]) == {"noise", "stripes"}


def test_stands_below_its_run_by_default(tiny_run: Path, fresh: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    first, second = (assess(Asked(str(fresh), run=str(run))).folder for _ in range(2))
    assert first.parent == second.parent == run / "evaluations"
    assert first != second


def test_photos_that_were_trained_on_are_left_out(tiny_run: Path, shapes: Path, tmp_path: Path):
    made = assess(_asked(shapes, tiny_run, tmp_path / "out"))
    with (tiny_run / "split.csv").open() as stream:
        trained = sum(row["split"] == "train" for row in csv.DictReader(stream))
    assert made.left_out == {"trained on": trained}
    assert made.score.count == 24 - trained
    assert made.trained_on == 0
    whole = assess(_asked(shapes, tiny_run, tmp_path / "all", include_trained=True))
    assert (whole.score.count, whole.trained_on) == (24, trained)
    for name, count in (("out", 0), ("all", trained)):
        assert json.loads((tmp_path / name / "metrics.json").read_text())["trained_on"] == count


def test_scores_of_validation_photos_are_those_of_the_run(tiny_run: Path, shapes: Path, tmp_path: Path):
    made = assess(_asked(shapes, tiny_run, tmp_path / "out"))
    of_run = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert made.score.top1.value == of_run["top1"]
    assert made.score.log_loss == pytest.approx(of_run["log_loss"], rel=1e-4)


def test_without_data_the_photos_that_were_held_out_are_scored(
    tiny_run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    draw_shapes(tmp_path / "data", 5, seed=9)
    monkeypatch.chdir(tmp_path)
    made = assess(Asked(run=str(tiny_run), out="out"))
    of_run = json.loads((tiny_run / "metrics.json").read_text())["validation"]
    assert (made.score.count, made.score.top1.value) == (4, of_run["top1"])
    assert made.left_out == {}
    told = json.loads(Path("out/metrics.json").read_text())
    assert (told["data"], told["held_out"]) == (str(shapes), "validation")
    with pytest.raises(DataError, match="has no test photos"):
        assess(Asked(run=str(tiny_run), out="none", part="test"))
    with pytest.raises(DataError, match="all 20 photos of .* were trained on"):
        assess(Asked(run=str(tiny_run), out="none", part="train"))


def test_only_photos_that_were_trained_on_are_refused(tiny_run: Path, shapes: Path, tmp_path: Path):
    with (tiny_run / "split.csv").open() as stream:
        trained = [row["path"] for row in csv.DictReader(stream) if row["split"] == "train"]
    for name in trained:
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shapes / name, tmp_path / "same" / name)
    with pytest.raises(DataError, match="trained on.*--include-trained"):
        assess(_asked(tmp_path / "same", tiny_run, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_classes_are_matched_by_name_not_by_place(tiny_run: Path, fresh: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(fresh, data)
    shutil.copytree(data / "noise", data / "aardvarks")  # sorts before the others
    with pytest.raises(DataError, match=r"classes differ: .* alone has aardvarks.*--allow-missing"):
        assess(_asked(data, tiny_run, tmp_path / "refused"))
    made = assess(_asked(data, tiny_run, tmp_path / "out", allow_missing=True))
    alone = assess(_asked(fresh, tiny_run, tmp_path / "alone"))
    assert made.left_out == {"of classes that the run does not know": 6}
    assert made.score.top1 == alone.score.top1
    assert made.run.classes == ("noise", "stripes")


def test_a_class_that_only_the_run_knows(tiny_run: Path, fresh: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(fresh / "noise", data / "noise")
    with pytest.raises(DataError, match="alone knows stripes"):
        assess(_asked(data, tiny_run, tmp_path / "refused"))
    made = assess(_asked(data, tiny_run, tmp_path / "out", allow_missing=True))
    assert made.score.count == 6
    assert [figures.support for figures in made.score.per_class] == [6, 0]


@pytest.mark.parametrize(("folders", "message"), [(("cats", "dogs"), "none in common"), ((), "no classes")])
def test_nothing_to_score(folders: tuple[str, ...], message: str, tiny_run: Path, fresh: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(fresh / "noise", data)
    for name in folders:
        shutil.copytree(fresh / "noise", data / name)
    with pytest.raises(DataError, match=message):
        assess(_asked(data, tiny_run, tmp_path / "out", allow_missing=True))


def test_parts(tiny_run: Path, fresh: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(fresh, data / "train")
    for label in ("noise", "stripes"):
        (data / "test" / label).mkdir(parents=True)
        for at in range(2):
            pixels = np.random.default_rng(at).integers(0, 60, (30, 30, 3), np.uint8)
            Image.fromarray(pixels).save(data / "test" / label / f"t{at}.png")
    made = assess(_asked(data, tiny_run, tmp_path / "out", part="test"))
    assert made.score.count == 4
    assert made.left_out == {"of other parts": 12}
    with pytest.raises(UsageError, match="--part validation"):
        assess(_asked(data, tiny_run, tmp_path / "no", part="validation"))
    with pytest.raises(UsageError, match="choose all, train"):
        assess(_asked(data, tiny_run, tmp_path / "no", part="holdout"))


def test_broken_files_are_left_out_and_named(tiny_run: Path, fresh: Path, tmp_path: Path):
    data = tmp_path / "data"
    shutil.copytree(fresh, data)
    (data / "noise" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not one")
    made = assess(_asked(data, tiny_run, tmp_path / "out"))
    assert made.score.count == 12
    assert "noise/broken.png" in (tmp_path / "out" / "skipped.csv").read_text()


def test_against_itself_nothing_parts(tiny_run: Path, fresh: Path, tmp_path: Path):
    made = assess(_asked(fresh, tiny_run, tmp_path / "out", against=str(tiny_run)))
    assert made.comparison is not None
    assert (made.comparison.gained, made.comparison.lost, made.comparison.count) == (0, 0, 12)


def test_against_a_run_that_is_wrong_everywhere(tiny_run: Path, fresh: Path, tmp_path: Path):
    from tl.runs.run import _digest, _sha256, load_run

    loaded = load_run(tiny_run)
    rival = tmp_path / "rival"
    shutil.copytree(tiny_run, rival)
    swapped = np.load(tiny_run / "head.npz")
    arrays = {name: swapped[name] for name in swapped.files}
    arrays["kernel"], arrays["bias"] = arrays["kernel"][:, ::-1].copy(), arrays["bias"][::-1].copy()
    np.savez(rival / "head.npz", **arrays)
    manifest = dict(loaded.manifest)
    manifest["files"] = {**manifest["files"], "head.npz": _sha256(rival / "head.npz")}
    (rival / "manifest.json").write_text(json.dumps(manifest | {"digest": _digest(manifest)}))
    made = assess(_asked(fresh, tiny_run, tmp_path / "out", against=str(rival)))
    right = round(12 * made.score.top1.value)
    assert made.comparison is not None
    assert (made.comparison.gained, made.comparison.lost) == (right, 12 - right)
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["against"]
    assert told["run"] == "rival"
    assert "rival" in told["sentence"]


def test_no_such_run(fresh: Path, tmp_path: Path):
    with pytest.raises(RunError, match="no run 'nowhere'"):
        assess(Asked(str(fresh), run="nowhere", out=str(tmp_path / "out")))


def test_an_existing_folder_is_not_touched(tiny_run: Path, fresh: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        assess(_asked(fresh, tiny_run, tmp_path / "out", engine="none such"))  # said before an engine is opened
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_nothing_is_left_of_an_evaluation_that_fails(
    tiny_run: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tl.runs.records.write_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assess(_asked(fresh, tiny_run, tmp_path / "out"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("head", [None, [], "hot", {}])
def test_a_manifest_that_tells_nothing_of_its_head(head: object, tiny_run: Path, fresh: Path, tmp_path: Path):
    run = make(tiny_run, tmp_path / "odd", head=head)
    made = assess(_asked(fresh, run, tmp_path / "out"))
    assert made.predictions.fitted_on == "training photos held out from the head"


def test_classes_that_only_one_of_two_runs_knows(tiny_run: Path, fresh: Path, tmp_path: Path):
    rival = make(tiny_run, tmp_path / "rival", classes=["noise", "zebras"])
    with pytest.raises(DataError, match="run rival alone knows zebras"):
        assess(_asked(fresh, tiny_run, tmp_path / "out", against=str(rival)))
    made = assess(_asked(fresh, tiny_run, tmp_path / "out", against=str(rival), allow_missing=True))
    assert made.left_out == {"of classes that not both runs know": 6}
    assert made.comparison is not None
    assert made.comparison.count == 6
