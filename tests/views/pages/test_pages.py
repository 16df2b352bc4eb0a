"""Templates are compiled once per machine, and a page never depends on the compiled copy."""

from pathlib import Path

import pytest
from jinja2 import Environment

from tl.views.pages import environment

PAGE = "<p>{{ name }}</p>"


def rendered() -> str:
    return environment({"page": PAGE}.__getitem__).get_template("page").render(name="<b>")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TL_CACHE_DIR", str(tmp_path))
    return tmp_path / "templates"


def test_template_is_compiled_once(cached, monkeypatch):
    assert rendered() == "<p>&lt;b&gt;</p>"
    assert len(list(cached.iterdir())) == 1
    monkeypatch.setattr(Environment, "_generate", lambda *_, **__: pytest.fail("compiled again"))
    assert rendered() == "<p>&lt;b&gt;</p>"


@pytest.mark.parametrize("damage", [b"", b"j2", b"\0" * 100, None], ids=["empty", "start", "zeros", "truncated"])
def test_damaged_bytecode_is_replaced(cached, damage):
    rendered()
    (file,) = cached.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20] if damage is None else damage)
    assert rendered() == "<p>&lt;b&gt;</p>"
    assert file.read_bytes() == whole


def test_template_renders_without_a_cache_folder(cached):
    cached.write_text("in the way")
    assert rendered() == "<p>&lt;b&gt;</p>"
