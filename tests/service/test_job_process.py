"""Tests of tl/service/job_process.py: the events that a job's process writes while others read them."""

import json
from pathlib import Path

from tl.service.job_process import JobProgress, last_event, read_events


def events_in(path: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in event.items() if name != "at"} for _, event in read_events(path)[0]]


def test_job_progress_writes_events_and_prints_log_lines(tmp_path, capsys):
    path = tmp_path / "events"
    progress = JobProgress(path)
    progress.write("attempt", attempt=1, resumed=False)
    progress.log("data", "고양이")
    progress.warn("careful")
    with progress.task("features", 10, "images") as task:
        task.expect(4)
        task.advance(2)
        task.advance(2)
    progress.metrics(3, {"loss": float("nan"), "learning_rate": 0.1})
    events = events_in(path)
    assert events[:4] == [
        {"event": "attempt", "attempt": 1, "resumed": False},
        {"event": "say", "topic": "data", "text": "고양이"},
        {"event": "warn", "text": "careful"},
        {"event": "progress", "task": "features", "done": 0, "total": 10, "unit": "images", "seconds_left": None},
    ]
    assert (events[-2]["done"], events[-2]["total"], events[-2]["seconds_left"]) == (4, 4, 0.0)
    assert events[-1] == {"event": "figures", "step": 3, "loss": None, "learning_rate": 0.1}
    assert capsys.readouterr().out == "data        고양이\nnote        careful\n"


def test_job_progress_thins_out_steps_but_not_epochs(tmp_path):
    progress = JobProgress(tmp_path / "events")
    with progress.task("training", 10_000, "images") as task:
        for step in range(10_000):
            progress.metrics(step, {"loss": 1.0})
            task.advance()
            if step % 1000 == 0:
                progress.metrics(step, {"loss": 1.0, "epoch": step // 1000})
    events = events_in(tmp_path / "events")
    assert sum("epoch" in event for event in events) == 10
    assert len(events) < 40


def test_read_events_continues_from_an_offset_and_skips_incomplete_lines(tmp_path):
    path = tmp_path / "events"
    assert read_events(path) == ([], 0)
    assert last_event(path, "say") is None
    first = JobProgress(path)
    first.log("a", "\ud800")
    [(offset, event)], end = read_events(path)
    assert (event["text"], offset, end) == ("?", path.stat().st_size, path.stat().st_size)
    with path.open("ab") as file:
        file.write(b'{"event": "say", "topic": "half')  # killed in the middle
    assert read_events(path, end) == ([], end)
    again = JobProgress(path)
    again.log("b", "2")
    assert [event["topic"] for _, event in read_events(path, end)[0]] == ["b"]
    assert last_event(path, "say")["topic"] == "b"
    for start in (-1, 10**12, 3):  # offsets that no reader was ever given
        assert [event["topic"] for _, event in read_events(path, start)[0]][-1] == "b"
    with path.open("ab") as file:
        file.write(b'[1]\n{"event": 3}\nnull\n\xff\n')
    assert [event["topic"] for _, event in read_events(path)[0]] == ["a", "b"]


def test_read_events_reads_long_files_in_pieces(tmp_path):
    path = tmp_path / "events"
    path.write_text("".join(json.dumps({"event": "say", "number": at}) + "\n" for at in range(1000)))
    numbers, offset = [], 0
    while offset < path.stat().st_size:
        events, offset = read_events(path, offset, 1000)
        numbers += [event["number"] for _, event in events]
    assert numbers == list(range(1000))
