"""The structure: imports run one way, heavy libraries stay out of light paths, a command leads to all behind it."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import click
import pytest

import tl

ROOT = Path(__file__).resolve().parents[1]
# Each layer imports only from those before it.
LAYERS = [
    *("errors", "settings", "text", "progress", "options", "files", "download", "cache", "linalg"),
    *("data", "networks", "engines", "features", "learning", "evaluation", "doctor", "runs", "prediction", "exporters"),
    *("views", "workflows", "classifier", "service", "client", "commands", "__main__"),
]
# The settings, the environment of child processes, and what the terminal can draw.
ENVIRONMENT = {"settings.py", "files.py", "views/pictures/show.py"}
# Modules that run as processes of their own.
CHILDREN = {"data/video.py", "engines/autotune.py", "engines/trunk.py", "service/decoder.py", "service/job_process.py"}
# What `tl serve` alone loads: its routes are declared with these where they stand.
WEB = {"fastapi", "httptools", "prometheus_client", "pydantic", "starlette", "uvicorn"}
HEAVY = {
    *("sklearn", "threadpoolctl", "tensorflow", "keras", "keras_cv", "openvino", "matplotlib", "scipy", "cv2", "PIL"),
    *("pillow_heif", "rich", "h5py", "lmdb", "filelock", "nncf", "onnx", "onnxruntime", "tf2onnx", "ai_edge_litert"),
    *("urllib3", "uvloop", *WEB),
}


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tl").rglob("*.py"))}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every node of every module, with the module's path."""
    names = {str(path.relative_to(ROOT / "tl")): tree for path, tree in trees().items()}
    return [(name, node) for name, tree in names.items() for node in ast.walk(tree)]


@cache
def imported(path: Path) -> list[ast.ImportFrom]:
    """The imports `from tl.… import …` of a module, which is how all of them import each other."""
    every = [node for node in ast.walk(trees()[path]) if isinstance(node, ast.ImportFrom)]
    return [node for node in every if node.module and node.module.startswith("tl.")]


def test_imports_run_downward_only():
    upward = [
        f"{path.relative_to(ROOT)} imports {node.module}"
        for path in trees()
        for node in imported(path)
        if path != ROOT / "tl" / "__init__.py" and LAYERS.index(node.module.split(".")[1]) > LAYERS.index(_layer(path))
    ]
    assert upward == []


def test_no_two_modules_need_each_other():
    """Imports inside functions count as well: a layer can be read from its first file to its last."""
    known = {_name(path): path for path in trees()}
    TopologicalSorter({name: _needed(path) & set(known) - {name} for name, path in known.items()}).prepare()


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _needed(path: Path) -> set[str]:
    return {
        name for node in imported(path) for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names))
    }


def _layer(path: Path) -> str:
    if path.parent.name == "workflows" and path.stem in ("serve", "keys"):  # they start the service
        return "client"
    first = path.relative_to(ROOT / "tl").parts[0]
    return first.removesuffix(".py") if first != "__init__.py" else "commands"


def test_heavy_libraries_are_imported_where_they_are_used():
    found = []
    for path, tree in trees().items():
        for node in tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            heavy = HEAVY - WEB if _layer(path) == "service" else HEAVY
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in heavy]
    assert found == []


HTTP = {"http.client", "ssl", "urllib3"}
LIGHT = {
    "tl.client, tl.commands.main, tl.workflows.export, tl.prediction.predictor, tl.workflows.grid": HEAVY,
    "tl.service.decoder, tl.service.keys": HEAVY,
    "tl.data.images, tl.data.load, tl.data.splits": HEAVY | {"simplejpeg", "tarfile", "zipfile"},
    "tl.workflows.predict": HTTP,
}


@pytest.mark.parametrize(("modules", "heavy"), LIGHT.items(), ids=LIGHT)
def test_modules_load_without_frameworks(modules: str, heavy: set[str]):
    code = f"import sys, {modules}; print(sorted(set(sys.modules) & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_documented():
    assert dir(tl) == sorted(tl.__all__)
    for name in tl.__all__:
        assert getattr(tl, name).__doc__, name


def test_the_package_has_no_assert_and_no_bare_except():
    found = [
        f"{path}:{node.lineno}"
        for path, node in nodes()
        if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None)
    ]
    assert found == []


def test_functions_are_at_most_50_lines_long():
    too_long = [
        f"{path}:{node.name}"
        for path, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 50
    ]
    assert too_long == []


def test_class_names_are_unique():
    classes: dict[str, list[str]] = {}
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in classes.items() if len(where) > 1} == {}


def test_a_file_name_repeats_only_for_one_subject_in_several_layers():
    """`predict.py` is a command, a workflow and a route; among the parts each name stands once."""
    parts: dict[str, list[str]] = {}
    for path in trees():
        layer = path.relative_to(ROOT / "tl").parts[0]
        if layer not in ("commands", "workflows", "service", "views") and path.name != "__init__.py":
            parts.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    # A runtime has an engine and an exporter of its name.
    assert {name for name, where in parts.items() if len(where) > 1} <= {"openvino.py"}


def leaf_commands() -> list[tuple[str, ...]]:
    from tl.commands.main import COMMANDS, cli

    leaves: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        leaves += [(name, sub) for sub in command.commands] if isinstance(command, click.Group) else [(name,)]
    return leaves


@pytest.mark.parametrize("words", leaf_commands(), ids=" ".join)
def test_a_command_leads_to_its_workflow_its_function_and_its_test(words: tuple[str, ...]):
    function: Any = tl
    for word in words:
        function = getattr(function, word)
    assert callable(function), f"tl.{'.'.join(words)} is no function"
    assert (ROOT / "tl" / "commands" / f"{words[0]}.py").is_file()
    if words[0] == "cache":  # a part, whose functions they are
        return
    names = {"_".join(words), words[0]}
    assert any((ROOT / "tl" / "workflows" / f"{name}.py").is_file() for name in names)
    assert any((ROOT / "tests" / "workflows" / f"test_{name}.py").is_file() for name in names)


def test_only_commands_and_child_processes_read_the_command_line():
    attributes = [(path, node) for path, node in nodes() if isinstance(node, ast.Attribute) and node.attr == "argv"]
    readers = {path for path, node in attributes if ast.unparse(node) == "sys.argv"}
    assert {name for name in readers if not name.startswith("commands/")} <= CHILDREN


def test_the_environment_is_read_in_one_place():
    """Others may set a variable for a library that they load (`os.environ.setdefault`)."""
    reading = re.compile(r"os\.getenv|os\.environ(?!\.setdefault|\[\"\w+\"\] = )")
    readers = {str(path.relative_to(ROOT / "tl")) for path in trees() if reading.search(path.read_text("utf-8"))}
    assert readers <= ENVIRONMENT


def test_library_code_does_not_print():
    printing = [
        f"{path}:{node.lineno}"
        for path, node in nodes()
        if not path.startswith("commands/") and path not in CHILDREN
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
        if (node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)) in ("print", "click.echo")
    ]
    assert printing == []
