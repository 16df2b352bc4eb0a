"""The look that all pages of the house share, as a style sheet."""

from importlib.resources import files

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
