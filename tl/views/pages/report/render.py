"""What a report tells becomes its HTML: everything escaped, and a policy that lets nothing in or out."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from tl.views.pages.report import charts as matrix
from tl.views.pages.report import scores as wording
from tl.views.pages.template import environment, page_style


def render(told: Mapping[str, Any]) -> str:
    """The page. Every value is escaped; style and script are the package's own, allowed by their sha256 alone."""
    from markupsafe import Markup

    style, script = page_style() + _text("page.css"), _text("page.js")
    templates = environment(_text)
    templates.globals |= {
        "count": wording.count,
        "percent": wording.percent,
        "LEVELS": matrix.LEVELS,
        "style": Markup(style),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "policy": _policy(style, script),
        "drawn": Markup,
    }
    return templates.get_template("page.html.jinja").render(told)


def _policy(style: str, script: str) -> str:
    allowed = f"style-src {_hashed(style)}; script-src {_hashed(script)}"
    return f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _text(resource: str) -> str:
    return (files("tl.views.pages.report") / resource).read_text(encoding="utf-8")
