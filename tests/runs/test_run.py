"""A run folder is loaded as it was written, or refused with the reason."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from support.session import ROOT, TINY
from tl.errors import RunError
from tl.networks.backbones import BACKBONES
from tl.prediction.predictor import Predictor
from tl.runs.run import _digest, check_run, load_run, trunk_key

OLD_RUNS = ROOT / "tests" / "old_runs" / "format1"


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "copied")


def test_copied_run_is_complete(copy, tiny_run):
    run = load_run(copy)
    check_run(run)
    assert run.classes == load_run(tiny_run).classes
    assert run.head.kernel.shape == (run.backbone.features, 2)


def test_newer_format_is_refused(copy):
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(RunError, match=r"copied has format 2, this version of tl reads up to 1: upgrade tl"):
        load_run(copy)


@pytest.mark.parametrize("name", ["head.npz", "trunk.bin", "trunk.xml"])
def test_changed_byte_is_detected(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(RunError, match="copied is damaged"):
        check_run(load_run(copy))


@pytest.mark.parametrize("name", ["head.npz", "manifest.json"])
def test_truncated_file_is_detected(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def test_missing_trunk_is_detected(copy):
    (copy / "trunk.bin").unlink()
    with pytest.raises(RunError, match="trunk.bin cannot be read"):
        check_run(load_run(copy))


def test_renamed_classes_are_detected(copy):
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"noise"', '"nosie"', 1))
    with pytest.raises(RunError, match="manifest.json is not the file that was written"):
        load_run(copy)


def test_pickled_head_is_not_read(copy):
    np.savez(copy / "head.npz", kernel=np.array([object()], dtype=object), bias=np.zeros(2), temperature=1.0)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def forged(folder, **changes):
    """The manifest with changes and a matching digest, as of a hostile run."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    for where, value in changes.items():
        *parents, last = where.split("__")
        target = manifest
        for parent in parents:
            target = target[parent]
        target[last] = value
    path.write_text(json.dumps(manifest | {"digest": _digest(manifest)}))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"backbone__name": "unheard-of"},
        {"backbone__features": 100},
        {"backbone__recipe__image_size": 10**9},
        {"backbone__recipe__image_size": 0},
        {"backbone__recipe__resize": "tile"},
        {"backbone__recipe": []},
        {"classes": "ab"},
        {"classes": ["noise", "noise"]},
        {"classes": [1, None]},
        {"files": []},
        {"files": {}},
        {"format": 0},
        {"format": True},
    ],
    ids=str,
)
def test_hostile_manifest_is_refused(copy, change):
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(forged(copy, **change))


def test_load_takes_the_builder_from_the_registry_alone(copy):
    run = load_run(forged(copy, backbone__builder="this:nothing"))
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
        Predictor(load_run(forged(copy, backbone__recipe__image_size=225)))


@pytest.mark.parametrize(("temperature", "scale"), [(np.inf, 1), (1e-320, 1), (1.0, 3e38), (1.0, np.nan)])
def test_head_with_extreme_numbers_is_refused(copy, temperature, scale):
    head = load_run(copy).head
    kernel = np.full_like(head.kernel, scale)
    np.savez(copy / "head.npz", kernel=kernel, bias=head.bias, temperature=np.float64(temperature))
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def test_run_with_another_network_has_its_own_cache_key(copy, tiny_run):
    text = (copy / "trunk.xml").read_text()
    (copy / "trunk.xml").unlink()  # a hard link: the others keep theirs
    (copy / "trunk.xml").write_text(text + "\n")
    digest = hashlib.sha256((copy / "trunk.xml").read_bytes()).hexdigest()
    foreign = load_run(_with_file(copy, digest))
    check_run(foreign)
    assert trunk_key(foreign) != trunk_key(load_run(tiny_run))


def test_trunk_in_another_format_is_not_loaded(copy, tl, shapes):
    (copy / "trunk.xml").unlink()
    (copy / "trunk.xml").write_text("oops")
    done = tl("predict", shapes / "noise" / "00.png", "--run", copy)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_class_name_that_cannot_be_written_is_refused(copy):
    classes = json.loads((copy / "manifest.json").read_text())["classes"]
    with pytest.raises(RunError, match="is damaged"):
        load_run(forged(copy, classes=["\ud800", *classes[1:]]))


