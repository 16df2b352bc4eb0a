"""The package's files become what is sent of them: content, type, and a tag by which a browser knows them again."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent; `tag` is its ETag, with quotes."""

    content: bytes
    type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """All files of the page by name; the style that all pages of the house share is one of them."""
    own = {file.name: file.read_bytes() for file in (files("tl.service.page") / "static").iterdir() if file.is_file()}
    own["house.css"] = (files("tl.views.pages") / "page.css").read_bytes()
    return {name: _asset(name, content) for name, content in own.items() if _ending(name) in _TYPES}


def _asset(name: str, content: bytes) -> Asset:
    return Asset(content, _TYPES[_ending(name)], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
