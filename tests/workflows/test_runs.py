"""`tl.runs.list`, `show`, `compare` and `rm` do what the commands do."""

from pathlib import Path

import pytest

import tl
from support.runs import accuracy, copy_run
from support.session import TINY
from tl.errors import RunError, UsageError


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs, the second of which is more accurate; the present folder is beside it."""
    monkeypatch.chdir(tmp_path)
    copy_run(
        tiny_run, tmp_path / "runs" / "good", metrics__validation=accuracy(0.5), created="2026-01-01T00:00:00+00:00"
    )
    copy_run(
        tiny_run, tmp_path / "runs" / "better", metrics__validation=accuracy(0.75), created="2026-01-02T00:00:00+00:00"
    )
    return tmp_path / "runs"


def test_list_sorts_the_runs(runs: Path):
    assert [run.name for run in tl.runs.list()] == [run.name for run in tl.runs.list(runs)] == ["better", "good"]
    assert [run.name for run in tl.runs.list(sort="accuracy")] == ["better", "good"]
    with pytest.raises(UsageError, match="--sort size: choose"):
        tl.runs.list(sort="size")


def test_show_and_compare_describe_runs(runs: Path):
    summary = tl.runs.show(runs / "good")
    assert (summary.name, summary.backbone) == ("good", TINY)
    with pytest.raises(RunError, match="nowhere"):
        tl.runs.show("nowhere")
    difference = tl.runs.compare("good", "better")
    assert [run["name"] for run in difference.as_dict()["runs"]] == ["good", "better"]


def test_rm_removes_runs_or_all_but_the_best(runs: Path):
    with pytest.raises(UsageError, match="nothing to remove"):
        tl.runs.rm()
    assert [removal.folder.name for removal in tl.runs.rm(keep_best=1)] == ["good"]
    assert not (runs / "good").exists()
    tl.runs.rm(runs / "better")
    assert tl.runs.list() == []
