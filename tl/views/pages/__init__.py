"""Render HTML pages: everything escaped, nothing undefined, compiled once per machine, under a strict policy."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tl.settings import settings
from tl.text import count, one_line, percent

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def render(name: str, values: Mapping[str, Any], *, style: str, script: str = "") -> str:
    """Render a template of this package with a style and a script of this package, allowed by their sha256 alone."""
    from markupsafe import Markup

    css = page_file("page.css") + page_file(style)
    js = page_file(script) if script else ""
    allowed = f"style-src {_hash_source(css)}" + (f"; script-src {_hash_source(js)}" if script else "")
    policy = f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"
    whole = {**values, "policy": policy, "style": Markup(css), "script": Markup(js)}  # noqa: S704 - the package's own
    return environment().get_template(name).render(whole)


def environment(load: Callable[[str], str] | None = None) -> "Environment":
    """The environment that renders templates; `load` returns the text of one, by default of this package's."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    templates = Environment(
        loader=FunctionLoader(load or page_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_bytecode_cache(),
    )
    templates.filters |= {"one_line": one_line, "count": count}
    templates.globals |= {"count": count, "percent": percent}
    return templates


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _bytecode_cache() -> "BytecodeCache | None":
    """In the cache folder: compiling the report's templates takes longer than classifying most folders of images."""
    from jinja2 import FileSystemBytecodeCache

    folder = settings().cache_dir / "templates"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return FileSystemBytecodeCache(str(folder))


def page_file(name: str) -> str:
    """A template, style or script of this package."""
    return (files("tl.views.pages") / name).read_text(encoding="utf-8")
