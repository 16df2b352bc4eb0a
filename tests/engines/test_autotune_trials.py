"""Trials of an engine: the clear winner stays, else the default; a short time is kept to."""

import time
from itertools import count
from pathlib import Path

import pytest

from tl.engines import autotune_trials as trials
from tl.engines.autotune import DEFAULT, Choice
from tl.engines.autotune_trials import arrangements, cores, cpus, fastest, rate
from tl.engines.openvino import OpenVINOEngine


def invented(monkeypatch: pytest.MonkeyPatch, rates: dict[Choice, float]) -> None:
    """Rates as given; of all other choices, 90."""
    monkeypatch.setattr(trials, "rate", lambda engine, *_: rates.get(engine.choice, 90.0))


def test_a_clear_winner_is_chosen(tiny_run, monkeypatch):
    invented(monkeypatch, {DEFAULT: 100.0, Choice(32): 120.0})
    found = fastest(tiny_run / "trunk.xml", "f32", 30)
    assert (found.choice, found.rate, found.default_rate) == (Choice(32), 120.0, 100.0)


def test_other_streams_win_together_with_their_batch(tiny_run, monkeypatch):
    one = next(arrangements(opened(tiny_run)))
    best = Choice(8, one.streams, one.threads)
    invented(monkeypatch, {DEFAULT: 100.0, one: 110.0, best: 130.0})
    assert fastest(tiny_run / "trunk.xml", "f32", 30).choice == best


def test_a_little_faster_is_not_enough(tiny_run, monkeypatch):
    invented(monkeypatch, {DEFAULT: 100.0, Choice(32): 104.0})
    found = fastest(tiny_run / "trunk.xml", "f32", 30)
    assert (found.choice, found.rate) == (DEFAULT, 100.0)


def test_what_is_fast_once_only_is_not_chosen(tiny_run, monkeypatch):
    calls = count()
    monkeypatch.setattr(
        trials, "rate", lambda engine, *_: 150.0 if engine.choice.batch == 32 and next(calls) == 0 else 100.0
    )
    assert fastest(tiny_run / "trunk.xml", "f32", 30).choice == DEFAULT


def test_without_time_the_default_stays(tiny_run, monkeypatch):
    def slow(engine: OpenVINOEngine, *_: object) -> float:
        time.sleep(0.1)
        return 100.0 if engine.choice == DEFAULT else 200.0

    monkeypatch.setattr(trials, "rate", slow)
    started = time.monotonic()
    assert fastest(tiny_run / "trunk.xml", "f32", 0.15).choice == DEFAULT
    assert time.monotonic() - started < 5


def test_a_rate_counts_every_photo(tiny_run):
    engine = opened(tiny_run)
    found = rate(engine, 224, 4, 0.2)
    started = time.monotonic()
    assert 1 < found < 100_000
    rate(engine, 224, 4, 0.2)
    assert time.monotonic() - started < 10


def test_arrangements_leave_out_what_the_hint_gives(tiny_run):
    engine = opened(tiny_run)
    usual = Choice(16, engine.network.get_property("NUM_STREAMS"), engine.network.get_property("INFERENCE_NUM_THREADS"))
    found = list(arrangements(engine))
    assert usual not in found
    assert len(set(found)) == len(found)
    assert 1 <= cores() <= cpus()
    assert all(choice.streams and choice.threads and choice.streams <= choice.threads <= cpus() for choice in found)


def opened(run: Path) -> OpenVINOEngine:
    return OpenVINOEngine(run / "trunk.xml", "", "f32", choice=DEFAULT)
