"""`tl runs` in a terminal: tables that fit 80 columns whatever the names, JSON, questions, exit codes."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from support.runs import accuracy, change_head, change_run, copy_run, write_tables
from tl.commands.runs import command
from tl.errors import UsageError
from tl.runs.catalogue import list_runs
from tl.runs.folder import partial_folder
from tl.runs.summary import summarize
from tl.views.terminal.runs import list_text, summary_text

KOREAN = "고양이와-개-그리고-아주-긴-이름의-사진-모음"


@pytest.fixture
def home(tiny_run, tmp_path, monkeypatch):
    """The present folder, with five runs: plain, tuned, Korean, damaged, interrupted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    runs = tmp_path / "runs"
    copy_run(tiny_run, runs / "plain")
    tuning = {"kept": True, "unfreeze": "last", "head_only": {"validation": accuracy(0.5)}, "tuned": {}, "steps": 1}
    changes = {"metrics__fine-tuning": tuning, "options__unfreeze": "last", "created": "2027-01-01T00:00:00+00:00"}
    copy_run(tiny_run, runs / "tuned", **changes)
    copy_run(tiny_run, runs / f"20260101-010101-resnet50-{KOREAN}", data__name=KOREAN, options__data=KOREAN)
    (copy_run(tiny_run, runs / "broken") / "head.npz").unlink()
    partial_folder(runs / "half").mkdir()
    (partial_folder(runs / "half") / "run.toml").write_text('data = "shapes"\n')
    (runs / "latest").symlink_to("plain")
    return tmp_path


@pytest.fixture
def hundred(home):
    """A run of 100 classes with long Korean names, as its folder."""
    folder = copy_run(home / "runs" / "plain", home / "runs" / "hundred")
    names = [f"{KOREAN}-{at}" for at in range(100)]
    bias = np.zeros(100, np.float32)
    change_head(
        folder,
        lambda head: {
            "kernel": np.zeros((len(head["kernel"]), 100), np.float32),
            "bias": bias,
            "normalized_kernel": None,
        },
    )
    return change_run(folder, classes=names, data__per_class=dict.fromkeys(names, 500))


def run(*words, answer=None):
    """What a command prints; its lines fit the terminal."""
    done = CliRunner().invoke(command, words, input=answer, catch_exceptions=False, standalone_mode=False)
    if "--json" not in words:
        assert [line for line in done.output.splitlines() if cell_len(line) > 80] == []
    return done.output


def test_list_shows_state_and_accuracy_as_text_and_as_json(home):
    shown = run("list")
    lines = shown.splitlines()
    assert lines[2].startswith("  tuned ")
    assert "2027-01-01" in lines[3]
    assert "mobilenetv3small random, last tuned, shapes, 2 classes" in lines[3]
    assert next(line for line in lines if line.startswith("*")).startswith("* plain ")
    assert "is damaged (head.npz is missing)" in shown
    assert "was interrupted: continue with `tl finetune --resume --out runs/half`" in " ".join(shown.split())
    assert "5 runs, " in shown
    assert f"-{KOREAN}\n" in shown
    found = json.loads(run("list", "--json", "--sort", "name"))
    assert [one["name"] for one in found][1:] == ["broken", "half", "plain", "tuned"]
    assert [one["name"] for one in found if one["newest"]] == ["plain"]
    assert {one["state"] for one in found} == {"complete", "damaged", "interrupted"}
    plain = found[3]
    assert plain["top1_interval"][0] <= plain["top1"] <= plain["top1_interval"][1]
    assert plain["bytes"] > plain["shared_bytes"] >= 0


def test_list_of_no_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "train one with `tl finetune DATA`" in " ".join(run("list").split())
    assert json.loads(run("list", "--json")) == []


@pytest.mark.parametrize("width", [64, 80, 132])
def test_list_fits_the_width(home, width):
    copy_run(home / "runs" / "plain", home / "runs" / ("long-" * 40), data__name="long " * 40)
    lines = list_text(list_runs("runs"), "runs", width).splitlines()
    assert f"  {'long-' * 40}" in lines
    assert all(cell_len(line) <= width or line.startswith("  20260101-") for line in lines if "long-long" not in line)


