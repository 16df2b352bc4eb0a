"""What is fastest on a machine: remembered for it alone, never believed when damaged, overridden by --threads."""

import json
from pathlib import Path

import numpy as np
import pytest

import tl
from support.session import TINY
from tl.engines import autotune as choices
from tl.engines.autotune import DEFAULT, MOST, Choice, Measured, measure, remember, remembered
from tl.engines.openvino import OpenVINOEngine
from tl.errors import EngineError, StorageError, UsageError
from tl.features.extract import extract
from tl.networks.backbones import backbone
from tl.prediction.predictor import Predictor
from tl.progress import Progress
from tl.runs.run import load_run
from tl.settings import Settings

FAST = Choice(8, 1, 2)
FOUND = Measured(FAST, 120.0, 100.0)


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A cache in which nothing is remembered."""
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path / "cache"))
    return Settings(tmp_path / "cache", 10**9, True, tmp_path)


class Told(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def log(self, topic: str, text: str) -> None:
        self.said.append(f"{topic}: {text}")

    def warn(self, text: str) -> None:
        self.warned.append(text)


def choices_file(where: Settings) -> Path:
    return where.cache_dir / "trunks" / "choices.json"


def opened(run: Path, **options) -> OpenVINOEngine:
    return OpenVINOEngine(run / "trunk.xml", "key", "f32", **options)


def test_a_choice_is_remembered_for_its_network_and_machine(where):
    assert remembered("key", "machine", where) is None
    remember("key", "machine", FOUND, where)
    remember("other", "machine", Measured(DEFAULT, 1.0, 1.0), where)
    assert remembered("key", "machine", where) == FAST
    assert remembered("other", "machine", where) == DEFAULT
    assert remembered("key", "another machine", where) is None
    assert remembered("another", "machine", where) is None
    assert [path.name for path in choices_file(where).parent.iterdir()] == ["choices.json"]


def test_the_file_is_bounded_and_the_oldest_go_first(where):
    file = choices_file(where)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({f"entry {at}": {"batch": 16} for at in range(MOST)}))
    remember("key", "machine", FOUND, where)
    kept = json.loads(file.read_text())
    assert len(kept) == MOST
    assert "entry 0" not in kept
    assert "entry 1" in kept
    assert remembered("key", "machine", where) == FAST


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufffd", "[" * 100_000, '{"a": 1}'])
def test_a_damaged_file_counts_as_none_and_is_written_anew(where, text):
    file = choices_file(where)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert remembered("key", "machine", where) is None
    remember("key", "machine", FOUND, where)
    assert remembered("key", "machine", where) == FAST


@pytest.mark.parametrize(
    "damage", [{"batch": 0}, {"batch": None}, {"batch": 10**9}, {"streams": "2"}, {"threads": -1}, {"streams": True}]
)
def test_an_entry_that_cannot_be_meant_is_not_believed(where, damage):
    remember("key", "machine", FOUND, where)
    file = choices_file(where)
    ((name, entry),) = json.loads(file.read_text()).items()
    file.write_text(json.dumps({name: entry | damage}))
    assert remembered("key", "machine", where) is None
    file.write_text(json.dumps({name: [1]}))
    assert remembered("key", "machine", where) is None


def test_a_cache_that_cannot_be_written_is_said(where):
    where.cache_dir.write_text("a file in its place")
    with pytest.raises(StorageError, match="TL_CACHE_DIR"):
        remember("key", "machine", FOUND, where)


def test_an_engine_computes_with_what_was_remembered_here(where, tiny_run):
    engine = opened(tiny_run)
    assert (engine.choice, engine.batch) == (DEFAULT, 16)
    remember(engine.key, "another processor, 2 CPUs", FOUND)
    assert opened(tiny_run).choice == DEFAULT
    remember(engine.key, engine.machine, FOUND)
    told = Told()
    again = opened(tiny_run, progress=told)
    assert (again.choice, again.batch) == (FAST, 8)
    assert again.network.get_property("NUM_STREAMS") == 1
    assert told.said == ["engine: batches of 8, 1 stream, 2 threads, as measured on this machine"]


def test_threads_override_what_was_remembered(where, tiny_run, monkeypatch):
    monkeypatch.setattr(choices, "MANY", 0)
    monkeypatch.setattr(choices, "LONG", -1.0)
    predictor = Predictor(load_run(tiny_run), precision="f32")
    remember(predictor.engine.key, predictor.engine.machine, Measured(Choice(8, 2, 2), 2.0, 1.0))
    assert Predictor(load_run(tiny_run), precision="f32").engine.choice == Choice(8, 2, 2)
    engine = Predictor(load_run(tiny_run), precision="f32", threads=1).engine
    assert engine.choice == Choice(threads=1)
    assert engine.network.get_property("INFERENCE_NUM_THREADS") == 1
    list(engine.run([(0, np.zeros((1, 224, 224, 3), np.uint8))]))
    assert engine.choice == Choice(threads=1)  # nor is anything measured


def test_it_is_measured_once_photos_enough_have_come_and_holds_from_then_on(where, tiny_run, shapes, monkeypatch):
    files = sorted(shapes.rglob("*.png"))
    recipe = backbone("mobilenetv3small").recipe
    expected = extract(files, opened(tiny_run), recipe, None).values
    calls: list[str] = []

    def measured(xml: Path, precision: str) -> Measured:
        calls.append(precision)
        return FOUND

    monkeypatch.setattr(choices, "measure", measured)
    assert len(extract(files * 3, opened(tiny_run), recipe, None).values) == 72
    assert calls == []  # too few photos, and too soon
    monkeypatch.setattr(choices, "LONG", 0.0)
    extract(files * 3, opened(tiny_run), recipe, None)
    assert calls == []  # too few
    monkeypatch.setattr(choices, "MANY", 30)
    told, sizes = Told(), []
    engine = opened(tiny_run, progress=told)
    finished = engine._finished
    monkeypatch.setattr(engine, "_finished", lambda tag, *rest: (sizes.append(len(tag)), finished(tag, *rest))[1])
    found = extract(files * 3, engine, recipe, None).values
    assert calls == ["f32"]
    assert sizes[0] == 16
    assert sizes[-2:] == [8, 8]
    assert np.abs(found - np.tile(expected, (3, 1))).max() <= 1e-5 * np.abs(expected).max()
    assert told.said == [
        "engine: batches of 8, 1 stream, 2 threads: 120 photos/s, by default 100; measured once on this machine, "
        "remembered"
    ]
    extract(files * 3, opened(tiny_run), recipe, None)
    assert calls == ["f32"]  # remembered


def test_what_cannot_be_measured_is_said_once_and_nothing_stops(where, tiny_run, shapes, monkeypatch):
    monkeypatch.setattr(choices, "MANY", 0)
    monkeypatch.setattr(choices, "LONG", -1.0)
    monkeypatch.setattr(choices.sys, "executable", "/nowhere/python")
    told = Told()
    engine = opened(tiny_run, progress=told)
    found = extract(sorted(shapes.rglob("*.png")), engine, backbone("mobilenetv3small").recipe, None)
    assert len(found.values) == 24
    assert told.warned == [
        "the fastest batch, streams and threads could not be measured: going on with the default ones"
    ]
    assert not choices_file(where).exists()


def test_measuring_takes_a_process_of_its_own_and_says_what_failed(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "BUDGET", 1.0)
    found = measure(tiny_run / "trunk.xml", "f32")
    assert found.default_rate > 0
    assert found.choice == DEFAULT or found.rate > choices.CLEARLY * found.default_rate
    (tmp_path / "broken.xml").write_text("<net/>")
    with pytest.raises(EngineError, match="could not be measured"):
        measure(tmp_path / "broken.xml", "f32")


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_no_choice_changes_a_bit_of_the_features(tiny_run, precision):
    photos = np.random.default_rng(1).integers(0, 256, (32, 224, 224, 3), np.uint8)
    rows = {}
    for choice in (DEFAULT, Choice(8, 1, 1), Choice(32, 2, 2), Choice(4, 1, 2)):
        engine = OpenVINOEngine(tiny_run / "trunk.xml", "key", precision, choice=choice)
        batches = [(at, photos[at : at + choice.batch]) for at in range(0, 32, choice.batch)]
        rows[choice] = np.concatenate([vectors for _, vectors in sorted(engine.run(batches), key=lambda item: item[0])])
    for choice, found in rows.items():
        assert np.array_equal(found, rows[DEFAULT]), choice


def test_resnet50_is_the_same_bit_for_bit_with_each_choice(imagenet):
    from tl.engines.trunk import prepare

    trunk = prepare(backbone("resnet50"), imagenet)
    photos = np.random.default_rng(1).integers(0, 256, (8, 224, 224, 3), np.uint8)
    rows = []
    for choice in (DEFAULT, Choice(8, 1, 1), Choice(2, 2, 2), Choice(3, 1, 2)):
        engine = OpenVINOEngine(trunk.xml, "key", choice=choice)
        rows.append(
            np.concatenate([engine.run_one(photos[at : at + choice.batch]) for at in range(0, 8, choice.batch)])
        )
    assert all(np.array_equal(found, rows[0]) for found in rows)


def test_training_and_evaluation_compute_with_the_threads_given(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[OpenVINOEngine] = []
    begin = OpenVINOEngine.__init__

    def noted(self: OpenVINOEngine, *arguments: object, **options: object) -> None:
        begin(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(OpenVINOEngine, "__init__", noted)
    options = {"backbone": TINY, "weights": "none", "threads": 1}
    run = tl.finetune(shapes, out=tmp_path / "run", cache=False, **options)
    trained = len(made)
    tl.evaluate(shapes, run=run.folder, include_trained=True, threads=1, cache=False, page=False)
    assert 1 <= trained < len(made)
    assert {engine.network.get_property("INFERENCE_NUM_THREADS") for engine in made} == {1}
    for wrong in (lambda: tl.load(run.folder, threads=0), lambda: tl.evaluate(shapes, run=run.folder, threads=0)):
        with pytest.raises(UsageError, match="threads=0: give 1 or more"):
            wrong()
    with pytest.raises(UsageError, match="--threads 0"):
        tl.finetune(shapes, out=tmp_path / "none", **options | {"threads": 0})
