"""What is told becomes lines that others read while they are written, even after a kill."""

import json
from pathlib import Path

from tl.progress import Progress
from tl.service.progress import JobProgress, events, last


class Other(Progress):
    def __init__(self) -> None:
        self.heard: list[object] = []

    def log(self, topic, text):
        self.heard.append((topic, text))

    def metrics(self, step, figures):
        self.heard.append((step, figures))


def read(path: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in event.items() if name != "at"} for _, event in events(path)[0]]


def test_all_that_is_told_is_written_and_passed_on(tmp_path):
    path, other = tmp_path / "events", Other()
    progress = JobProgress(path, other)
    progress.attempt(1, resumed=False)
    progress.log("data", "고양이 \ud800")
    progress.warn("careful")
    with progress.task("features", 10, "photos") as task:
        task.expect(4)
        task.advance(2)
        task.advance(2)
    progress.metrics(3, {"loss": float("nan"), "learning_rate": 0.1})
    progress.close()
    told = read(path)
    assert told[:3] == [
        {"event": "attempt", "attempt": 1, "resumed": False},
        {"event": "say", "topic": "data", "text": "고양이 ?"},
        {"event": "warn", "text": "careful"},
    ]
    assert told[3] == {
        **{"event": "progress", "task": "features", "done": 0, "total": 10, "unit": "photos", "seconds_left": None}
    }
    assert (told[-2]["done"], told[-2]["total"], told[-2]["seconds_left"]) == (4, 4, 0.0)
    assert told[-1] == {"event": "figures", "step": 3, "loss": None, "learning_rate": 0.1}
    assert other.heard[0] == ("data", "고양이 \ud800")
    assert other.heard[1][0] == 3


def test_steps_are_thinned_out_and_epochs_are_not(tmp_path):
    progress = JobProgress(tmp_path / "events", Progress())
    with progress.task("training", 10_000, "photos") as task:
        for step in range(10_000):
            progress.metrics(step, {"loss": 1.0})
            task.advance()
            if step % 1000 == 0:
                progress.metrics(step, {"loss": 1.0, "epoch": step // 1000})
    progress.close()
    told = read(tmp_path / "events")
    assert sum("epoch" in event for event in told) == 10
    assert len(told) < 40


def test_a_reader_goes_on_where_it_was_and_passes_over_what_was_cut_off(tmp_path):
    path = tmp_path / "events"
    assert events(path) == ([], 0)
    assert last(path, "say") is None
    first = JobProgress(path, Progress())
    first.log("a", "1")
    [(at, _)], place = events(path)
    assert at == place == path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"event": "say", "topic": "half')  # killed in the middle
    assert events(path, place) == ([], place)
    again = JobProgress(path, Progress())
    again.log("b", "2")
    found, _ = events(path, place)
    assert [event["topic"] for _, event in found] == ["b"]
    assert last(path, "say")["topic"] == "b"
    for start in (-1, 10**12, 3):  # what no reader was ever told
        assert [event["topic"] for _, event in events(path, start)[0]][-1] == "b"
    with path.open("ab") as file:
        file.write(b'[1]\n{"event": 3}\nnull\n\xff\n')
    assert [event["topic"] for _, event in events(path)[0]] == ["a", "b"]
    first.close()
    again.close()


def test_long_files_are_read_in_pieces(tmp_path):
    path = tmp_path / "events"
    path.write_text("".join(json.dumps({"event": "say", "number": at}) + "\n" for at in range(1000)))
    seen, place = [], 0
    while True:
        found, after = events(path, place, 1000)
        if not found:
            break
        seen += [event["number"] for _, event in found]
        place = after
    assert seen == list(range(1000))
