"""Templates are translated once a machine, and a page never depends on what was kept of them."""

from pathlib import Path

import pytest
from jinja2 import Environment

from tl.views.pages.template import environment

PAGE = "<p>{{ name }}</p>"


def rendered() -> str:
    return environment({"page": PAGE}.__getitem__).get_template("page").render(name="<b>")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    return tmp_path / "templates"


def test_a_template_is_translated_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendered() == "<p>&lt;b&gt;</p>"
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(Environment, "_generate", lambda *_, **__: pytest.fail("translated again"))
    assert rendered() == "<p>&lt;b&gt;</p>"


@pytest.mark.parametrize("damage", [b"", b"j2", b"\0" * 100])
def test_what_is_damaged_is_made_again(kept: Path, damage: bytes) -> None:
    rendered()
    (file,) = kept.iterdir()
    file.write_bytes(damage)
    assert rendered() == "<p>&lt;b&gt;</p>"
    assert len(file.read_bytes()) > 100


def test_truncated_code_is_made_again(kept: Path) -> None:
    rendered()
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert rendered() == "<p>&lt;b&gt;</p>"


def test_a_folder_that_cannot_be_made_is_gone_without(kept: Path) -> None:
    kept.write_text("in the way")
    assert rendered() == "<p>&lt;b&gt;</p>"
