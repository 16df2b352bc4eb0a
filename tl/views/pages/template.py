"""Templates become pages: everything escaped, nothing undefined, and translated to Python once a machine."""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from tl.settings import settings

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def environment(load: Callable[[str], str]) -> "Environment":
    """Where the templates that `load` gives by their names are rendered; blocks leave no lines of their own."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_kept(),
    )


def _kept() -> "BytecodeCache | None":
    """Beside the features: translating the report's templates takes longer than most photos' answers."""
    from jinja2 import FileSystemBytecodeCache

    folder = settings().cache_dir / "templates"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return FileSystemBytecodeCache(str(folder))


# Every value is escaped by the template engine; the policy in the head forbids what should slip through.
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
"""Where the template of a page without scripts begins, up to the styles of its own."""


def house_style() -> str:
    """Colours for light and dark, letters, tables: what a page's own style goes on from."""
    return (files("tl.views.pages") / "page.css").read_text(encoding="utf-8")
