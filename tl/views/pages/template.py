"""Render HTML templates: everything escaped, nothing undefined, compiled once per machine; the style of all pages."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tl.settings import settings

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def render(name: str, values: Mapping[str, Any], *, style: str = "", script: str = "") -> str:
    """Render a template of this package with a style and a script of this package, allowed by their sha256 alone."""
    from markupsafe import Markup

    css, js = page_style() + (page_file(style) if style else ""), page_file(script) if script else ""
    allowed = f"style-src {_hash_source(css)}; script-src {_hash_source(js)}"
    policy = f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"
    whole = {**values, "policy": policy, "style": Markup(css), "script": Markup(js)}  # noqa: S704 - the package's own
    return environment().get_template(name).render(whole)


def environment(load: Callable[[str], str] | None = None) -> "Environment":
    """The environment that renders templates; `load` returns the text of one, by default of this package's."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(load or page_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_bytecode_cache(),
    )


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


# Every value is escaped by the template engine; the policy in the head forbids what might slip through.
HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
{{ house }}"""
"""The start of a page without scripts, up to the styles of its own."""


def page_style() -> str:
    """The style that all pages share: colours for light and dark, fonts, tables."""
    return page_file("page.css")


def page_file(name: str) -> str:
    """A template, style or script of this package."""
    return (files("tl.views.pages") / name).read_text(encoding="utf-8")
