"""A run folder is read back whole, or refused with the reason."""

import hashlib
import json
import os
import shutil

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


def test_a_copied_run_is_whole(copy, tiny_run):
    run = load_run(copy)
    check_run(run)
    assert run.classes == load_run(tiny_run).classes
    assert run.head.kernel.shape == (run.backbone.features, 2)


def test_a_newer_format_is_refused(copy):
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(RunError, match=r"copied has format 2, this version of tl reads up to 1: upgrade tl"):
        load_run(copy)


@pytest.mark.parametrize("name", ["head.npz", "trunk.bin", "trunk.xml"])
def test_a_changed_byte_is_noticed(copy, name):
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(RunError, match="copied is damaged"):
        check_run(load_run(copy))


@pytest.mark.parametrize("name", ["head.npz", "manifest.json"])
def test_a_truncated_file_is_noticed(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def test_a_missing_trunk_is_noticed(copy):
    (copy / "trunk.bin").unlink()
    with pytest.raises(RunError, match="trunk.bin cannot be read"):
        check_run(load_run(copy))


def test_renamed_classes_are_noticed(copy):
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"noise"', '"nosie"', 1))
    with pytest.raises(RunError, match="manifest.json is not the file that was written"):
        load_run(copy)


def test_a_head_with_pickles_is_not_read(copy):
    np.savez(copy / "head.npz", kernel=np.array([object()], dtype=object), bias=np.zeros(2), temperature=1.0)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def forged(folder, **changes):
    """The manifest with changes and a digest that fits: what a hostile run looks like."""
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
def test_a_hostile_manifest_is_refused(copy, change):
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


def test_a_network_that_is_not_the_manifests_is_refused(copy):
    with pytest.raises(RunError, match="trunk.xml is not the network in its manifest"):
        Predictor(load_run(forged(copy, backbone__recipe__image_size=225)))


@pytest.mark.parametrize(("temperature", "scale"), [(np.inf, 1), (1e-320, 1), (1.0, 3e38), (1.0, np.nan)])
def test_a_head_with_absurd_numbers_is_refused(copy, temperature, scale):
    head = load_run(copy).head
    kernel = np.full_like(head.kernel, scale)
    np.savez(copy / "head.npz", kernel=kernel, bias=head.bias, temperature=np.float64(temperature))
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


def test_a_foreign_run_does_not_reach_the_features_of_others(copy, tiny_run):
    text = (copy / "trunk.xml").read_text()
    (copy / "trunk.xml").unlink()  # a hard link: the others keep theirs
    (copy / "trunk.xml").write_text(text + "\n")
    digest = hashlib.sha256((copy / "trunk.xml").read_bytes()).hexdigest()
    foreign = load_run(_with_file(copy, digest))
    check_run(foreign)
    assert trunk_key(foreign) != trunk_key(load_run(tiny_run))


def test_a_trunk_that_is_none_of_openvino_is_not_tried_as_another_programs(copy, tl, shapes):
    (copy / "trunk.xml").unlink()
    (copy / "trunk.xml").write_text("oops")
    done = tl("predict", shapes / "noise" / "00.png", "--run", copy)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_class_that_can_be_written_nowhere_is_damage(copy):
    classes = json.loads((copy / "manifest.json").read_text())["classes"]
    with pytest.raises(RunError, match="is damaged"):
        load_run(forged(copy, classes=["\ud800", *classes[1:]]))


def _with_file(folder, digest):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return forged(folder, files=files | {"trunk.xml": digest})


def test_what_is_not_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run in .*runs: train one with `tl finetune DATA`"):
        load_run()
    with pytest.raises(RunError, match="no run 'nowhere'"):
        load_run("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty is not a run: it has no manifest.json"):
        load_run("empty")


def test_without_the_pointer_the_newest_run_is_found(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path)
    assert load_run().name == "one"
    assert load_run("one").name == "one"


def _with_head(folder, **changed):
    """Other arrays in head.npz, and a manifest that vouches for them; None takes one away."""
    with np.load(folder / "head.npz") as found:
        arrays = {name: found[name] for name in found.files} | changed
    np.savez(folder / "head.npz", **{name: array for name, array in arrays.items() if array is not None})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["head.npz"] = hashlib.sha256((folder / "head.npz").read_bytes()).hexdigest()
    manifest.pop("digest")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": _digest(manifest)}))


def test_what_is_unknown_is_kept(copy, shapes):
    run = load_run(copy)
    assert run.unknown is not None
    assert run.unknown.references.shape[1] == run.backbone.features
    assert run.unknown.rate == pytest.approx(0.05, abs=0.01)  # nineteen photos cannot promise less
    assert not run.unknown.is_unknown(run.unknown.references).any()
    assert run.unknown.is_unknown(-run.unknown.references[:1]).all()


def test_a_run_from_before_the_unknown_answers_as_it_did(copy, shapes):
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
def test_an_unknown_that_cannot_be_is_refused(copy, changed):
    _with_head(copy, **changed)
    with pytest.raises(RunError, match="copied is damaged"):
        load_run(copy)


@pytest.mark.parametrize("name", ["head.npz", "manifest.json", "trunk.bin"])
def test_a_pipe_is_not_waited_for(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(RunError, match="copied"):
        load_run(copy)


def test_a_bottomless_manifest_is_refused(copy):
    (copy / "manifest.json").write_text('{"format": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(RunError, match=r"manifest\.json cannot be read"):
        load_run(copy)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_folder_can_have(name):
    with pytest.raises(RunError, match="no run"):
        load_run(name)