def test_show_lists_the_facts_as_text_and_as_json(home):
    shown = run("show")
    assert shown.startswith("run          runs/plain, created ")
    topics = ["run", "data", "split", "network", "recipe", "options", "head", "validation", "seconds"]
    topics += ["versions", "files", "command"]
    assert [line.split()[0] for line in shown.splitlines() if line[0] != " "] == topics
    assert "shapes: 24 images, 2 classes (noise 12, stripes 12)" in shown
    assert len(shown.splitlines()) <= 24
    assert summarize("plain").sha256[:12] in shown
    assert "last of the backbone, 1 step: kept" in run("show", "tuned")
    assert "options      val 0.2, unfreeze last" in run("show", "tuned")
    found = json.loads(run("show", "plain", "--json"))
    manifest = json.loads((home / "runs" / "plain" / "manifest.json").read_text())
    assert found["sha256"] == manifest["weights"]["sha256"]
    assert found["parts"]["validation"]["figures"]["top1"]["value"] == manifest["metrics"]["validation"]["top1"]
    assert found["options"] == manifest["options"]


def test_show_shortens_many_classes_with_long_names(hundred):
    shown = run("show", "hundred")
    assert "100 classes of 500 (" in shown
    assert "and 95 more)" in shown
    assert len(shown.splitlines()) <= 30
    for width in (60, 132):
        assert max(map(cell_len, summary_text(summarize("hundred"), width).splitlines())) <= width


def test_names_cannot_control_the_terminal(home):
    name = "red\x1b[31m\u202e\ud800\n"
    copy_run(home / "runs" / "plain", home / "runs" / "evil", data__name=name, options__augment=name, command=[name])
    for words in (("list",), ("show", "evil"), ("compare", "plain", "evil")):
        shown = run(*words)
        assert not set("\x1b\u202e\ud800") & set(shown)
        assert json.loads(run(*words, "--json"))


def test_compare_lists_differences(home, hundred):
    shown = run("compare", "plain", "tuned")
    lines = [line.split() for line in shown.splitlines()]
    assert ["unfreeze", "none", "last"] in lines
    assert ["A", "runs/plain"] in lines
    assert "The same in all: network, data, images per class, versions." in shown
    assert "always both correct or both wrong" in shown
    names = ["plain", "tuned", "hundred", f"20260101-010101-resnet50-{KOREAN}"]
    shown = " ".join(run("compare", *names).split())
    assert "not in all noise, stripes" in shown
    assert "and 97 more" in shown
    assert len(json.loads(run("compare", *names, "--json"))["pairs"]) == 3


def test_compare_says_which_is_better(home):
    photos = [(f"{at}.png", str(at), "test", "noise") for at in range(8)]
    write_tables(home / "runs" / "plain", [(path, sha, part, "stripes") for path, sha, part, _ in photos])
    write_tables(home / "runs" / "tuned", photos)
    assert "B is better (McNemar's exact test, p = 0.0078)" in " ".join(run("compare", "plain", "tuned").split())


def test_rm_asks_first(home):
    shown = run("rm", "plain", "half", answer="n\n")
    assert "runs/plain\n  run, " in shown
    assert "runs/half\n  interrupted run, " in shown
    assert "Remove? [y/N]" in shown
    assert (home / "runs" / "plain").is_dir()
    assert "removed" in run("rm", "plain", answer="y\n")
    assert not (home / "runs" / "plain").exists()
    assert (home / "runs" / "latest").readlink().name == "tuned"


def test_rm_with_yes_does_not_ask(home):
    assert run("rm", "broken", "half", "--yes", "--quiet") == ""
    assert len(list_runs("runs")) == 3
    assert "nothing to remove" in run("rm", "--keep-best", "9")
    assert "1 in total" in run("rm", "--keep-best", "1", "--yes")
    assert {one.name for one in list_runs("runs")} == {"tuned", f"20260101-010101-resnet50-{KOREAN}"}
    with pytest.raises(UsageError, match="nothing to remove: name runs"):
        run("rm")


def test_errors_are_one_line(tl, home):
    done = tl("runs", "list", cwd=home)
    assert (done.returncode, done.stderr) == (0, "")
    done = tl("runs", "show", "broken", cwd=home, expect=1)
    assert done.stderr.count("\n") == 1
    shutil.rmtree(home / "runs")
    assert tl("runs", "rm", "plain", "--yes", cwd=home).returncode == 1
