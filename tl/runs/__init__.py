"""Run folders: writing, reading, listing, summarizing and removing them.

`tl.runs.list`, `tl.runs.show`, `tl.runs.compare` and `tl.runs.rm` are the functions of the commands of these names.
"""

from tl import lazy_attributes

_HOMES = {name: f"tl.workflows.runs:{name}" for name in ("list", "show", "compare", "rm")}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
