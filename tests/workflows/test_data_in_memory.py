"""Data sets in memory: arrays and DataFrames are trained on and evaluated like folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl
from support.session import TINY


def test_finetune_and_evaluate_take_arrays_and_data_frames(shapes: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    files = sorted(shapes.rglob("*.png"))
    arrays = [(np.asarray(Image.open(file).convert("RGB")), file.parent.name) for file in files]
    run = tl.finetune(arrays, backbone=TINY, weights="none", out=tmp_path / "run")
    assert run.classes == ("noise", "stripes")
    frame = pandas.DataFrame({"path": map(str, files), "label": [file.parent.name for file in files]})
    evaluation = tl.evaluate(frame, run=run.folder, include_trained=True, report=False)
    assert len(evaluation.dataset.names) == len(files)
    again = tl.evaluate(arrays, run=run.folder, report=False)  # without those that were trained on
    assert 0 < len(again.dataset.names) < len(files)
