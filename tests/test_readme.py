"""The README's own commands, as a new user types them."""

import re
import shlex
import subprocess
import sys

import pytest

from support.session import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def test_it_is_short_and_its_links_and_make_targets_exist():
    assert README.count("\n") < 150
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^    |`)make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_commands_of_the_use_section_work(tl, imagenet, home):
    commands = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    tl ")]
    # Those on photos of the reader's own, and on runs of theirs, have tests of their own.
    elsewhere = r"photos/|photo\.jpg|\bRUN\b|runs/NAME|--resume|inbox/|tl (serve|export|bench)"
    commands = [line for line in commands if not re.search(elsewhere, line)]
    assert len(commands) >= 6
    for command in commands:
        done = tl(*shlex.split(command)[1:], cwd=home)
        assert done.returncode == 0, (command, done.stderr)
    assert (home / "grid.png").stat().st_size > 100_000


def test_the_python_example_works(imagenet, home):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=home, check=False)
    assert done.returncode == 0, done.stderr
    accuracy, prediction, shape = done.stdout.splitlines()
    label, confidence = prediction.split()
    assert (label, shape) == ("cat", "(2, 2)")
    assert 0.5 < float(confidence) <= 1
    assert 0.9 < float(accuracy) <= 1


def test_every_option_that_the_readme_names_exists(tl):
    helps = "".join(tl(name, "--help").stdout for name in ("finetune", "predict", "grid", "compare"))
    for option in set(re.findall(r"`(--[a-z-]+)", README)):
        assert option in helps, option
