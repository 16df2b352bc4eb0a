"""Measuring inference options, remembering them per machine and network, and using them in the engine."""

import json
from pathlib import Path

import numpy as np
import pytest

import tl
from support.recorder import Recorder
from support.session import TINY
from tl.engines import autotune
from tl.engines.autotune import DEFAULT, AutotuneResult, InferenceOptions, recall, remember
from tl.engines.openvino import OpenVINOEngine
from tl.engines.trunk import cached_trunk
from tl.errors import EngineError, StorageError, UsageError
from tl.features.extract import extract
from tl.networks.backbones import backbone
from tl.prediction.predictor import Predictor
from tl.runs.run import load_run

FAST = InferenceOptions(8, 1, 2)
RESULT = AutotuneResult(FAST, 120.0, 100.0)


@pytest.fixture
def choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of remembered options in an empty cache."""
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trunks" / "choices.json"


def opened(run: Path, **options) -> OpenVINOEngine:
    return OpenVINOEngine(run / "trunk.xml", "key", "f32", **options)


def fastest(run: Path, budget: float = 30) -> AutotuneResult:
    return autotune.fastest(lambda options: opened(run, options=options), budget)


def test_recall_finds_only_its_network_and_machine(choices):
    assert recall("key", "machine") is None
    remember("key", "machine", RESULT)
    remember("other", "machine", AutotuneResult(DEFAULT, 1.0, 1.0))
    assert recall("key", "machine") == FAST
    assert recall("other", "machine") == DEFAULT
    assert recall("key", "another machine") is None
    assert recall("another", "machine") is None
    assert [path.name for path in choices.parent.iterdir()] == ["choices.json"]


def test_remember_drops_the_oldest_entries(choices):
    choices.parent.mkdir(parents=True)
    choices.write_text(json.dumps({f"entry {at}": {"batch": 16} for at in range(autotune.MAX_ENTRIES)}))
    remember("key", "machine", RESULT)
    kept = json.loads(choices.read_text())
    assert (len(kept), "entry 0" in kept, "entry 1" in kept) == (autotune.MAX_ENTRIES, False, True)
    assert recall("key", "machine") == FAST


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufffd", "[" * 100_000, '{"a": 1}'])
def test_recall_ignores_a_damaged_file_and_remember_replaces_it(choices, text):
    choices.parent.mkdir(parents=True)
    choices.write_text(text)
    assert recall("key", "machine") is None
    remember("key", "machine", RESULT)
    assert recall("key", "machine") == FAST


@pytest.mark.parametrize(
    "damage", [{"batch": 0}, {"batch": None}, {"batch": 10**9}, {"streams": "2"}, {"threads": -1}, {"streams": True}]
)
def test_recall_ignores_an_invalid_entry(choices, damage):
    remember("key", "machine", RESULT)
    ((name, entry),) = json.loads(choices.read_text()).items()
    choices.write_text(json.dumps({name: entry | damage}))
    assert recall("key", "machine") is None
    choices.write_text(json.dumps({name: [1]}))
    assert recall("key", "machine") is None


def test_remember_names_a_cache_that_cannot_be_written(choices):
    choices.parents[1].write_text("a file in its place")
    with pytest.raises(StorageError, match="TL_CACHE_DIR"):
        remember("key", "machine", RESULT)


def test_engine_uses_the_remembered_options(choices, tiny_run):
    engine = opened(tiny_run)
    assert (engine.options, engine.batch) == (DEFAULT, 16)
    remember(engine.key, "another processor, 2 CPUs", RESULT)
    assert opened(tiny_run).options == DEFAULT
    remember(engine.key, engine.machine, RESULT)
    log = Recorder()
    again = opened(tiny_run, progress=log)
    assert (again.options, again.batch) == (FAST, 8)
    assert again.network.get_property("NUM_STREAMS") == 1
    assert log.lines == ["engine: batches of 8, 1 stream, 2 threads, as measured on this machine"]


def test_threads_override_the_remembered_options(choices, tiny_run, monkeypatch):
    monkeypatch.setattr(autotune, "MIN_PHOTOS", 0)
    monkeypatch.setattr(autotune, "MIN_SECONDS", -1.0)
    predictor = Predictor(load_run(tiny_run), precision="f32")
    remember(predictor.engine.key, predictor.engine.machine, AutotuneResult(InferenceOptions(8, 2, 2), 2.0, 1.0))
    assert Predictor(load_run(tiny_run), precision="f32").engine.options == InferenceOptions(8, 2, 2)
    engine = Predictor(load_run(tiny_run), precision="f32", threads=1).engine
    assert engine.options == InferenceOptions(threads=1)
    assert engine.network.get_property("INFERENCE_NUM_THREADS") == 1
    list(engine.run([(0, np.zeros((1, 224, 224, 3), np.uint8))]))
    assert engine.options == InferenceOptions(threads=1)  # nor is anything measured


def test_engine_measures_once_after_enough_photos(choices, tiny_run, shapes, monkeypatch):
    files = sorted(shapes.rglob("*.png"))
    recipe = backbone("mobilenetv3small").recipe
    expected = extract(files, opened(tiny_run), recipe, None).values
    calls: list[str] = []

    def measured(xml: Path, precision: str) -> AutotuneResult:
        calls.append(precision)
        return RESULT

    monkeypatch.setattr("tl.engines.openvino.measure", measured)
    assert len(extract(files * 3, opened(tiny_run), recipe, None).values) == 72
    assert calls == []  # too few photos, and too soon
    monkeypatch.setattr(autotune, "MIN_SECONDS", 0.0)
    extract(files * 3, opened(tiny_run), recipe, None)
    assert calls == []  # too few
    monkeypatch.setattr(autotune, "MIN_PHOTOS", 30)
    log, sizes = Recorder(), []
    engine = opened(tiny_run, progress=log)
    finish = engine._finish
    monkeypatch.setattr(engine, "_finish", lambda tag, *rest: (sizes.append(len(tag)), finish(tag, *rest))[1])
    found = extract(files * 3, engine, recipe, None).values
    assert calls == ["f32"]
    assert (sizes[0], sizes[-2:]) == (16, [8, 8])
    assert np.abs(found - np.tile(expected, (3, 1))).max() <= 1e-5 * np.abs(expected).max()
    rates = "120 images/s, default 100; measured once on this machine"
    assert log.lines == [f"engine: batches of 8, 1 stream, 2 threads: {rates}"]
    extract(files * 3, opened(tiny_run), recipe, None)
    assert calls == ["f32"]  # recall


def test_engine_warns_once_and_continues_if_measuring_fails(choices, tiny_run, shapes, monkeypatch):
    monkeypatch.setattr(autotune, "MIN_PHOTOS", 0)
    monkeypatch.setattr(autotune, "MIN_SECONDS", -1.0)
    monkeypatch.setattr(autotune.sys, "executable", "/nowhere/python")
    log = Recorder()
    engine = opened(tiny_run, progress=log)
    found = extract(sorted(shapes.rglob("*.png")), engine, backbone("mobilenetv3small").recipe, None)
    assert len(found.values) == 24
    reason = "the fastest batch size, streams and threads could not be measured"
    assert log.lines == [f"warning: {reason}: continuing with the defaults"]
    assert not choices.exists()


def test_measure_runs_in_a_child_process(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(autotune, "BUDGET", 1.0)
    found = autotune.measure(tiny_run / "trunk.xml", "f32")
    assert found.default_rate > 0
    assert found.options == DEFAULT or found.rate > autotune.CLEARLY_FASTER * found.default_rate
    (tmp_path / "broken.xml").write_text("<net/>")
    with pytest.raises(EngineError, match="could not be measured"):
        autotune.measure(tmp_path / "broken.xml", "f32")


def test_measure_takes_a_network_whose_features_are_maps(tmp_path, monkeypatch):
    import openvino
    from openvino import opset13

    photos = opset13.parameter([-1, 32, 32, 3], np.uint8)
    maps = opset13.reshape(opset13.convert(photos, "f32"), np.array([0, 16, 16, 12]), special_zero=True)
    openvino.save_model(openvino.Model([maps], [photos]), tmp_path / "maps.xml")
    monkeypatch.setattr(autotune, "BUDGET", 1.0)
    assert autotune.measure(tmp_path / "maps.xml", "f32").default_rate > 0


@pytest.mark.parametrize(("network", "precision"), [("tiny_run", "f32"), ("tiny_run", "auto"), ("imagenet", "auto")])
def test_options_do_not_change_the_features(network, precision, request):
    source = request.getfixturevalue(network)
    xml = source / "trunk.xml" if network == "tiny_run" else cached_trunk(backbone("resnet50"), source).xml
    photos = np.random.default_rng(1).integers(0, 256, (8, 224, 224, 3), np.uint8)
    rows = []
    for options in (DEFAULT, InferenceOptions(8, 1, 1), InferenceOptions(2, 2, 2), InferenceOptions(3, 1, 2)):
        engine = OpenVINOEngine(xml, "key", precision, options=options)
        batches = [(at, photos[at : at + options.batch]) for at in range(0, 8, options.batch)]
        rows.append(np.concatenate([vectors for _, vectors in sorted(engine.run(batches), key=lambda item: item[0])]))
    assert all(np.array_equal(row, rows[0]) for row in rows)


def test_finetune_and_evaluate_use_the_threads_option(shapes, tmp_path, monkeypatch):
    engines: list[OpenVINOEngine] = []
    original = OpenVINOEngine.__init__

    def recorded(self, *arguments, **options):
        original(self, *arguments, **options)
        engines.append(self)

    monkeypatch.setattr(OpenVINOEngine, "__init__", recorded)
    options = {"backbone": TINY, "weights": "none", "threads": 1}
    run = tl.finetune(shapes, out=tmp_path / "run", cache=False, **options)
    trained = len(engines)
    tl.evaluate(shapes, run=run.folder, include_trained=True, threads=1, cache=False, report=False)
    assert 1 <= trained < len(engines)
    assert {engine.network.get_property("INFERENCE_NUM_THREADS") for engine in engines} == {1}
    for wrong in (
        lambda: tl.load(run.folder, threads=0),
        lambda: tl.evaluate(shapes, run=run.folder, threads=0),
        lambda: tl.finetune(shapes, out=tmp_path / "none", **options | {"threads": 0}),
    ):
        with pytest.raises(UsageError, match="--threads 0: give"):
            wrong()


def test_fastest_takes_a_clear_winner_and_tries_batches_with_the_best_streams(tiny_run, monkeypatch):
    rates: dict[InferenceOptions, float] = {}
    monkeypatch.setattr(autotune, "rate", lambda engine, *_: rates.get(engine.options, 90.0))
    for faster, winner in ((120.0, InferenceOptions(32)), (104.0, DEFAULT)):
        rates.update({DEFAULT: 100.0, InferenceOptions(32): faster})
        assert fastest(tiny_run) == AutotuneResult(winner, rates[winner], 100.0)
    one = next(autotune.arrangements(opened(tiny_run, options=DEFAULT)))
    best = InferenceOptions(8, one.streams, one.threads)
    rates.update({one: 110.0, best: 130.0})
    assert fastest(tiny_run).options == best


def test_fastest_keeps_the_default_for_a_single_fast_trial_or_without_time(tiny_run, monkeypatch):
    once = [150.0]
    monkeypatch.setattr(
        autotune, "rate", lambda engine, *_: once.pop() if engine.options.batch == 32 and once else 100.0
    )
    assert fastest(tiny_run).options == DEFAULT
    monkeypatch.setattr(autotune, "rate", lambda engine, *_: 100.0 if engine.options == DEFAULT else 200.0)
    assert fastest(tiny_run, 0).options == DEFAULT


def test_rate_counts_photos_per_second_and_arrangements_leave_out_the_default(tiny_run):
    engine = opened(tiny_run, options=DEFAULT)
    assert 1 < autotune.rate(engine, 224, 4, 0.2) < 100_000
    usual = [engine.network.get_property(name) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")]
    found = list(autotune.arrangements(engine))
    assert InferenceOptions(16, *usual) not in found
    assert len(set(found)) == len(found)
    assert 1 <= autotune.cores() <= autotune.cpus()
    for options in found:
        assert 1 <= options.streams <= options.threads <= autotune.cpus()
