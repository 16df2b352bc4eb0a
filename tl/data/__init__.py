"""Images on disk: finding, decoding, measuring, splitting and writing them.

`tl.data.check`, `convert`, `fix`, `get`, `split` and `stats` are the functions of the commands of these names.
"""

from tl import lazy_attributes

_HOMES = {name: f"tl.workflows.data_{name}:{name}" for name in ("check", "fix", "split")} | {
    name: f"tl.workflows.data:{name}" for name in ("convert", "get", "stats")
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