def _with_file(folder, digest):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return forged(folder, files=files | {"trunk.xml": digest})


def test_load_run_explains_what_is_not_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run in .*runs: train one with `tl finetune DATA`"):
        load_run()
    with pytest.raises(RunError, match="no run 'nowhere'"):
        load_run("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty is not a run: it has no manifest.json"):
        load_run("empty")


def test_newest_run_is_loaded_without_latest(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path)
    assert load_run().name == "one"
    assert load_run("one").name == "one"


def _with_head(folder, **changed):
    """Replace arrays in head.npz, with a matching manifest; None removes one."""
    with np.load(folder / "head.npz") as found:
        arrays = {name: found[name] for name in found.files} | changed
    np.savez(folder / "head.npz", **{name: array for name, array in arrays.items() if array is not None})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["head.npz"] = hashlib.sha256((folder / "head.npz").read_bytes()).hexdigest()
    manifest.pop("digest")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": _digest(manifest)}))


def test_unknown_statistics_are_kept(copy, shapes):
    run = load_run(copy)
    assert run.unknown is not None
    assert run.unknown.references.shape[1] == run.backbone.features
    assert run.unknown.rate == pytest.approx(0.05, abs=0.01)  # nineteen photos cannot promise less
    assert not run.unknown.is_unknown(run.unknown.references).any()
    assert run.unknown.is_unknown(-run.unknown.references[:1]).all()


def test_run_without_unknown_statistics_predicts_the_same(copy, shapes):
    _with_head(copy, references=None, threshold=None, rate=None)
    run = load_run(copy)
    assert run.unknown is None
    assert not any(answer.unknown for answer in Predictor(run).predict(sorted(shapes.rglob("*.png"))))


@pytest.mark.parametrize(
    "changed",
    [
        {"references": np.zeros((3, 7), np.float32)},
        {"references": np.zeros((0, 576), np.float32)},
        {"references": np.full((2, 576), np.nan, np.float32)},
        {"references": np.zeros((2, 576), np.float64)},
        {"references": np.zeros((200_000, 576), np.float32)},
        {"threshold": np.float64(np.nan)},
        {"threshold": np.float64(-1)},
        {"rate": np.float64(2)},
        {"rate": None},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_invalid_unknown_statistics_are_refused(copy, changed):
    _with_head(copy, **changed)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


@pytest.mark.parametrize("name", ["head.npz", "manifest.json", "trunk.bin"])
def test_pipe_in_a_run_is_not_read(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(RunError, match="copied"):
        load_run(copy)


def test_deeply_nested_manifest_is_refused(copy):
    (copy / "manifest.json").write_text('{"format": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(RunError, match=r"manifest\.json cannot be read"):
        load_run(copy)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_impossible_folder_names_are_not_runs(name):
    with pytest.raises(RunError, match="no run"):
        load_run(name)


def test_run_repr_has_classes_and_accuracy(tiny_run):
    run = load_run(tiny_run)
    accuracy = "validation accuracy 100.0% (95% CI 51.0–100.0)"
    assert repr(run) == f"<Run {run.name}: {TINY}, 2 classes (noise, stripes), {accuracy}>"
    assert run.metrics == json.loads((tiny_run / "manifest.json").read_text())["metrics"]
    many = replace(run, classes=tuple(f"class {index}" for index in range(100)), manifest={"metrics": None})
    assert repr(many).endswith("100 classes (class 0, class 1, class 2, class 3, class 4 and 95 more)>")
    assert many.metrics == {}


def test_run_as_html_escapes_names(tiny_run):
    page = replace(load_run(tiny_run), classes=("<b>cat</b>", "dog"))._repr_html_()
    assert "<td>2: &lt;b&gt;cat&lt;/b&gt;, dog</td>" in page
    assert "<th>validation accuracy</th><td>100.0% (95% CI 51.0–100.0)</td>" in page
