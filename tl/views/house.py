"""The look that all pages of the house share, as a style sheet."""

from importlib.resources import files


def house_style() -> str:
    """Colours for light and dark, letters, tables: what a page's own style goes on from."""
    return (files("tl.views") / "house.css").read_text(encoding="utf-8")
