"""A run folder is loaded as it was written, or refused with the reason."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import tl as library
from support.html import plain_cells
from support.runs import change_head, change_run
from support.session import ROOT, TINY, draw_shapes
from tl.errors import RunError
from tl.networks.backbones import BACKBONES
from tl.prediction.predictor import Predictor
from tl.runs.run import check_run, load_run, trunk_key

OLD_RUNS = ROOT / "tests" / "old_runs" / "format1"


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "copied")


def test_copied_run_is_complete(copy, tiny_run):
    run = load_run(copy)
    check_run(run)
    assert run.classes == load_run(tiny_run).classes
    assert run.head.kernel.shape == (run.backbone.features, 2)


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing"])
@pytest.mark.parametrize("name", ["head.npz", "trunk.bin", "trunk.xml", "manifest.json"])
def test_damaged_file_is_detected(copy, name, damage):
    content = bytearray((copy / name).read_bytes())
    (copy / name).unlink()
    if damage == "changed":
        content[len(content) // 2] ^= 1
    if damage != "missing":
        (copy / name).write_bytes(content if damage == "changed" else content[:100])
    with pytest.raises(RunError, match="copied is (damaged|not a run)"):
        check_run(load_run(copy))


READERS = {
    "evaluate": lambda run, photo: library.evaluate([(photo, "noise")], run=run, allow_missing=True, report=False),
    "grid": lambda run, photo: library.grid([(photo, "noise")], run=run),
    "report": lambda run, photo: library.report(run),
    "predict": lambda run, photo: library.predict(photo, run=run, max_error=0.5),
}


@pytest.mark.parametrize(("name", "readers"), [
    ("split.csv", ("evaluate", "grid", "report")),
    ("training_images.npz", ("evaluate", "grid")),
    ("predictions.csv", ("predict", "report")),
    ("metrics.json", ("report",)),
    ("skipped.csv", ("report",)),
    ("heads.csv", ("report",)),
])  # fmt: skip
def test_table_that_is_not_the_one_written_is_refused_by_those_who_read_it(copy, shapes, tmp_path, name, readers):
    new = draw_shapes(tmp_path / "new", 1, seed=5) / "noise" / "00.png"
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: content.rfind(b"\n", 0, -1) + 1] if name.endswith("csv") else content[:-1])
    for reader in readers:
        with pytest.raises(RunError, match=rf"copied is damaged \({name} is not the file that was written\)"):
            READERS[reader](copy, new)
    assert library.predict(new, run=copy).predictions[0].label == "noise"


def test_run_without_sha256_of_its_tables_is_read_as_it_is(copy, shapes):
    """As older versions wrote them."""
    files = load_run(copy).manifest["files"]
    change_run(copy, files={name: files[name] for name in ("head.npz", "trunk.xml", "trunk.bin")})
    (copy / "metrics.json").write_text((copy / "metrics.json").read_text() + " ")
    (copy / "training_images.npz").unlink()
    assert library.report(copy).is_file()
    assert library.evaluate(shapes, run=copy, report=False).left_out == {"trained on": 20}


@pytest.mark.parametrize(("text", "reason"), [
    ('{"format": 3}', "copied has format 3, this version of tl reads up to 2: upgrade tl"),
    ('{"format": 1, "classes": ["nosie", "stripes"]}', "manifest.json is not the file that was written"),
    ('{"format": ' + "[" * 100_000 + "]" * 100_000 + "}", r"manifest\.json cannot be read"),
], ids=["newer", "changed", "nested"])  # fmt: skip
def test_manifest_that_cannot_be_used_is_refused(copy, text, reason):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=reason):
        load_run(copy)


@pytest.mark.parametrize("change", [
    {"backbone__name": "unheard-of"},
    {"backbone__features": 100},
    {"backbone__recipe__image_size": 10**9},
    {"backbone__recipe__image_size": 0},
    {"backbone__recipe__resize": "tile"},
    {"backbone__recipe": []},
    {"classes": "ab"},
    {"classes": ["noise", "noise"]},
    {"classes": [1, None]},
    {"classes": ["\ud800", "stripes"]},
    {"files": []},
    {"files": {}},
    {"format": 0},
    {"format": True},
], ids=str)  # fmt: skip
def test_hostile_manifest_is_refused(copy, change):
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(change_run(copy, **change))


def test_load_takes_the_builder_from_the_registry_alone(copy):
    run = load_run(change_run(copy, backbone__builder="this:nothing"))
    assert run.backbone.builder == BACKBONES[TINY].builder


@pytest.mark.parametrize("name", ["head", "tuned"])
def test_runs_of_format_1_predict_what_they_predicted(name):
    run = load_run(OLD_RUNS / name)
    check_run(run)
    expected = [json.loads(line) for line in (OLD_RUNS / f"{name}.jsonl").read_text().splitlines()]
    predictions = Predictor(run).predict([OLD_RUNS / entry["path"] for entry in expected])
    for prediction, entry in zip(predictions, expected, strict=True):
        assert (prediction.label, prediction.unknown) == (entry["label"], entry["unknown"])
        assert prediction.confidence == pytest.approx(entry["confidence"], abs=2e-3)


def test_network_that_does_not_match_the_manifest_is_refused(copy):
    with pytest.raises(RunError, match="trunk.xml is not the network in its manifest"):
        Predictor(load_run(change_run(copy, backbone__recipe__image_size=225)))


@pytest.mark.parametrize(("temperature", "scale"), [(np.inf, 1), (1e-320, 1), (1.0, 3e38), (1.0, np.nan)])
def test_head_with_extreme_numbers_is_refused(copy, temperature, scale):
    head = load_run(copy).head
    changed = {"kernel": np.full_like(head.kernel, scale), "temperature": np.float64(temperature)}
    change_head(copy, lambda _: changed)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def test_run_with_another_network_has_its_own_cache_key(copy, tiny_run):
    text = (copy / "trunk.xml").read_text()
    (copy / "trunk.xml").unlink()  # a hard link: the others keep theirs
    (copy / "trunk.xml").write_text(text + "\n")
    digest = hashlib.sha256((copy / "trunk.xml").read_bytes()).hexdigest()
    foreign = load_run(change_run(copy, **{"files__trunk.xml": digest}))
    check_run(foreign)
    assert trunk_key(foreign) != trunk_key(load_run(tiny_run))


def test_trunk_in_another_format_is_not_loaded(copy, tl, shapes):
    (copy / "trunk.xml").unlink()
    (copy / "trunk.xml").write_text("oops")
    done = tl("predict", shapes / "noise" / "00.png", "--run", copy, expect=1)
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_load_run_explains_what_is_not_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run in .*runs: train one with `tl finetune DATA`"):
        load_run()
    for name in ("nowhere", "x" * 300, "a\0b"):
        with pytest.raises(RunError, match="no run"):
            load_run(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty is not a run: it has no manifest.json"):
        load_run("empty")


def test_unknown_statistics_are_kept(copy):
    run = load_run(copy)
    assert run.unknown is not None
    assert run.unknown.references.shape[1] == run.backbone.features
    assert (run.unknown.rate, run.unknown.threshold) == (0, np.inf)  # so few photos cannot promise 5%
    assert (run.unknown.scales[:, 1] > 0).all()
    change_head(copy, lambda _: {"threshold": np.float64(4), "rate": np.float64(0.05)})
    unknown = load_run(copy).unknown
    probabilities = np.array([[0.9, 0.1]], np.float32)
    assert np.array_equal(unknown.scales, run.unknown.scales)
    assert not unknown.is_unknown(unknown.references[:1], probabilities).any()
    assert unknown.is_unknown(-unknown.references[:1], probabilities).all()


def test_run_without_unknown_statistics_predicts_the_same(copy, shapes):
    change_head(copy, lambda _: dict.fromkeys(("references", "threshold", "rate", "unknown_scales")))
    run = load_run(copy)
    assert run.unknown is None
    assert not any(answer.unknown for answer in Predictor(run).predict(sorted(shapes.rglob("*.png"))))


@pytest.mark.parametrize("changed", [
    {"bias": np.array([object(), 0], dtype=object)},  # is pickled, and not read
    {"references": np.zeros((3, 7), np.float32)},
    {"references": np.zeros((0, 576), np.float32)},
    {"references": np.full((2, 576), np.nan, np.float32)},
    {"references": np.zeros((2, 576), np.float64)},
    {"references": np.zeros((200_000, 576), np.float32)},
    {"threshold": np.float64(np.nan)},
    {"threshold": np.float64(-np.inf)},
    {"threshold": np.float64(-1), "unknown_scales": None},  # a distance, as in old runs
    {"unknown_scales": np.array([[0.5, 0.1], [0.1, 0.0]])},
    {"unknown_scales": np.array([[0.5, np.nan], [0.1, 0.2]])},
    {"unknown_scales": np.ones((2, 2), np.float32)},
    {"unknown_scales": np.ones((2, 3))},
    {"rate": np.float64(2)},
    {"rate": None},
], ids=lambda changed: "-".join(changed))  # fmt: skip
def test_invalid_arrays_are_refused(copy, changed):
    change_head(copy, lambda _: changed)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


@pytest.mark.parametrize("name", ["head.npz", "manifest.json", "trunk.bin"])
def test_pipe_in_a_run_is_not_read(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(RunError, match="copied"):
        load_run(copy)


def test_run_repr_has_classes_and_accuracy(tiny_run):
    run = load_run(tiny_run)
    accuracy = "validation accuracy 100.0% (95% CI 51.0–100.0)"
    assert repr(run) == f"<Run {run.name}: {TINY}, 2 classes (noise, stripes), {accuracy}>"
    assert run.metrics == json.loads((tiny_run / "manifest.json").read_text())["metrics"]
    many = replace(run, classes=tuple(f"class {index}" for index in range(100)), manifest={"metrics": None})
    assert repr(many).endswith("100 classes (class 0, class 1, class 2, class 3, class 4 and 95 more)>")
    assert many.metrics == {}


def test_run_as_html_escapes_names(tiny_run):
    page = plain_cells(replace(load_run(tiny_run), classes=("<b>cat</b>", "dog"))._repr_html_())
    assert "<td>2: &lt;b&gt;cat&lt;/b&gt;, dog</td>" in page
    assert "<td>validation accuracy</td><td>100.0% (95% CI 51.0–100.0)</td>" in page
