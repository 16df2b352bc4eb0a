"""The functions of `import tl` in the kernel of a notebook: progress in place, results as HTML."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from support.html import plain_cells
from support.session import ROOT, draw_shapes

pytestmark = pytest.mark.slow

CELLS = {
    "import": "import tl",
    "finetune": "run = tl.finetune('shapes', backbone='lenet5', weights='none', epochs=2); run",
    "epochs": "from tl.progress import NotebookProgress; progress = NotebookProgress()\n"
    "held_out = {'held_out_log_loss': 0.25, 'held_out_top1': 0.875}\n"
    "for epoch in (1, 2, 3, 1, 2): progress.metrics(epoch, {'epoch': epoch, 'epochs': 3, 'loss': 0.5, **held_out})",
    "half": "from tl.engines.tensorflow import tensorflow; tf = tensorflow(); tf.zeros((2, 4, 4, 3), tf.float16);",
    "evaluate": "tl.evaluate(run=run.folder)",
    "predict": "tl.predict('shapes', run=run.folder)",
    "classifier": "tl.load(run.folder).predict('shapes')",
    "grid": "tl.grid(run=run.folder)",
    "display": "import numpy\ntl.display_image_grid(numpy.zeros((2, 8, 8, 3)), ['a', 'b'], ['a', 'a'])",
    "completion": "from IPython.core.completer import provisionalcompleter\nwith provisionalcompleter():\n"
    "    found = {text: [one.text for one in get_ipython().Completer.completions(text, len(text))]\n"
    "             for text in ('tl.disp', 'tl.data.c', 'tl.errors.Im', 'tl.finetune(backb')}\nfound",
    "explain": "tl.explain('shapes/*/00.png', run=run.folder)",
    "export": "tl.export(run.folder, to='openvino')",
    "search": "tl.search('shapes/stripes/00.png', 'shapes', run=run.folder)",
    "check": "tl.data.check('shapes', backbone='lenet5', weights='none')",
    "stats": "tl.data.stats('shapes')",
    "split": "tl.data.split('shapes', out='split')",
    "fix": "tl.data.fix('shapes', out='fixed', backbone='lenet5', weights='none')",
    "compare": "tl.compare('shapes', backbones=(), scratch='lenet5', epochs=1)",
    "list": "tl.runs.list()",
    "show": "tl.runs.show(run.folder)",
    "difference": "tl.runs.compare(run.folder, tl.runs.list()[0].folder)",
    "model": "tl.model('lenet5')",
    "weights": "tl.weights.list()",
}
PICTURES = {"grid": "image/png", "display": "image/png", "explain": "image/png", "model": "image/svg+xml"}
RESULTS = [name for name in CELLS if name not in ("import", "epochs", "half", "completion")]


class Recorder(nbclient.NotebookClient):
    """Executes a notebook and records what the kernel sends."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        self.sent[cell_index].append(msg)
        return super().process_message(msg, cell, cell_index)


class Executed:
    """The outputs of each cell, and the messages that made them."""

    def __init__(self, notebook: Any, sent: dict[int, list[Any]]) -> None:
        self.outputs = {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}
        self.sent = {name: sent[at] for at, name in enumerate(CELLS)}

    def shown(self, name: str, kind: str) -> list[Any]:
        """The contents of the outputs of a kind, by media type."""
        return [output.data for output in self.outputs[name] if output.output_type == kind]

    def progress(self, name: str) -> list[tuple[str, str]]:
        """What progress showed, one state after the other: the name of the display and the HTML."""
        kinds = ("display_data", "update_display_data")
        contents = [message["content"] for message in self.sent[name] if message["msg_type"] in kinds]
        return [(content["transient"]["display_id"], content["data"]["text/html"]) for content in contents]


@pytest.fixture(scope="module")
def notebook(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    """A notebook that was executed in a kernel, over images of the classes "stripes" and "<i>noise"."""
    folder = tmp_path_factory.mktemp("notebook")
    data = draw_shapes(folder / "shapes", 12, seed=0)
    (data / "noise").rename(data / "<i>noise")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)  # with it, the kernel shows only what Python itself writes
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        client = Recorder(nbformat.v4.new_notebook(cells=cells), resources={"metadata": {"path": str(folder)}})
        client.sent = defaultdict(list)
        client.execute()
    return Executed(client.nb, client.sent)


@pytest.mark.parametrize("name", CELLS)
def test_cell_has_no_streams(notebook, name):
    assert [output for output in notebook.outputs[name] if output.output_type == "stream"] == []


@pytest.mark.parametrize("name", RESULTS)
def test_result_is_shown_as_html_or_a_picture_with_a_short_repr(notebook, name):
    [data] = notebook.shown(name, "execute_result")
    kind = PICTURES.get(name, "text/html")
    assert data[kind]
    lists = ("classifier", "list", "weights")  # a list has the repr of every entry
    assert len(data["text/plain"]) < 500 or name in lists
    assert "array(" not in data["text/plain"]
    assert "<i>" not in data.get("text/html", "")


@pytest.mark.parametrize("name", ["finetune", "evaluate", "predict", "search", "check", "compare", "explain"])
def test_progress_is_one_output_updated_in_place(notebook, name):
    states = notebook.progress(name)
    assert len({display for display, _ in states}) == 1
    assert len(states) > 1
    [final] = notebook.shown(name, "display_data")
    assert final["text/html"] == states[-1][1]
    assert any("<progress" in html for _, html in states)
    assert "<progress" not in states[-1][1]


def test_training_shows_a_table_of_epochs(notebook):
    [data] = notebook.shown("finetune", "display_data")
    html = plain_cells(data["text/html"])
    assert "<th>held-out accuracy</th>" in html
    assert "<tr><td>1 of 2</td><td>0." in html
    assert "<tr><td>2 of 2</td><td>0." in html
    assert "epoch 1" not in html


def test_table_of_epochs_begins_again_with_another_training(notebook):
    [data] = notebook.shown("epochs", "display_data")
    html = plain_cells(data["text/html"])
    assert html.count("<td>0.5</td><td>–</td><td>0.25</td><td>87.5%</td>") == 2
    assert len(notebook.progress("epochs")) == 5


def test_names_are_completed(notebook):
    [data] = notebook.shown("completion", "execute_result")
    for name in ("display_image_grid", "check", "convert", "ImageError", "backbone="):
        assert f"{name}'" in data["text/plain"]


def test_names_are_escaped(notebook):
    assert not any("<i>" in html for name in ("finetune", "compare") for _, html in notebook.progress(name))
    for name in ("finetune", "predict", "stats"):
        [data] = notebook.shown(name, "execute_result")
        assert "&lt;i&gt;noise" in data["text/html"]
