"""Reports that cannot be written as they should: damaged folders, full disks, too many photos, classes, no network."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.reports import made
from tl.data.load import load as load_data
from tl.errors import RunError, StorageError
from tl.runs.run import load_run
from tl.views.pages.report.report import MOST_BYTES, compose, write_report
from views.pages.test_report import Reader, page


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.json", "{"),
        ("metrics.json", "[]"),
        ("metrics.json", '{"seconds": {}}'),
        ("metrics.json", '{"validation": {"top1": "<b>", "top1_interval": [0, 1], "count": 1}}'),
        ("metrics.json", '{"validation": {"top1": 1, "top1_interval": [0], "count": 1}}'),
        ("predictions.csv", "path,split\na,validation\n"),
        ("predictions.csv", "path,split,label,predicted,confidence,confidence_of_label\na,validation,cat,cat,nan,0\n"),
        ("predictions.csv", "path,split,label,predicted,confidence,confidence_of_label\na,validation,cat,cat,9,0\n"),
        ("predictions.csv", "split,label,predicted,confidence,confidence_of_label,path\nvalidation,cat,cat,1,1\n"),
        ("predictions.csv", None),
        ("strengths.csv", "strength,held_out_log_loss,held_out_top1\nmuch,0,0\n"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path: Path, file: str, content: str | None):
    subject = made(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(RunError, match="damaged, its report cannot be made") as caught:
        write_report(subject, explain=False)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*report.html*"))


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subject = made(tmp_path)
    target = write_report(subject, explain=False)
    old = target.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match=r"report\.html cannot be written: No space left"):
        write_report(replace(subject, data="other"), explain=False)
    assert target.read_bytes() == old
    assert not list(tmp_path.glob(".report*"))


def test_large_photos_of_many_classes_stay_below_the_limit(tmp_path: Path):
    classes = [f"class {at:03}" for at in range(100)]
    subject = made(tmp_path, classes, 1200, wrong=0.4, side=200)  # noise, which no JPEG makes small
    text = write_report(subject, explain=False).read_bytes()
    assert 2_000_000 < len(text) < MOST_BYTES
    reader = Reader(text.decode())
    items = [tag for tag in reader.found("li") if "data-v" in tag]
    assert 100 < len(items) < 450
    assert len({tag["data-t"] for tag in items}) == 100
    assert f"{sum(tag['data-v'] == 'wrong' for tag in items)} of 480 wrong photos" in reader.words
    [cells] = re.findall(r'id="map-cells">(.*?)</script>', text.decode(), re.DOTALL)
    told = json.loads(cells)
    assert told["names"] == classes
    assert sum(sum(row[1::2]) for row in told["cells"]) == 1200


def test_more_classes_than_squares_can_be_seen(tmp_path: Path):
    words = page(made(tmp_path, [f"c{at}" for at in range(300)], 600)).words
    assert "With 300 classes the squares of a matrix are too small" in words


def test_the_worst_errors_are_explained_by_the_runs_own_network(tmp_path: Path, tiny_run: Path, shapes: Path):
    run = load_run(tiny_run)
    dataset = load_data(str(shapes))
    subject = made(tmp_path, run.classes, 12, names=list(dataset.names[:12]), wrong=0.3)
    reader = Reader(compose(replace(subject, run=replace(run, folder=tiny_run), dataset=dataset)))
    heats = [tag for tag in reader.found("img") if str(tag["alt"]).startswith("The same with what spoke for")]
    assert len(heats) == 4
    assert len({tag["src"] for tag in heats}) == 4
    assert "what spoke for the wrong answer (Grad-CAM)" in reader.words


def test_without_a_network_the_page_says_why_there_is_no_heat_map(tmp_path: Path):
    subject = made(tmp_path)
    damaged = replace(subject.run, manifest={**subject.run.manifest, "files": {"trunk.bin": "0"}})
    words = Reader(compose(replace(subject, run=damaged))).words
    assert "The heat maps are missing" in words
    assert "trunk.bin cannot be read" in words
