"""The structure: imports run one way, heavy libraries stay out of light paths, the export list is what it says."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tl

ROOT = Path(__file__).resolve().parents[1]
# Each layer imports only from those before it.
LAYERS = [
    "errors",
    "settings",
    "progress",
    "options",
    "text",
    "files",
    "download",
    "cache",
    "linalg",
    "data",
    "networks",
    "engines",
    "features",
    "learning",
    "evaluation",
    "doctor",
    "runs",
    "prediction",
    "exporters",
    "views",
    "workflows",
    "classifier",
    "service",
    "client",
    "commands",
    "__main__",
]
HEAVY = {
    "sklearn",
    "threadpoolctl",
    "tensorflow",
    "keras",
    "keras_cv",
    "openvino",
    "matplotlib",
    "scipy",
    "cv2",
    "PIL",
    "pillow_heif",
    "rich",
    "h5py",
    "lmdb",
    "filelock",
    "nncf",
    "onnx",
    "onnxruntime",
    "tf2onnx",
    "ai_edge_litert",
    "fastapi",
    "httptools",
    "prometheus_client",
    "pydantic",
    "starlette",
    "urllib3",
    "uvicorn",
    "uvloop",
}
# What `tl serve` alone loads: its routes are declared with these where they stand.
WEB = {"fastapi", "httptools", "prometheus_client", "pydantic", "starlette", "uvicorn"}


def modules() -> list[Path]:
    return sorted((ROOT / "tl").rglob("*.py"))


def test_imports_run_downward_only():
    upward = []
    for path in modules():
        layer = _layer(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tl."):
                target = node.module.split(".")[1]
                if path != ROOT / "tl" / "__init__.py" and LAYERS.index(target) > LAYERS.index(layer):
                    upward.append(f"{path.relative_to(ROOT)} imports {node.module}")
    assert upward == []


def test_no_two_modules_need_each_other():
    """Imports inside functions count as well: a layer can be read from its first file to its last."""
    known = {_name(path): path for path in modules()}
    needs = {name: _needed(path) & set(known) - {name} for name, path in known.items()}
    circles = []
    try:
        list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circles = error.args[1]
    assert circles == []


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _needed(path: Path) -> set[str]:
    """The modules that a module names in `from … import …`, which is how all of them import each other."""
    needed = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tl."):
            needed |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return needed


def _layer(path: Path) -> str:
    if path.parent.name == "workflows" and path.stem in ("serve", "keys"):  # they start the service
        return "client"
    first = path.relative_to(ROOT / "tl").parts[0]
    return first.removesuffix(".py") if first != "__init__.py" else "commands"


def test_heavy_libraries_are_imported_where_they_are_used():
    found = []
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            heavy = HEAVY - WEB if _layer(path) == "service" else HEAVY
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in heavy]
    assert found == []


LIGHT = (
    *("client", "commands.main", "workflows.export", "prediction.predictor"),
    *("service.decoder", "service.keys", "workflows.grid"),
)


@pytest.mark.parametrize("module", [f"tl.{name}" for name in LIGHT])
def test_modules_load_without_frameworks(module: str):
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_documented():
    assert dir(tl) == sorted(tl.__all__)
    for name in tl.__all__:
        assert getattr(tl, name).__doc__, name


def test_the_package_has_no_assert_and_no_bare_except():
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if isinstance(node, ast.Assert) or bare:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
