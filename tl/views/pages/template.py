"""Render HTML templates: everything escaped, nothing undefined, compiled once per machine; the style of all pages."""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from tl.settings import settings

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def environment(load: Callable[[str], str]) -> "Environment":
    """The environment that renders templates; `load` returns the text of a template by its name."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_bytecode_cache(),
    )


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
    return (files("tl.views.pages") / "page.css").read_text(encoding="utf-8")
