"""Write `tl_images` into an export: the code by which its run reads image files, to be used without `tl`.

A few lines of another library would give other pixels for some kind of file: transparent or 16-bit images, colour
profiles, EXIF rotation. So an export has a copy of our own modules, with those that they import.
"""

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tl.exporters.formats import Pixels

PACKAGE = "tl_images"
_ROOT = Path(__file__).resolve().parents[1]
_ENTRY = "tl.data.images"

_INIT = '''"""Reads image files as `tl` does, for the model beside this folder.

    from tl_images import read_image

    photo = read_image("photo.jpg")  # or its bytes: uint8 RGB [height, width, 3]

Needs numpy, pillow and simplejpeg; for HEIC, pi-heif.
"""

import os
from pathlib import Path

from .data.images import as_image, decode_for, read


def read_image(image):
    """The pixels of a path, the bytes of a file, a Pillow image or an array. ImageError says why there are none."""
    image = Path(image) if isinstance(image, (str, os.PathLike)) else as_image(image)
    return decode_for(read(image), {size})
'''


def write_reader(folder: Path, image_size: int) -> None:
    """Write the package into a folder, for a network of that image size."""
    waiting, written = [_ENTRY], set[str]()
    while waiting:
        name = waiting.pop()
        if name in written:
            continue
        written.add(name)
        source = _file(name).read_text(encoding="utf-8")
        waiting += _imports(source)
        target = folder / PACKAGE / _file(name).relative_to(_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"(?m)^(\s*(?:from|import)) tl\b", rf"\1 {PACKAGE}", source), encoding="utf-8")
    init = folder / PACKAGE / "__init__.py"
    init.write_text(_INIT.replace("{size}", str(image_size)), encoding="utf-8")


@contextmanager
def opened_reader(folder: Path) -> Iterator[Callable[[Any], Pixels]]:
    """The function `read_image` of the package in a folder, as a program beside it would import it."""
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(PACKAGE).read_image
    finally:
        sys.path.remove(str(folder))
        for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def _imports(source: str) -> Iterator[str]:
    """The modules of `tl` that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "tl":
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (each if _file(each).is_file() else node.module for each in modules)


def _file(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
